"""Trained parts from their folders, strictly: no weight missing, none left over."""

import json
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file
from torch import nn

from emo.errors import InputError


def load_part(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """One component, of the class its config.json names, ours or diffusers', with exactly that class's weights.

    Raises InputError otherwise.
    """
    try:
        kind = json.loads((folder / "config.json").read_text())["_class_name"]
        known = getattr(import_module("emo"), kind, None) or getattr(diffusers, kind)
        part, info = known.from_pretrained(folder, torch_dtype=dtype, output_loading_info=True, low_cpu_mem_usage=False)
    except Exception as error:  # libraries raise what they like on a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder} can't be loaded ({reason}): get the model again") from error
    wrong = {"lacks": info["missing_keys"], "has unknown": info["unexpected_keys"]}
    for verb, names in wrong.items():
        if names:
            raise InputError(f"{folder} {verb} {sorted(names)[0]!r} ({len(names)} such): get the model again")
    return part.eval()


def load_weights(model: nn.Module, folder: Path, new: list[str]) -> None:
    """Weights by name from a folder of `save_pretrained`. What a pattern of `new` matches may be missing there.

    Raises InputError when anything else is missing or left over.
    """
    path = folder / "diffusion_pytorch_model.safetensors"
    if not path.is_file():
        raise InputError(f"start_from: {path} does not exist")
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    missing = [name for name in missing if not any(fnmatchcase(name, pattern) for pattern in new)]
    if missing or unexpected:
        raise InputError(f"{path} lacks {missing[:3]} ({len(missing)}) and has unknown {unexpected[:3]}")
