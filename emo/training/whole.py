"""Folders that are whole or not there: each takes its name when it is on the disk, and loses it before it goes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException

from emo.errors import OutputError

TORCH_SAYS = ("iostream error", "inline_container.cc")  # its writer's RuntimeErrors on a full disk


def is_of_disk(error: BaseException) -> bool:
    """A full disk, or one that refuses: as Python, safetensors and torch.save tell it."""
    if isinstance(error, CheckpointException):  # of one or more processes
        return all(is_of_disk(failure) for failure, _ in error.failures.values())
    return isinstance(error, OSError | SafetensorError) or any(words in str(error) for words in TORCH_SAYS)


def cannot_write(target: Path, reason: Exception | str) -> OutputError:
    mend = "free some space and run the same again, it goes on behind the last checkpoint"
    return OutputError(f"{target} can't be written ({str(reason).splitlines()[0]}); {mend}")


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """Yields a folder to write to, which then takes the name `target`; what has the name before goes.

    Raises OutputError where it can't be written: what had the name is untouched then, and nothing half is left.
    """
    partial = target.with_name(f"partial_{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        settle(partial, target)
    except Exception as error:
        if not is_of_disk(error):
            raise
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def settle(partial: Path, target: Path) -> None:
    """The folder takes the name `target`."""
    for path in [*partial.rglob("*"), partial]:
        sync(path)
    if target.exists():
        remove(target)
    os.replace(partial, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Returns when the content of the file, or the folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no such call
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    old = folder.with_name(f"old_{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(folder, old)
    shutil.rmtree(old)


def remove_halves(folder: Path) -> None:
    """What a kill left in the folder."""
    for pattern in ("partial_*", "old_*"):
        for half in folder.glob(pattern):
            shutil.rmtree(half)
