"""Sources of footage: recipes say what is known of one in advance, and lists which files and times of it are wanted.

A recipe is a YAML of datasets/. `list_sources` finds the videos of a folder, who is in them, and what their license
allows.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from emo.core.errors import InputError
from emo.core.storage import open_file_system, read_manifest
from emo.data.clip import ClipInfo
from emo.media.video import VIDEO_SUFFIXES
from emo.preparation.filters import check_limit_names

RENAMED_KEYS = {"licence": "license", "held_out": "hold_out"}  # of recipes of earlier versions
LINE_GROUPS = {"file", "start_seconds", "end_seconds", "person"}  # names of groups in the regex of a list's line


@dataclass
class Recipe:
    """Where footage comes from, what may be done with it, and how its files and lists are read.

    Attributes:
        name: Name of the data set.
        url: Where it is published.
        license: Name of its license.
        allows: What the license allows, in words.
        citation: Reference of its paper.
        person: Regex that is searched in a file's path under the folder, its group is the person; "": each file shows
            somebody else.
        line: Regex of a line of the data set's list, with groups named as in LINE_GROUPS; "": it has no list.
        hold_out: People who are never trained on.
        validation: Share of the people for validation.
        limits: Over the defaults of `emo.preparation.filters.ClipLimits`.
        notes: For the reader.
    """

    name: str = "your own folder"
    url: str = ""
    license: str = ""
    allows: str = ""
    citation: str = ""
    person: str = ""
    line: str = ""
    hold_out: list[str] = field(default_factory=list)
    validation: float = 0.0
    limits: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def person_in(self, path: str) -> str | None:
        """Return the person of a file by its path under the folder; None where the recipe does not tell."""
        found = re.search(self.person, path) if self.person else None
        return found and found.group(1)


@dataclass(frozen=True)
class ListedFile:
    """A line of a list.

    Attributes:
        file: Path under the folder, or name without suffix.
        person: Who is in it, where the line tells.
        start_seconds: Start of the wanted part.
        end_seconds: Its end, perhaps infinity.
    """

    file: str
    person: str | None
    start_seconds: float
    end_seconds: float


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises InputError for a file that is none, an unknown or old name in it, or an invalid regex."""
    try:
        given = OmegaConf.load(path)
        for old, new in RENAMED_KEYS.items():
            if old in given:
                raise InputError(f"{path}: {old} was renamed: write {new}")
        recipe = cast(Recipe, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), given)))
        groups = re.compile(recipe.line).groupindex if recipe.line else {"file": 1}
        if recipe.person and not re.compile(recipe.person).groups:
            raise InputError(f"{path}: person: the regex needs a group")
    except InputError:
        raise
    except (OSError, OmegaConfBaseException, YAMLError, re.error, TypeError, ValueError) as error:
        names = ", ".join(f.name for f in fields(Recipe))
        raise InputError(f"{path} is not a recipe ({str(error).splitlines()[0]}): write a YAML of {names}") from error
    if "file" not in groups or not set(groups) <= LINE_GROUPS:
        raise InputError(f"{path}: line: name its groups {', '.join(sorted(LINE_GROUPS))}; file must be there")
    check_limit_names([*recipe.limits], f"{path}: limits")
    return recipe


def read_file_list(path: Path, recipe: Recipe) -> Iterator[ListedFile]:
    """Read the lines of a data set's list; lines that the recipe's regex does not match are headings or comments.

    Args:
        path: The list, a text file.
        recipe: The data set's recipe.

    Yields:
        A listed file, or a span of one.

    Raises:
        InputError: The file is missing, the recipe has no list, or no line matches.
    """
    if not recipe.line:
        raise InputError(f"{path}: {recipe.name} has no list of files; give none")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as a list ({error}): give a text file") from error
    found = [match.groupdict() for match in map(re.compile(recipe.line).search, lines) if match]
    if not found:
        raise InputError(f"{path}: no line matches the list format of {recipe.name}, the regex {recipe.line}")
    for row in found:
        start, end = row.get("start_seconds") or "0", row.get("end_seconds") or "inf"
        yield ListedFile(row["file"], row.get("person"), parse_seconds(start), parse_seconds(end))


def parse_seconds(time: str) -> float:
    """Parse seconds, min:sec or h:min:sec. Raises InputError for anything else."""
    try:
        return sum(float(part) * 60**place for place, part in enumerate(reversed(time.split(":"))))
    except ValueError as error:
        raise InputError(f"{time} is not a time: give seconds, min:sec or h:min:sec") from error


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
        raise InputError(f"{folder} holds no videos" + ("" if listed is None else " that are on the list"))
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
