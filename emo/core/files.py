"""Write files and folders atomically, choose names that fit, hash contents, remember a user's settings.

Everything that is written gets a temporary name beside its target first and is renamed when it is complete. After an
exception nothing incomplete is left, and what had the name before is untouched.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from emo.core.errors import InputError, OutputError

TORCH_DISK_MESSAGES = ("iostream error", "inline_container.cc")  # RuntimeErrors of torch.save on a full disk
MAX_NAME_BYTES = 255  # of a file name, on all usual file systems
CACHE_VERSION = b"2"  # part of every hash: raise it when what is cached is computed in another way


def check_input_file(path: Path, kind: str) -> None:
    """Check that a path names a file that can be opened.

    Args:
        path: The file.
        kind: What it should be, for the message ("picture file").

    Raises:
        InputError: The path is a folder, is missing, or has a name that no file can have.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        raise InputError(f"{path} can't be opened ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; give a {kind}")


def shorten_name(stem: str, suffix: str, max_bytes: int = MAX_NAME_BYTES) -> str:
    """Cut the stem so that stem and suffix fit into a file name; characters are never split.

    Args:
        stem: Name without its suffix.
        suffix: Suffix with its dot.
        max_bytes: Longest name of the file system, in bytes.

    Returns:
        The shortened stem with the suffix.
    """
    space = max_bytes - len(os.fsencode(suffix))
    while len(os.fsencode(stem)) > space:
        stem = stem[:-1]
    return stem + suffix


