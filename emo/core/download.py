"""Download models from the Hugging Face Hub, check the files and explain errors in one line.

huggingface_hub compares only the lengths of files. Its cache names every file by its content (SHA-256 of large files,
git's SHA-1 of small ones), so each is hashed here before it is used for the first time.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from emo.core.errors import InputError

Result = TypeVar("Result")
VERIFIED_LOG = "emo_checked"  # a file in the model's cache: one line of name and time for each file that was verified
BLOCK_BYTES = 1 << 20


def is_hub_id(name: str) -> bool:
    """Check whether a name may be a model of the Hub, OWNER/NAME, and is not a file or folder of this machine."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def download_snapshot(missing: str, name: str, **options) -> Path:
    """Download a model and verify its files.

    Args:
        missing: What is missing on this machine, the beginning of an error's message.
        name: OWNER/MODEL on the Hub.
        options: Further arguments of `huggingface_hub.snapshot_download`: `revision`, `cache_dir`, `token`, ...

    Returns:
        The model's folder in the cache.

    Raises:
        InputError: The model can't be downloaded completely.
    """
    from huggingface_hub import snapshot_download

    folder = Path(call_hub(f"{missing}, and", lambda: snapshot_download(name, **options)))
    verify_files(missing, (path for path in folder.rglob("*") if path.is_file()))
    return folder


def download_file(missing: str, name: str, file: str) -> Path:
    """Download and verify one file of a model.

    Args:
        missing: Beginning of an error's message, as in `download_snapshot`.
        name: Model on the Hub, OWNER/NAME.
        file: Path of the file in the model's repository.

    Returns:
        Path of the file in the local cache.

    Raises:
        InputError: The file can't be downloaded, or it arrived damaged.
    """
    from huggingface_hub import hf_hub_download

    path = Path(call_hub(f"{missing}, and", lambda: hf_hub_download(name, file)))
    verify_files(missing, [path])
    return path


def call_hub(before: str, ask: Callable[[], Result]) -> Result:
    """Call a function of huggingface_hub.

    Args:
        before: Beginning of an error's message, which continues with "the Hub ...".
        ask: Function without arguments that makes the call.

    Returns:
        What the call returns.

    Raises:
        InputError: The call failed.
    """
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        return ask()
    except (HTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{before} the Hub {describe_hub_error(error)}") from error
    except RuntimeError as error:  # an upload raises it from the actual error
        if not isinstance(error.__cause__, HTTPError | OSError):
            raise
        raise InputError(f"{before} the Hub {describe_hub_error(error.__cause__)}") from error


def describe_hub_error(error: Exception) -> str:
    """Describe why a request failed and how to fix it, as the end of a sentence that begins with "the Hub"."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    log_in = "`hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.HFValidationError):
        return f"has no such names: {first}"
    if constants.HF_HUB_OFFLINE:
        return "is not used, as HF_HUB_OFFLINE is set: unset it, or give a folder"
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        return describe_hub_error(error.__cause__)
    if isinstance(error, errors.GatedRepoError):
        return f"requires its terms to be accepted: accept them on its page at {constants.ENDPOINT}, then {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "has it, but not that revision: look at its page for branches and tags"
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        return "has it, but no such file in it: look at its page"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"finds no such model: check the name; for a private one {log_in}"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"requires a login: {log_in}"
    if status == 401:
        return f"does not know your token: {log_in} again"
    if status == 403:
        return f"refuses access (HTTP 403): {log_in} with a token that has access"
    if status is not None:
        return f"answers HTTP {status}: try the same again later, complete files are kept"
    if any(word in type(error).__name__ for word in ("Connect", "Timeout", "Proxy")):
        return f"at {constants.ENDPOINT} can't be reached: check the network, or give a folder"
    if isinstance(error, errors.HTTPError) or "Consistency check" in first:
        return f"broke off on the way ({first}): run the same again, complete files are kept"
    return f"says: {first}"


def verify_files(missing: str, paths: Iterable[Path]) -> None:
    """Hash files of one model's cache that were not verified before.

    Where the cache can't make links (Windows), files have their own names and are not verified.

    Args:
        missing: Beginning of an error's message, as in `download_snapshot`.
        paths: Files in the model's local cache.

    Raises:
        InputError: A file is damaged; it is removed, so that the next run downloads it again.
    """
    # One link is followed: the blob may be a link itself, to where all models share files under other names
    blobs = {Path(os.path.normpath(path.parent / os.readlink(path))): path for path in paths if path.is_symlink()}
    if not blobs:
        return
    log = next(iter(blobs)).parents[1] / VERIFIED_LOG
    verified = set(log.read_text().splitlines()) if log.is_file() else set()
    for blob, path in blobs.items():
        mark = f"{blob.name} {blob.stat().st_mtime_ns}"
        if mark in verified:
            continue
        if not matches_name(blob):
            for copy in (blob.resolve(), blob, path):
                copy.unlink(missing_ok=True)
            raise InputError(f"{missing}, and what the Hub sent of {path.name} is damaged: run the same again")
        with log.open("a") as file:
            file.write(f"{mark}\n")


def matches_name(blob: Path) -> bool:
    """Check whether a file has the hash that is its name; True for a name that is not a hash."""
    kinds = {64: hashlib.sha256(), 40: hashlib.sha1(f"blob {blob.stat().st_size}\0".encode())}
    content = kinds.get(len(blob.name))
    if content is None:
        return True
    with blob.open("rb") as file:
        while piece := file.read(BLOCK_BYTES):
            content.update(piece)
    return content.hexdigest() == blob.name
