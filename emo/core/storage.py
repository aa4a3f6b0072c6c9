"""Folders and files at any address that fsspec supports: local paths, s3://, hf://."""

import csv
import io
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.core import url_to_fs

from emo.core.errors import InputError, OutputError


def read_manifest(folder: str | Path) -> dict[str, list[dict[str, str]]]:
    """Read a folder's manifest.csv.

    Args:
        folder: Path or URL.

    Returns:
        File name -> its rows, each column name -> text; empty where there is no manifest.

    Raises:
        InputError: A row names no file.
    """
    fs, root = open_file_system(folder)
    path = f"{root}/manifest.csv"
    if not fs.exists(path):
        return {}
    rows = defaultdict(list)
    for row in csv.DictReader(io.StringIO(fs.read_text(path, encoding="utf-8"))):
        if not row.get("file"):
            raise InputError(f"{folder}/manifest.csv: a row names no file; its first line names the columns")
        if "licence" in row:  # the column's name in earlier versions
            row["license"] = row.pop("licence")
        rows[row["file"]].append(row)
    return dict(rows)


def open_file_system(folder: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a path or URL, and the path in it.

    Raises:
        InputError: The address can't be reached, or its kind needs a package that is not installed.
    """
    try:
        fs, root = url_to_fs(str(folder))
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{folder} can't be reached: {error}") from error
    return fs, root.rstrip("/")


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """Yield a file's path on this machine; a remote file is downloaded and removed afterwards. Raises OSError."""
    fs, path = url_to_fs(url)
    if "file" in fs.protocol:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="emo-prepare-") as folder:
        here = Path(folder) / PurePosixPath(path).name
        fs.get_file(path, str(here))
        yield here


def is_local(folder: str | Path) -> bool:
    """Check whether a path or URL lies in this machine's file system. Raises InputError as `open_file_system`."""
    return "file" in open_file_system(folder)[0].protocol


def upload_files(files: Sequence[Path], folder: str) -> None:
    """Copy files into a remote folder; a shard (.tar) that is there already is skipped, as its name is its content.

    Args:
        files: Local files.
        folder: URL of the remote folder; it is created if it is missing.

    Raises:
        OutputError: The folder can't be written; uploaded files are kept.
    """
    fs, root = open_file_system(folder)
    try:
        fs.makedirs(root, exist_ok=True)
        for file in files:
            if file.suffix != ".tar" or not fs.exists(f"{root}/{file.name}"):
                fs.put_file(str(file), f"{root}/{file.name}")
    except OSError as error:
        raise OutputError(f"{folder} can't be written ({error}); uploaded files are kept: run it again") from error