def max_name_bytes(folder: Path) -> int:
    """Return the longest file name that the folder's file system takes, in bytes."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, or no such folder
        return MAX_NAME_BYTES


def check_output_file(path: Path, overwrite: bool) -> None:
    """Check, before any work is done, that a file of this name can be made at the end.

    Args:
        path: The file to write.
        overwrite: Whether it may replace a file.

    Raises:
        InputError: The name is too long, belongs to a folder, or is taken (and not `overwrite`); the folder is missing
            or can't be written to; the file of that name can't be replaced (immutable, another user's in a shared
            folder, or in use on Windows).
    """
    length, limit = len(os.fsencode(path.name)), max_name_bytes(path.parent)
    if length > limit:
        raise InputError(
            f"the output's name has {length} bytes, {limit} are the most; choose a shorter one than {path.name}"
        )
    try:
        _check_output(path, overwrite)
    except OSError as error:
        raise InputError(f"{path} can't be written ({error.strerror}); choose another name") from error


def _check_output(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it or choose another")
    exists = os.path.lexists(path)
    if exists and not overwrite:
        raise InputError(f"{path} exists; choose another name or give overwrite=True")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} can't be written to; choose another")
    if exists and not _is_replaceable(path):
        raise InputError(f"{path} can't be replaced (it is write-protected or in use); choose another name")


def _is_replaceable(path: Path) -> bool:
    """Check whether another file may take the name, as far as that can be known without trying it."""
    folder = path.parent.stat()
    if folder.st_mode & stat.S_ISVTX and hasattr(os, "geteuid"):  # /tmp: only the owner may
        if os.geteuid() not in (0, folder.st_uid, os.lstat(path).st_uid):
            return False
    if os.path.ismount(path):
        return False
    try:
        os.close(os.open(path, os.O_WRONLY))
        os.rename(path, path)  # Windows refuses this for a file in use; elsewhere nothing happens
    except OSError as error:  # EACCES is the file's own mode, which doesn't hinder a rename, but on Windows
        return os.name != "nt" and error.errno != errno.EPERM
    return True


def move_file(partial: Path, target: Path, overwrite: bool = True) -> None:
    """Give a complete file its name; both lie in the same folder.

    Args:
        partial: The complete file under its temporary name.
        target: Its final name in the same folder.
        overwrite: Replace a file that has this name already.

    Raises:
        FileExistsError: The name is taken, and `overwrite` is False.
        OSError: The file can't be renamed.
    """
    if overwrite:
        os.replace(partial, target)
        return
    try:
        os.link(partial, target)  # fails where the name is taken, unlike a rename
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(partial, target)
        return
    os.unlink(partial)


def rescue_file(partial: Path, target: Path) -> Path:
    """Keep a complete file that can't get its name: under the first free name like it, or under the one it has.

    Args:
        partial: The complete file under its temporary name.
        target: The name that it can't get.

    Returns:
        Where it lies: "NAME-1.mp4" for "NAME.mp4", or `partial`.
    """
    for number in range(1, 1000):
        name = target.with_name(shorten_name(target.stem, f"-{number}{target.suffix}", max_name_bytes(target.parent)))
        try:
            move_file(partial, name, overwrite=False)
            return name
        except FileExistsError:
            continue
        except OSError:
            break
    return partial


def partial_path(path: Path) -> Path:
    """Choose the temporary name of a file that is written for long; `remove_partials` finds it after a crash."""
    return path.with_name(f"{_partial_prefix(path)}{secrets.token_hex(6)}.part")


def remove_partials(path: Path) -> None:
    """Remove what killed processes left of the file. Nobody may be writing it.

    Args:
        path: The file; it stays.
    """
    for partial in path.parent.glob(f"{_partial_prefix(path)}*.part"):
        partial.unlink(missing_ok=True)


def _partial_prefix(path: Path) -> str:
    return f".emo-{hashlib.blake2b(os.fsencode(path.name), digest_size=6).hexdigest()}-"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; what was written to it then takes the name `path` at once.

    Several processes may write the same name at a time. Nothing is left after an exception.

    Raises:
        OutputError: The folder is missing or write-protected, or the disk is full.
    """
    partial = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        yield partial
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{path} can't be written ({reason}): check its folder and the free space") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text as `atomic_file` does.

    Args:
        path: The file.
        text: Its content.

    Raises:
        OutputError: The file can't be written.
    """
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to a .safetensors file as `atomic_file` does.

    Args:
        path: The .safetensors file.
        arrays: Name -> array of any shape.

    Raises:
        OutputError: The file can't be written.
    """
    with atomic_file(path) as partial:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote. Raises InputError for a broken file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is broken ({error}): delete it; it will be recreated") from error


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield the path of a folder to make and fill; it then takes the name `target`, and a folder of that name goes.

    Its files are on the disk before it takes the name, so a power cut leaves the old folder or the new one.

    Raises:
        OutputError: The folder can't be written; an existing folder of that name is untouched then.
    """
    partial = target.with_name(f"partial_{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        replace_folder(partial, target)
    except Exception as error:
        if not is_disk_error(error):
            raise
        raise checkpoint_write_error(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(partial: Path, target: Path) -> None:
    """Sync a complete folder to the disk and give it the name `target`; a folder of that name is removed.

    Args:
        partial: The complete folder under its temporary name.
        target: Its final path.
    """
    for path in [*partial.rglob("*"), partial]:
        sync_to_disk(path)
    if target.exists():
        remove_folder(target)
    os.replace(partial, target)
    sync_to_disk(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder, which first loses its name: it is complete or not there at any time."""
    old = folder.with_name(f"old_{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(folder, old)
    shutil.rmtree(old)


def remove_partial_folders(folder: Path) -> None:
    """Remove what a killed process left of `atomic_folder` and `remove_folder` in this folder."""
    for pattern in ("partial_*", "old_*"):
        for partial in folder.glob(pattern):
            shutil.rmtree(partial)


def sync_to_disk(path: Path) -> None:
    """Return when the content of a file, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no such call
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_disk_error(error: BaseException) -> bool:
    """Check whether an error says that a disk is full or refuses, in the words of Python, safetensors or torch.save."""
    from torch.distributed.checkpoint.api import CheckpointException

    if isinstance(error, CheckpointException):  # of one or more processes
        return all(is_disk_error(failure) for failure, _ in error.failures.values())
    return isinstance(error, OSError | SafetensorError) or any(words in str(error) for words in TORCH_DISK_MESSAGES)


def checkpoint_write_error(target: Path, reason: Exception | str) -> OutputError:
    """Return the error to raise when a file of a training run can't be written.

    Args:
        target: The file or folder.
        reason: The original error, or its text.

    Returns:
        The error, whose message names the fix.
    """
    fix = "free some space and run the same command again to continue from the last checkpoint"
    return OutputError(f"{target} can't be written ({str(reason).splitlines()[0]}); {fix}")


def hash_files(*files: Path) -> str:
    """Hash the contents of files to a name that does not depend on their paths.

    Args:
        files: The files.

    Returns:
        The hashes, joined by underscores.

    Raises:
        InputError: A file can't be read.
    """
    return "_".join(hash_file(file) for file in files)


def hash_file(path: Path) -> str:
    """BLAKE2b of CACHE_VERSION and a file's content, 32 hexadecimal digits. Raises InputError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(CACHE_VERSION, digest_size=16)).hexdigest()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): check the file") from error


def config_folder() -> Path:
    """Return $XDG_CONFIG_HOME/emo, else ~/.config/emo, on Windows %APPDATA%/emo. It need not exist."""
    home = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "emo"


def is_remembered(name: str) -> bool:
    """Check whether `remember` was called with this name before.

    Args:
        name: A file name.

    Returns:
        False also where the folder can't be read.
    """
    try:
        return (config_folder() / name).exists()
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return False


def remember(name: str, text: str) -> bool:
    """Write a small text for later runs.

    Args:
        name: A file name.
        text: Its content.

    Returns:
        Whether it was written; a read-only home folder is no error.
    """
    try:
        config_folder().mkdir(parents=True, exist_ok=True)
        write_text_atomic(config_folder() / name, text)
    except (OSError, RuntimeError, InputError):
        return False
    return True
