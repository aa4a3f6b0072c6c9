"""Read controls that people write: in columns, one number each, in a file or as options of emo-infer.

Angles are degrees: yaw to the picture's left, pitch up, roll clockwise. `controls` in Python has radians, in the signs
of `emo.models.conditions`.

A file has one row per frame, or a column `seconds` or `frame` that says when each row holds; between rows numbers are
interpolated linearly, before the first and after the last they stay. An empty cell is interpolated too; `free` leaves
the control to the model from that row to the next one with a number. Shapes: T frames, R rows, D components.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, isfinite, radians
from pathlib import Path
from typing import Any

import numpy as np

from emo.core.errors import InputError
from emo.core.files import check_input_file
from emo.models.conditions import CONDITIONS, EMOTIONS, ConditionSpec

OFFSET = "head_pose_offset"  # in `controls`: head pose relative to that of the portrait
DEGREE, FREE = radians(1), "free"
MAX_SECONDS = 86_400.0  # of a file


@dataclass(frozen=True)
class ControlColumn:
    """A column of a controls file."""

    control: str  # name in `controls`
    component: str
    unit: float = 1.0  # the number 1 of the column in the control's own unit


COLUMNS = {
    "gaze_yaw": ControlColumn("gaze", "yaw", DEGREE),
    "gaze_pitch": ControlColumn("gaze", "pitch", DEGREE),
    "pose_yaw": ControlColumn(OFFSET, "yaw", DEGREE),
    "pose_pitch": ControlColumn(OFFSET, "pitch", -DEGREE),  # head_angles counts it downwards
    "pose_roll": ControlColumn(OFFSET, "roll", DEGREE),
    "distance": ControlColumn("distance", "ratio"),
    **{f"emotion_{name}": ControlColumn("emotion", name) for name in EMOTIONS},
    "speed": ControlColumn("head_speed", "radians_per_second"),
}
TIMES = ("seconds", "frame")


def find_spec(name: str) -> ConditionSpec | None:
    """Return the condition that a name of `controls` stands for; None for an unknown name."""
    return CONDITIONS.get("head_pose" if name == OFFSET else name)


def read_controls(path: str | Path, fps: float) -> dict[str, np.ndarray]:
    """Read a controls file.

    Args:
        path: A .csv file whose first row names the columns, or a .json file with an object of columns: lists of equal
            length, or numbers that always hold.
        fps: Frames per second of the video.

    Returns:
        Name in `controls` -> (T D), one row per frame.

    Raises:
        InputError: The file can't be read, or a column or a cell is none; the line names the file and the place.
    """
    path = Path(path)
    check_input_file(path, "controls file")
    cells = _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path)
    if unknown := [name for name in cells if name not in COLUMNS and name not in TIMES]:
        raise InputError(f"{path}: {unknown[0]!r} is no column: give {', '.join([*TIMES, *COLUMNS])}")
    columns = {name: [_read_cell(path, name, row, cell) for row, cell in enumerate(c)] for name, c in cells.items()}
    times = [columns.pop(name) for name in TIMES if name in columns]
    if len(times) > 1:
        raise InputError(f"{path}: give seconds or frame, not both")
    if not columns or not len(next(iter(columns.values()))):
        raise InputError(f"{path} holds no controls: give rows of {', '.join(COLUMNS)}")
    rows = len(next(iter(columns.values())))
    keys = np.array(times[0] if times else np.arange(rows), float)
    seconds = keys if "seconds" in cells else keys / fps
    if not np.isfinite(keys).all() or (np.diff(keys) <= 0).any() or keys[0] < 0 or seconds[-1] > MAX_SECONDS:
        raise InputError(f"{path}: the times must be numbers that rise, from 0 to {MAX_SECONDS:g} seconds")
    frames = np.arange(ceil(seconds[-1] * fps - 1e-6) + 1) / fps
    return convert_columns({name: interpolate(seconds, column, frames) for name, column in columns.items()}, str(path))


def interpolate(seconds: np.ndarray, column: list[float | None], frames: np.ndarray) -> np.ndarray:
    """Interpolate a column of a file.

    Args:
        seconds: (R,) times of the rows, rising.
        column: R numbers; None: between its neighbors, NaN: free.
        frames: (T,) times of the frames.

    Returns:
        (T,); NaN where it is free.
    """
    given = [row for row, number in enumerate(column) if number is not None]
    if not given:
        return np.full(len(frames), np.nan)
    numbers = np.array([column[row] for row in given], float)
    free = np.isnan(numbers)
    values = np.interp(frames, seconds[given], np.where(free, 0, numbers))
    return np.where(np.interp(frames, seconds[given], free) > 1e-9, np.nan, values)


def convert_columns(columns: Mapping[str, float | np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Convert columns to controls.

    Args:
        columns: Name in COLUMNS -> number, or (T,).
        source: Where they come from, for messages.

    Returns:
        Name in `controls` -> (D,), or (T D) where a column is a curve.

    Raises:
        InputError: For a number that is out of range.
    """
    curves: dict[str, dict[str, np.ndarray]] = {}
    for name, value in columns.items():
        column, numbers = COLUMNS[name], np.asarray(value, float)
        spec = find_spec(column.control)
        assert spec is not None
        low, high = sorted(limit / column.unit for limit in spec.limits)
        outside = numbers[(numbers < low - 1e-6) | (numbers > high + 1e-6)]
        if outside.size:
            raise InputError(f"{source}: {name} {outside.flat[0]:g} is not between {low:g} and {high:g}")
        curves.setdefault(column.control, {})[column.component] = numbers * column.unit
    controls = {}
    for name, components in curves.items():
        spec = find_spec(name)
        assert spec is not None
        missing = np.full_like(next(iter(components.values())), spec.component_default)
        rows = np.broadcast_arrays(*(components.get(component, missing) for component in spec.components))
        controls[name] = np.stack(rows, axis=-1).astype(np.float32)
    return controls


def _read_csv(path: Path) -> dict[str, list[str]]:
    """Cells of a .csv file by column; commas, semicolons or tabs between them. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as text: give a .csv or .json file in UTF-8") from error
    rows = [line for line in lines if line.strip(" ,;\t")]
    delimiter = max(",;\t", key=rows[0].count) if rows else ","
    names, *table = [[cell.strip() for cell in row] for row in csv.reader(rows, delimiter=delimiter)] or [[]]
    for number, row in enumerate(table, 1):
        if len(row) != len(names):
            raise InputError(f"{path}, row {number}: {len(row)} cells for {len(names)} columns")
    if len({*names}) < len(names):
        raise InputError(f"{path}: a column is named twice")
    return {name: [row[k] for row in table] for k, name in enumerate(names)}


def _read_json(path: Path) -> dict[str, list]:
    """Cells of a .json file by column. Raises InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f'{path}: give an object of columns, such as {{"seconds": [0, 2], "gaze_yaw": [0, 20]}}')
    counts = {name: len(column) for name, column in content.items() if isinstance(column, list)}
    if len({*counts.values()}) > 1:
        raise InputError(f"{path}: the lists have different lengths: {counts}")
    rows = next(iter(counts.values()), 1)
    return {name: column if isinstance(column, list) else [column] * rows for name, column in content.items()}


def _read_cell(path: Path, name: str, row: int, cell: Any) -> float | None:
    """The number in a cell; None: empty, NaN: free. Raises InputError for anything else."""
    if cell is None or cell == "":
        return None
    if cell == FREE:
        return np.nan
    try:
        number = inf if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        number = inf
    if not isfinite(number):
        raise InputError(f"{path}, row {row + 1}: {name} {cell!r} is not a number")
    return number
