"""The Hub's files as a folder here: what went wrong is one line, and no file is used that is not what the Hub says.

The client looks at a file's length alone. Its cache calls each file by its content, the SHA-256 of large files and
git's SHA-1 of small ones, so every file is held against its name before it is first used.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from emo.core.errors import InputError

Answer = TypeVar("Answer")
CHECKED = "emo_checked"  # beside the blobs: those that are right, a line of name and time each
READ_AT_ONCE = 1 << 20  # bytes


def snapshot(missing: str, name: str, **options) -> Path:
    """A model of the Hub as a folder. options: revision, cache_dir, token, allow_patterns, ... of `snapshot_download`.

    Raises InputError, which begins with what is `missing` here, when it can't be had whole.
    """
    from huggingface_hub import snapshot_download

    folder = Path(asked(f"{missing}, and", lambda: snapshot_download(name, **options)))
    check(missing, (path for path in folder.rglob("*") if path.is_file()))
    return folder


def single_file(missing: str, name: str, file: str) -> Path:
    """A file of a model of the Hub. Raises InputError as `snapshot` does."""
    from huggingface_hub import hf_hub_download

    path = Path(asked(f"{missing}, and", lambda: hf_hub_download(name, file)))
    check(missing, [path])
    return path


def asked(before: str, ask: Callable[[], Answer]) -> Answer:
    """What `ask` has of the Hub. Raises InputError: `before`, then what the Hub has against it."""
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        return ask()
    except (HTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{before} the Hub {reason(error)}") from error
    except RuntimeError as error:  # of an upload, around what went wrong
        if not isinstance(error.__cause__, HTTPError | OSError):
            raise
        raise InputError(f"{before} the Hub {reason(error.__cause__)}") from error


def reason(error: Exception) -> str:
    """What the Hub has against a request, or what came between, and the mend: goes on behind "the Hub"."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    log_in = "`hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.HFValidationError):
        return f"has no such names: {first}"
    if constants.HF_HUB_OFFLINE:
        return "may not be asked, as HF_HUB_OFFLINE is set: unset it, or give a folder"
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        return reason(error.__cause__)
    if isinstance(error, errors.GatedRepoError):
        return f"keeps it behind terms: accept them on its page at {constants.ENDPOINT}, then {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "has it, but not that revision: look at its page for branches and tags"
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        return "has it, but no such file in it: look at its page"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"shows you no such model: check the name; for a private one {log_in}"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"must know who you are: {log_in}"
    if status == 401:
        return f"does not know your token: {log_in} again"
    if status == 403:
        return f"does not let you (HTTP 403): {log_in} with a token that may"
    if status is not None:
        return f"answers HTTP {status}: try the same again later, whole files are kept"
    if any(word in type(error).__name__ for word in ("Connect", "Timeout", "Proxy")):
        return f"at {constants.ENDPOINT} can't be reached: check the network, or give a folder"
    if isinstance(error, errors.HTTPError) or "Consistency check" in first:
        return f"broke off on the way ({first}): run the same again, whole files are kept"
    return f"says: {first}"


def check(missing: str, paths: Iterable[Path]) -> None:
    """Reads what was not read before, all of one model's cache. Where links can't be made there are no names to hold
    files against. Raises InputError for a file that is not what the Hub says, which is gone then."""
    # One link is followed: the blob may be a link itself, to where all models share files under other names
    blobs = {Path(os.path.normpath(path.parent / os.readlink(path))): path for path in paths if path.is_symlink()}
    if not blobs:
        return
    log = next(iter(blobs)).parents[1] / CHECKED
    known = set(log.read_text().splitlines()) if log.is_file() else set()
    for blob, path in blobs.items():
        mark = f"{blob.name} {blob.stat().st_mtime_ns}"
        if mark in known:
            continue
        if not is_right(blob):
            for copy in (blob.resolve(), blob, path):
                copy.unlink(missing_ok=True)
            raise InputError(f"{missing}, and what the Hub sent of {path.name} is damaged: run the same again")
        with log.open("a") as file:
            file.write(f"{mark}\n")


def is_right(blob: Path) -> bool:
    """Whether the content is what the name says; a name that is no hash says nothing."""
    kinds = {64: hashlib.sha256(), 40: hashlib.sha1(f"blob {blob.stat().st_size}\0".encode())}
    content = kinds.get(len(blob.name))
    if content is None:
        return True
    with blob.open("rb") as file:
        while piece := file.read(READ_AT_ONCE):
            content.update(piece)
    return content.hexdigest() == blob.name
