"""Load weights strictly: from folders of this package and from files that others published.

Networks with weights that others have published: files in their layout, read without running what is in them.

model_index.json, which says what a pipeline is made of.

Trained parts from their folders, strictly: no weight missing, none left over.
"""

import json
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emo.core.errors import InputError
from emo.models.audio import Wav2VecEncoder


@dataclass(frozen=True)
class Published:
    """What a network's weights are called, and where they are to be had."""

    name: str  # of the network
    file: str
    source: str = ""  # an address, and what the licence says


def read_published_weights(path: Path) -> dict:
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
        net.load_state_dict(choose(read_published_weights(path)))
    except Exception as error:  # the readers raise what they like on a broken file
        unsafe = isinstance(error, pickle.UnpicklingError)
        reason = "it is no torch.save of weights alone" if unsafe else " ".join(str(error).split())[:200]
        mend = f"get {what.file}" + (f" from {what.source}" if what.source else " again")
        reason = reason or type(error).__name__
        raise InputError(f"{path} can't be loaded as {what.name} ({reason}): {mend}") from error
    return net.eval().requires_grad_(False)


PIPELINE = "EMOPipeline"


def read_index(folder: Path) -> dict:
    """Raises InputError when it is no EMO pipeline's."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): get the model again") from error
    if not isinstance(index, dict) or index.get("_class_name") != PIPELINE:
        raise InputError(f"{path} names no {PIPELINE}: get the model again")
    return index


def trained_parts(folder: Path) -> list[str]:
    """Names of the components with weights. Raises InputError when model_index.json is no EMO pipeline's."""
    return [name for name, value in read_index(folder).items() if isinstance(value, list) and name != "scheduler"]


def load_part(folder: Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """One component, of the class its config.json names, ours or diffusers', with exactly that class's weights; a
    folder of transformers' wav2vec 2.0 is a Wav2VecEncoder.

    Raises InputError otherwise.
    """
    try:
        part, info = open_part(folder, dtype)
    except Exception as error:  # libraries raise what they like on a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder} can't be loaded ({reason}): get the model again") from error
    for verb, names in {"lacks": info["missing_keys"], "has unknown": info["unexpected_keys"]}.items():
        refuse(names, f"{folder} {verb}", "get the model again")
    return part.eval()


def open_part(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, dict]:
    """The component, and diffusers' account of its weights. Half precision is taken where there is no other."""
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") == "wav2vec2":
        return Wav2VecEncoder.from_wav2vec(str(folder)).to(dtype), {"missing_keys": [], "unexpected_keys": []}
    kind = config["_class_name"]
    known = getattr(import_module("emo"), kind, None) or getattr(diffusers, kind)
    half = [path for path in folder.glob("diffusion_pytorch_model*") if ".fp16." in path.name]
    only_half = half and len(half) == len(list(folder.glob("diffusion_pytorch_model*")))
    how = {"torch_dtype": dtype, "variant": "fp16" if only_half else None, "low_cpu_mem_usage": False}
    return known.from_pretrained(folder, output_loading_info=True, **how)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Name -> weight from a folder of `save_pretrained`, in one file or several.

    Raises InputError when there is none.
    """
    files = sorted(folder.glob("diffusion_pytorch_model*.safetensors"))
    if not files:
        path = folder / "diffusion_pytorch_model.safetensors"
        raise InputError(f"{path} does not exist: give a model/ that a run has left")
    return {name: weight for file in files for name, weight in load_file(file).items()}


def load_weights(model: nn.Module, given: dict[str, dict[str, Tensor]], new: list[str], unused: list[str]) -> None:
    """Puts weights in by name. given: what to call a source -> its weights by the model's names. Patterns of `unused`
    match names that stay in their sources, those of `new` names that no source has: such weights stay as they are.

    Raises InputError, and changes nothing, when any other name is missing or left over, a shape differs, two sources
    have the same name, a source has what is called new, or a pattern matches nothing.
    """
    own, taken, sources = model.state_dict(), {}, " and ".join(given)
    useless([name for weights in given.values() for name in weights], unused, f"unused: no name in {sources}")
    for source, weights in given.items():
        weights = {name: weights[name] for name in weights.keys() - matching(weights, unused)}
        check_source(source, weights, own)
        refuse(weights.keys() & taken.keys(), f"{sources} both have", "leave one of them out")
        taken |= weights
    missing = own.keys() - taken.keys()
    refuse(matching(taken, new), f"{sources} has", "it matches `new`, make that narrower, or add to `unused`")
    useless(missing, new, "new: no name of the model")
    refuse(missing - matching(missing, new), f"{sources} lacks", "change `model`, or add to `new`")
    model.load_state_dict(taken, strict=False)


def check_source(source: str, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Raises InputError where the model's `own` have no place for a weight."""
    left = weights.keys() - own.keys()
    refuse(left, f"{source} has, and the model has not,", "change `model`, or add to `unused`")
    other = [name for name, weight in weights.items() if weight.shape != own[name].shape]
    refuse(other, f"{source} has of another shape", "change `model` to the sizes of these weights")


def matching(names: Iterable[str], patterns: list[str]) -> set[str]:
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


def useless(names: Iterable[str], patterns: list[str], before: str) -> None:
    """Raises InputError for patterns that match none of the names."""
    refuse([p for p in patterns if not matching(names, [p])], f"{before} matches", "take it out")


def refuse(names: Iterable[str], before: str, mend: str) -> None:
    """Raises InputError with the first of the names, where there are any."""
    if names := sorted(names):
        raise InputError(f"{before} {names[0]!r} ({len(names)} such): {mend}")
