"""The videos of a folder: where they are, who is in them, and what may be done with them.

A folder is a path or anything fsspec reads (s3://, hf://datasets/..., memory://); a manifest.csv in it may name of each
file `speaker`, `licence`, `source`, `start_seconds` and `end_seconds`, a line for each part that is wanted.
"""

import csv
import io
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.core import url_to_fs

from emo.data.clip import ClipInfo
from emo.data.recipe import Listed, Recipe
from emo.errors import InputError, OutputError

VIDEOS = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"}


@dataclass(frozen=True)
class Source:
    """A video of the footage."""

    key: str  # its path under the folder
    url: str  # where it is
    info: ClipInfo
    spans: tuple[tuple[float, float], ...] = ((0.0, math.inf),)  # seconds that are wanted
    size: int = 0  # bytes


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


def list_sources(folder: str | Path, recipe: Recipe, listed: Sequence[Listed] | None = None) -> list[Source]:
    """All videos under a folder, by name; with a list those on it. Raises InputError for a folder without any, or one
    that can't be reached."""
    fs, root = file_system(folder)
    try:
        found = fs.find(root, detail=True)
    except OSError as error:
        raise InputError(f"{folder} can't be listed ({error})") from error
    paths = [path for path in sorted(found) if PurePosixPath(path).suffix.lower() in VIDEOS]
    keys = {path.removeprefix(root).lstrip("/"): path for path in paths}
    wanted = None if listed is None else chosen(keys, listed)
    names, manifest = unique_names([key for key in keys if wanted is None or key in wanted]), read_manifest(folder)
    if not names:
        raise InputError(f"{folder} holds no videos" + ("" if listed is None else " that stand on the list"))
    sources = []
    for key, name in names.items():
        rows = manifest.get(key) or manifest.get(PurePosixPath(key).name) or [{}]
        lines = [] if wanted is None else wanted[key]
        told = next((line.person for line in lines if line.person), None)
        person = told or rows[0].get("speaker") or recipe.person_in(key) or name
        licence = rows[0].get("licence") or recipe.licence
        info = ClipInfo(name, person, rows[0].get("source") or key, licence, 0)
        spans = [(line.start_seconds, line.end_seconds) for line in lines] or [span_of(row) for row in rows]
        size = found[keys[key]].get("size") or 0
        sources.append(Source(key, fs.unstrip_protocol(keys[key]), info, tuple(sorted(spans)), size))
    return sources


def chosen(keys: Sequence[str], listed: Sequence[Listed]) -> dict[str, list[Listed]]:
    """The files that stand on a list, by path, by name, or by name without suffix."""
    lines, found = defaultdict(list), {}
    for line in listed:
        lines[line.file].append(line)
    for key in keys:
        path = PurePosixPath(key)
        known = next((name for name in (key, path.name, path.stem) if name in lines), None)
        if known is not None:
            found[key] = lines[known]
    return found


def span_of(row: dict[str, str]) -> tuple[float, float]:
    try:
        return float(row.get("start_seconds") or 0), float(row.get("end_seconds") or "inf")
    except ValueError as error:
        raise InputError(f"manifest.csv: {row['file']}: start_seconds and end_seconds are numbers") from error


def unique_names(keys: Sequence[str]) -> dict[str, str]:
    """For each path under the folder the name of its clips, without dots (WebDataset cuts names at the first) and with
    the suffix where two files differ in nothing else."""
    short = {key: re.sub(r"[^\w+-]", "_", str(PurePosixPath(key).with_suffix(""))) for key in keys}
    twice = Counter(short.values())
    return {key: name if twice[name] == 1 else re.sub(r"[^\w+-]", "_", key) for key, name in short.items()}


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
