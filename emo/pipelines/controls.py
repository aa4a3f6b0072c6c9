"""Controls of a call: checked against the model, made relative to the portrait, and cut into windows.

Shapes: T frames, D components of a control.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emo.core.errors import InputError
from emo.face.pose import head_angles, head_rotations
from emo.face.refinement import load_landmark_refiner
from emo.face.selection import SelectedFace
from emo.models.conditions import ConditionSpec, Value, find_defaults, parse_value, slice_curve
from emo.models.loading import list_built_in_models_with
from emo.pipelines.control_files import OFFSET, find_spec, read_controls

STILL = {OFFSET: (0.0, 0.0, 0.0), "distance": 1.0, "head_speed": 0.0}  # what `still` asks for

Controls = Mapping[str, Value | None] | str | Path
logger = logging.getLogger(__name__)


def make_curves(
    conditions: Iterable[ConditionSpec],
    controls: Controls | None,
    head_speed: Value | None,
    still: bool,
    fps: float,
    image: np.ndarray,
    face: SelectedFace,
) -> dict[str, np.ndarray]:
    """Values of the conditions by frame that a call asks for.

    Args:
        conditions: The conditions that the model has.
        controls: Name -> value (see `parse_value`; None: the model chooses), also `head_pose_offset`; or a controls
            file. Head pose and gaze are those in the picture, and are returned relative to the portrait. What is left
            out has the value in `emo.models.conditions.DEFAULTS`.
        head_speed: rad/s, constant or one per frame; a model without it ignores it, with a warning.
        still: Whether the head keeps its place and pose in the portrait.
        fps: Frames per second.
        image: (H W 3) uint8 RGB, the portrait.
        face: The portrait's face.

    Returns:
        Name of the condition -> constant (D,) or curve (T D).

    Raises:
        InputError: For a control that the model has not, one that is given twice, or a value that does not fit.
    """
    asked = read_controls(controls, fps) if isinstance(controls, str | Path) else dict(controls or {})
    given = {name: value for name, value in asked.items() if value is not None}
    names = [spec.name for spec in conditions if spec.components]
    if head_speed is not None and "head_speed" in given:
        raise InputError("head_speed= is given twice, also in controls: give it once")
    if head_speed is not None and "head_speed" not in names:
        logger.warning(f"head_speed={head_speed} is ignored: the model has no such condition")
    elif head_speed is not None:
        given["head_speed"] = head_speed
    if still:
        given |= _hold_still(names, given)
    given |= {name: value for name, value in find_defaults(names).items() if name not in asked}
    for name in given:
        _check_control(name, names)
    if OFFSET in given and "head_pose" in given:
        raise InputError(f"controls: give head_pose or {OFFSET}, not both")
    curves = {name: _parse(name, value) for name, value in given.items()}
    offset = curves.pop(OFFSET, None)
    relative = make_relative(curves, image, face)
    return relative if offset is None else relative | {"head_pose": offset}


def make_relative(values: Mapping[str, np.ndarray], image: np.ndarray, face: SelectedFace) -> dict[str, np.ndarray]:
    """Make head pose and gaze in the picture relative to the portrait's, as models read them.

    Args:
        values: Name of the condition -> (D,) or (T D).
        image: (H W 3) uint8 RGB, the portrait.
        face: The portrait's face.

    Returns:
        The values, those of other conditions as they are.
    """
    relative = dict(values)
    if "head_pose" in values:
        relative["head_pose"] = values["head_pose"] - portrait_pose(face)
    if "gaze" in values:
        relative["gaze"] = values["gaze"] - portrait_gaze(image, face)
    return relative


def portrait_pose(face: SelectedFace) -> np.ndarray:
    """Measure the head pose of a portrait in its square, as clips are labeled.

    Args:
        face: The portrait's face.

    Returns:
        (3,) float32 yaw, pitch, roll of `head_angles` in radians; zeros for a face without landmarks.
    """
    if face.landmarks is None:
        return np.zeros(3, np.float32)
    angles = head_angles(head_rotations(np.asarray(face.landmarks, float)[None]))[0]
    return (angles - [0, 0, face.region.angle_radians]).astype(np.float32)


def portrait_gaze(image: np.ndarray, face: SelectedFace) -> np.ndarray:
    """Measure the gaze of a portrait, as clips are labeled.

    Args:
        image: (H W 3) uint8 RGB, the portrait.
        face: The portrait's face.

    Returns:
        (2,) float32 yaw and pitch of the eyes in the head, radians; zeros for a face without landmarks.
    """
    if face.landmarks is None:
        return np.zeros(2, np.float32)
    (details,) = load_landmark_refiner().refine(image, np.asarray(face.landmarks)[None])
    return details.gaze.astype(np.float32)


def slice_curves(
    curves: Mapping[str, np.ndarray], first: int, count: int, config: Any, like: Tensor
) -> dict[str, Tensor]:
    """Values of the conditions by frame for a window.

    Args:
        curves: From `make_curves`.
        first: Number of the window's first frame.
        count: Frames of the window.
        config: Config of the model, which says how many more frames of head speed it reads on each side.
        like: Tensor whose device and data type the values get.

    Returns:
        Name -> (1 count D); of head_speed (1 count+2m), with m more frames on each side.
    """
    values = {}
    for name, curve in curves.items():
        margin = config.speed_margin if name == "head_speed" else 0
        rows = torch.tensor(slice_curve(curve, first - margin, first + count + margin))[None].to(like)
        values[name] = rows[..., 0] if name == "head_speed" else rows
    return values


def _check_control(name: str, names: list[str]) -> None:
    """Raise InputError for a control that the model has not; `names` are those of its conditions by frame."""
    spec = find_spec(name)
    if spec is not None and spec.name in names:
        return
    known = f"it has {', '.join(f'{name}=' for name in names)}" if names else "it has no controls"
    if spec is None or not spec.components:
        raise InputError(f"controls: {name!r} is not a control: the model has {known.removeprefix('it has ')}")
    others = list_built_in_models_with(spec.name)
    hint = f"; {' and '.join(others)} has it" if others else ""
    raise InputError(f"{name}= is not a control of this model: {known}{hint}")


def _hold_still(names: list[str], given: Mapping[str, Any]) -> dict[str, Value]:
    """The controls of STILL that the model has. Raises InputError where it has none, or one is given."""
    held = {}
    for name, value in STILL.items():
        spec = find_spec(name)
        assert spec is not None
        if spec.name in names:
            held[name] = value
    if not held:
        raise InputError("still=True needs a model with head_pose, distance or head_speed; this one has none of them")
    if twice := [name for name in given if name in held or name == "head_pose"]:
        raise InputError(f"still=True holds the head: leave {twice[0]}= out")
    return held


def _parse(name: str, value: Value) -> np.ndarray:
    """A value of `controls` as an array; errors name the control as the caller did."""
    spec = find_spec(name)
    assert spec is not None
    try:
        return parse_value(spec.name, value)
    except InputError as error:
        raise InputError(str(error).replace(spec.name, name, 1)) from error
