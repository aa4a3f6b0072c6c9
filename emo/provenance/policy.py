"""Limits on misuse: the notice before the first use, and the hook by which an operator refuses portraits or sounds.

The notice is shown once to each user of a computer. The hook is EMO_POLICY=module:function; the function is called
before a model is loaded, as function(image, audio): the picture (H W 3) uint8 RGB, and the path of the sound, None
of a live session. It returns None to allow, or a text that says why not.
"""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import is_remembered, remember

NOTICE = (
    "Animate a real person only with consent, and tell viewers that the video is generated; every video carries marks "
    "that emo-detect finds (docs/responsible-use.md)."
)
NOTICE_FILE = "notice_read"
VARIABLE = "EMO_POLICY"
Policy = Callable[[np.ndarray, Path | None], str | None]


def check_policy(image: np.ndarray, audio: Path | None) -> None:
    """Ask the operator's function, if there is one.

    Args:
        image: (H W 3) uint8 RGB.
        audio: The sound file; None: sound that comes live.

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


def needs_notice() -> bool:
    """Check whether the user has not been told yet what is allowed."""
    return not is_remembered(NOTICE_FILE)


def remember_notice() -> None:
    """Remember that the user was told what is allowed; where the home folder is read-only, he is told again."""
    remember(NOTICE_FILE, f"{NOTICE}\n")
