"""The hook by which an operator refuses portraits or sounds: EMO_POLICY=module:function.

The function is called before a model is loaded, as function(image, audio): the picture (H W 3) uint8 RGB, and the path
of the sound. It returns None to allow, or a text that says why not.
"""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from emo.core.errors import InputError

VARIABLE = "EMO_POLICY"
Policy = Callable[[np.ndarray, Path], str | None]


def check_policy(image: np.ndarray, audio: Path) -> None:
    """Ask the operator's function, if there is one.

    Args:
        image: (H W 3) uint8 RGB.
        audio: The sound file.

    Raises:
        InputError: It refuses, or it can't be loaded: then nothing is made.
    """
    policy = load_policy()
    reason = None if policy is None else policy(image, audio)
    if reason:
        raise InputError(f"refused by the operator of this service: {reason}")


def load_policy() -> Policy | None:
    """Return the function that EMO_POLICY names; None where the variable is not set.

    Raises:
        InputError: There is no such function.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{VARIABLE}={name}: no such function ({error}); give module:function") from error
