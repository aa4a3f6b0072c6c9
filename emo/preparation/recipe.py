"""What is known of a source of footage before it is looked at: a YAML of datasets/."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from emo.core.errors import InputError
from emo.preparation.filters import Limits

LINE_NAMES = {"file", "start_seconds", "end_seconds", "person"}  # what a line of a list may name


@dataclass
class Recipe:
    """Where footage comes from, what may be done with it, and how its files and lists are read."""

    name: str = "your own folder"
    url: str = ""
    licence: str = ""
    allows: str = ""  # what the licence allows, in words
    citation: str = ""
    person: str = ""  # regex found in a file's path under the folder; its group is the person; "": each file its own
    line: str = ""  # regex of a line of its list, with groups named as in LINE_NAMES; "": it has no list
    held_out: list[str] = field(default_factory=list)  # people never trained on
    validation: float = 0.0  # share of the people that validate
    limits: dict[str, float] = field(default_factory=dict)  # over those of emo.preparation.filters
    notes: dict[str, Any] = field(default_factory=dict)  # for the reader

    def person_in(self, path: str) -> str | None:
        found = re.search(self.person, path) if self.person else None
        return found and found.group(1)


@dataclass(frozen=True)
class Listed:
    """A line of a list."""

    file: str  # a file's path under the folder, or its name without suffix
    person: str | None
    start_seconds: float
    end_seconds: float


def read_recipe(path: Path) -> Recipe:
    """Raises InputError for a file that is none, an unknown name in it, or a regex that can't be."""
    try:
        given = OmegaConf.merge(OmegaConf.structured(Recipe), OmegaConf.load(path))
        recipe = OmegaConf.to_object(given)
        groups = re.compile(recipe.line).groupindex if recipe.line else {"file": 1}
        if recipe.person and not re.compile(recipe.person).groups:
            raise InputError(f"{path}: person: the regex needs a group")
    except (OSError, OmegaConfBaseException, YAMLError, re.error, TypeError, ValueError) as error:
        names = ", ".join(f.name for f in fields(Recipe))
        raise InputError(f"{path} is no recipe ({str(error).splitlines()[0]}): a YAML of {names}") from error
    if "file" not in groups or not set(groups) <= LINE_NAMES:
        raise InputError(f"{path}: line: name its groups {', '.join(sorted(LINE_NAMES))}; file must be there")
    if set(recipe.limits) - {f.name for f in fields(Limits)}:
        raise InputError(f"{path}: limits: give those of {', '.join(f.name for f in fields(Limits))}")
    return recipe


def read_list(path: Path, recipe: Recipe) -> Iterator[Listed]:
    """The lines of the footage's list; one that the recipe's regex does not match is a heading or a comment.

    Raises InputError for a missing file, a recipe without a list, or a list of which no line matches.
    """
    if not recipe.line:
        raise InputError(f"{path}: {recipe.name} has no list; leave --list out")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as a list ({error}): give a text file") from error
    found = [match.groupdict() for match in map(re.compile(recipe.line).search, lines) if match]
    if not found:
        raise InputError(f"{path}: no line is like one of {recipe.name}'s list ({recipe.line})")
    for row in found:
        start, end = row.get("start_seconds") or "0", row.get("end_seconds") or "inf"
        yield Listed(row["file"], row.get("person"), in_seconds(start), in_seconds(end))


def in_seconds(time: str) -> float:
    """Seconds, min:sec or h:min:sec. Raises InputError for none of them."""
    try:
        return sum(float(part) * 60**place for place, part in enumerate(reversed(time.split(":"))))
    except ValueError as error:
        raise InputError(f"{time} is no time: give seconds, min:sec or h:min:sec") from error
