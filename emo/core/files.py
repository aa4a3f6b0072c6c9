"""Files and folders that are written completely or not at all: write to a temporary name, sync, rename.

Folders that are whole or not there: each takes its name when it is on the disk, and loses it before it goes.

Text files that come whole or not at all.

What is known of files, kept under names made of their content: they are known still where they were renamed.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from emo.core.errors import InputError, OutputError

TORCH_SAYS = ("iostream error", "inline_container.cc")  # its writer's RuntimeErrors on a full disk


def is_of_disk(error: BaseException) -> bool:
    """A full disk, or one that refuses: as Python, safetensors and torch.save tell it."""
    from torch.distributed.checkpoint.api import CheckpointException

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


def write_whole(path: Path, text: str) -> None:
    """In UTF-8; a file of that name is replaced at once. Raises OutputError: no such folder, a full disk."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} can't be written ({error.strerror}): check its folder and the free space") from error


PASS = b"2"  # another one makes all anew: raise it when the pass sees something else


def content_name(*files: Path) -> str:
    """A name that these contents alone have. Raises InputError for a file that can't be read."""
    return "_".join(digest(file) for file in files)


def digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(PASS, digest_size=16)).hexdigest()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): check the file") from error


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The file comes whole or not at all. Raises OutputError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path} can't be written ({error}): free some space") from error


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `save_arrays` wrote. Raises InputError for a broken file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is broken ({error}): remove it, it is made again") from error
