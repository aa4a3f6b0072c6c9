"""Recipes: what is known of a source of footage in advance, a YAML of datasets/."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from emo.core.errors import InputError
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
        raise InputError(f"{path}: {recipe.name} has no list; leave --list out")
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
