"""List the videos of a folder: where they are, who is in them, what their license allows."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emo.core.errors import InputError
from emo.core.storage import open_file_system, read_manifest
from emo.data.clip import ClipInfo
from emo.media.video import VIDEO_SUFFIXES
from emo.preparation.recipe import ListedFile, Recipe


@dataclass(frozen=True)
class VideoSource:
    """A video of the footage.

    Attributes:
        key: Its path under the folder.
        url: Where it is.
        info: What is known of it; its name is that of its clips.
        spans: The parts that are wanted, (start, end) in seconds.
        size: In bytes.
    """

    key: str
    url: str
    info: ClipInfo
    spans: tuple[tuple[float, float], ...] = ((0.0, math.inf),)
    size: int = 0


def list_sources(folder: str | Path, recipe: Recipe, listed: Sequence[ListedFile] | None = None) -> list[VideoSource]:
    """List all videos under a folder, sorted by path.

    Persons come from the list, else from the folder's manifest.csv, else from the recipe; else each file is a person.

    Args:
        folder: Path or URL.
        recipe: What is known of the footage.
        listed: Lines of its list; only these files and spans are wanted then.

    Returns:
        The videos with their spans and the beginnings of their clips' JSON.

    Raises:
        InputError: The folder has no such videos or can't be listed.
    """
    fs, root = open_file_system(folder)
    try:
        found = fs.find(root, detail=True)
    except OSError as error:
        raise InputError(f"{folder} can't be listed ({error})") from error
    paths = [path for path in sorted(found) if PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES]
    keys = {path.removeprefix(root).lstrip("/"): path for path in paths}
    wanted = None if listed is None else match_listed_files(keys, listed)
    names = make_unique_names([key for key in keys if wanted is None or key in wanted])
    manifest = read_manifest(folder)
    if not names:
        raise InputError(f"{folder} holds no videos" + ("" if listed is None else " that stand on the list"))
    sources = []
    for key, name in names.items():
        rows = manifest.get(key) or manifest.get(PurePosixPath(key).name) or [{}]
        lines = [] if wanted is None else wanted[key]
        listed_person = next((line.person for line in lines if line.person), None)
        person = listed_person or rows[0].get("speaker") or recipe.person_in(key) or name
        license = rows[0].get("license") or recipe.license
        info = ClipInfo(name, person, rows[0].get("source") or key, license, 0)
        spans = [(line.start_seconds, line.end_seconds) for line in lines] or [parse_span(row) for row in rows]
        size = found[keys[key]].get("size") or 0
        sources.append(VideoSource(key, fs.unstrip_protocol(keys[key]), info, tuple(sorted(spans)), size))
    return sources


def match_listed_files(keys: Sequence[str], listed: Sequence[ListedFile]) -> dict[str, list[ListedFile]]:
    """Find the files that a list names by path, by name, or by name without suffix.

    Args:
        keys: Paths of the files within their folder.
        listed: Lines of the list.

    Returns:
        File -> its lines of the list.
    """
    lines, found = defaultdict(list), {}
    for line in listed:
        lines[line.file].append(line)
    for key in keys:
        path = PurePosixPath(key)
        known = next((name for name in (key, path.name, path.stem) if name in lines), None)
        if known is not None:
            found[key] = lines[known]
    return found


def parse_span(row: dict[str, str]) -> tuple[float, float]:
    """Return the span of a manifest's row in seconds, by default the whole file. Raises InputError."""
    try:
        return float(row.get("start_seconds") or 0), float(row.get("end_seconds") or "inf")
    except ValueError as error:
        raise InputError(f"manifest.csv: {row['file']}: start_seconds and end_seconds are numbers") from error


def make_unique_names(keys: Sequence[str]) -> dict[str, str]:
    """Name the clips of each path under the folder.

    Names have no dots, as WebDataset cuts them at the first, and the suffix of the file where two files differ in
    nothing else.
    """
    short = {key: re.sub(r"[^\w+-]", "_", str(PurePosixPath(key).with_suffix(""))) for key in keys}
    uses = Counter(short.values())
    return {key: name if uses[name] == 1 else re.sub(r"[^\w+-]", "_", key) for key, name in short.items()}
