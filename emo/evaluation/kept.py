"""What is known of files, kept under names made of their content: they are known still where they were renamed."""

import hashlib
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from emo.errors import InputError, OutputError

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
