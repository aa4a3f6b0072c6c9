"""Weights of others -> safetensors, tensor by tensor: no file is ever whole in memory, and nothing in one is run."""

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
    """A .safetensors, or what torch.save left, name -> tensor, read from the disk as they are used.

    Raises InputError for a file that holds more than tensors, which is refused unread, or is broken.
    """
    try:
        weights = Opened(path) if path.suffix == ".safetensors" else load_tensors(path)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} is refused: it holds more than tensors, which could run code; get another") from error
    except Exception as error:  # the readers raise what they like on a broken file
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise InputError(f"{path} is no file of weights ({reason}): get it again") from error
    other = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if other or not weights:
        raise InputError(f"{path} holds {f'no tensor in {other[0]!r}' if other else 'nothing'}: give its net.pth")
    return weights


def load_tensors(path: Path) -> dict[str, Tensor]:
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(weights, dict):
        raise TypeError(f"a {type(weights).__name__}, not a dict")
    return weights


class Opened(Mapping):
    """The tensors of a .safetensors, each read when it is asked for."""

    def __init__(self, path: Path):
        self.file = safe_open(path, "pt")
        self.names = list(self.file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self.file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def shards(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names of tensors, by their bytes in files of at most `limit`, but for a tensor that is larger."""
    files, used = [[]], 0
    for name, size in sizes.items():
        if files[-1] and used + size > limit:
            files, used = [*files, []], 0
        files[-1].append(name)
        used += size
    return files


def save_tensors(weights: Mapping[str, Tensor], folder: Path, limit: int = SHARD_BYTES) -> None:
    """As diffusers lays large models out: numbered files of `limit` bytes, and an index where there are several."""
    files = shards({name: weight.nbytes for name, weight in weights.items()}, limit)
    where = {}
    for i, names in enumerate(files):
        file = f"{NAME}-{i + 1:05}-of-{len(files):05}.safetensors" if len(files) > 1 else f"{NAME}.safetensors"
        where |= dict.fromkeys(names, file)
        save_file({name: weights[name].contiguous() for name in names}, folder / file, {"format": "pt"})
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(weight.nbytes for weight in weights.values())}, "weight_map": where}
        (folder / f"{NAME}.safetensors.index.json").write_text(json.dumps(index, indent=1))
