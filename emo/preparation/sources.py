"""List the videos of a folder: where they are, who is in them, what their licence allows."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emo.core.errors import InputError
from emo.core.storage import file_system, read_manifest
from emo.data.clip import ClipInfo
from emo.preparation.recipe import Listed, Recipe

VIDEOS = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"}


@dataclass(frozen=True)
class Source:
    """A video of the footage."""

    key: str  # its path under the folder
    url: str  # where it is
    info: ClipInfo
    spans: tuple[tuple[float, float], ...] = ((0.0, math.inf),)  # seconds that are wanted
    size: int = 0  # bytes


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
