"""Folders and files at any address that fsspec reads: local paths, s3://, hf://."""

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
    """The rows of manifest.csv by file name, or nothing. Raises InputError where it names no files."""
    fs, root = file_system(folder)
    path = f"{root}/manifest.csv"
    if not fs.exists(path):
        return {}
    rows = defaultdict(list)
    for row in csv.DictReader(io.StringIO(fs.read_text(path, encoding="utf-8"))):
        if not row.get("file"):
            raise InputError(f"{folder}/manifest.csv: a row names no file; its first line names the columns")
        rows[row["file"]].append(row)
    return dict(rows)


def file_system(folder: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or URL, and the path in it. Raises InputError for a kind that is not installed."""
    try:
        fs, root = url_to_fs(str(folder))
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{folder} can't be reached: {error}") from error
    return fs, root.rstrip("/")


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """The file on this machine; one that comes from elsewhere is gone afterwards. Raises OSError."""
    fs, path = url_to_fs(url)
    if "file" in fs.protocol:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="emo-prepare-") as folder:
        here = Path(folder) / PurePosixPath(path).name
        fs.get_file(path, str(here))
        yield here


def is_local(folder: str | Path) -> bool:
    return "file" in file_system(folder)[0].protocol


def upload(files: Sequence[Path], folder: str) -> None:
    """Puts files into a remote folder; a shard is named after its content, so one that is there already stays. Raises
    OutputError."""
    fs, root = file_system(folder)
    try:
        fs.makedirs(root, exist_ok=True)
        for file in files:
            if file.suffix != ".tar" or not fs.exists(f"{root}/{file.name}"):
                fs.put_file(str(file), f"{root}/{file.name}")
    except OSError as error:
        raise OutputError(f"{folder} can't be written ({error}); what is there stays, run the same again") from error
