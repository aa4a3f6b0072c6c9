"""Read published weights tensor by tensor and write them as safetensors: no file is in memory as a whole, none is
run."""

import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from emo.core.errors import InputError

SHARD_BYTES = 500_000_000
NAME = "diffusion_pytorch_model"


def open_weights(path: Path) -> Mapping[str, Tensor]:
    """Open a file of weights; tensors are read from the disk as they are used.

    Args:
        path: A .safetensors file, or one of torch.save.

    Returns:
        Name -> tensor.

    Raises:
        InputError: The file is broken, or contains more than tensors; it is refused without running its code.
    """
    try:
        weights = LazySafetensors(path) if path.suffix == ".safetensors" else load_tensors(path)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: it holds more than tensors, which could run code; use a copy without them"
        ) from error
    except Exception as error:  # the readers raise many kinds on a broken file
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise InputError(f"{path} is not a file of weights ({reason}): download it again") from error
    other = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if other or not weights:
        raise InputError(f"{path} holds {f'no tensor in {other[0]!r}' if other else 'nothing'}: give its net.pth")
    return weights


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of torch.save, mapped into memory. Raises TypeError when its content is not a dict."""
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(weights, dict):
        raise TypeError(f"a {type(weights).__name__}, not a dict")
    return weights


class LazySafetensors(Mapping):
    """Tensors of a .safetensors file by name, each read when it is used."""

    def __init__(self, path: Path):
        self.file = safe_open(path, "pt")
        self.names = list(self.file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self.file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def split_by_size(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Distribute tensors over files.

    Args:
        sizes: Name -> bytes.
        limit: Bytes of a file; a larger tensor has a file of its own.

    Returns:
        The names of each file.
    """
    files, used = [[]], 0
    for name, size in sizes.items():
        if files[-1] and used + size > limit:
            files, used = [*files, []], 0
        files[-1].append(name)
        used += size
    return files


def save_sharded(weights: Mapping[str, Tensor], folder: Path, limit: int = SHARD_BYTES) -> None:
    """Write weights in diffusers' layout: one file, or numbered files and an index.

    Args:
        weights: Name -> tensor.
        folder: Where the files are written.
        limit: Bytes of a file.
    """
    files = split_by_size({name: weight.nbytes for name, weight in weights.items()}, limit)
    where = {}
    for i, names in enumerate(files):
        file = f"{NAME}-{i + 1:05}-of-{len(files):05}.safetensors" if len(files) > 1 else f"{NAME}.safetensors"
        where |= dict.fromkeys(names, file)
        save_file({name: weights[name].contiguous() for name in names}, folder / file, {"format": "pt"})
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(weight.nbytes for weight in weights.values())}, "weight_map": where}
        (folder / f"{NAME}.safetensors.index.json").write_text(json.dumps(index, indent=1))
