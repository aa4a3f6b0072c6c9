"""Networks with weights that others have published: files in their layout, read without running what is in them."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emo.errors import InputError


@dataclass(frozen=True)
class Published:
    """What a network's weights are called, and where they are to be had."""

    name: str  # of the network
    file: str
    source: str = ""  # an address, and what the licence says


def read_weights(path: Path) -> dict:
    """What torch.save left, of which nothing is run, or a .safetensors."""
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)


def load_published(
    net: nn.Module, path: Path, what: Published, choose: Callable[[dict], dict[str, Tensor]] = dict
) -> nn.Module:
    """Puts a file's weights in by name, strictly, and returns the network, ready to measure with.

    choose: what the file holds -> the network's weights. Raises InputError, which names the file and where it comes
    from, when it is missing or no such file, or weights are missing, left over or of another shape.
    """
    try:
        net.load_state_dict(choose(read_weights(path)))
    except Exception as error:  # the readers raise what they like on a broken file
        unsafe = isinstance(error, pickle.UnpicklingError)
        reason = "it is no torch.save of weights alone" if unsafe else " ".join(str(error).split())[:200]
        mend = f"get {what.file}" + (f" from {what.source}" if what.source else " again")
        reason = reason or type(error).__name__
        raise InputError(f"{path} can't be loaded as {what.name} ({reason}): {mend}") from error
    return net.eval().requires_grad_(False)
