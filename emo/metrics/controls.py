"""Compare what a video was asked to show with what it shows: head speed, gaze, head pose, distance.

What was asked are the values that `emo.generate` and `emo-infer --controls` take. An error is that of one video; the
response is that of a set of videos in which different values were asked.

Shapes: T frames; asked (T 7): the components of QUANTITIES side by side, NaN where nothing was asked.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.face.pose import head_angles, head_rotations, head_speed
from emo.metrics.score import Figure
from emo.metrics.sync import correlation
from emo.metrics.tracks import VideoTracks
from emo.models.conditions import Value, parse_value, slice_curve
from emo.pipelines.control_files import OFFSET

RESPONSE_SECONDS = 1.0  # over which asked values that change are averaged before they are compared
MIN_RESPONSE_ROWS = 3


@dataclass(frozen=True)
class Quantity:
    """A condition of a model whose effect can be measured.

    Attributes:
        condition: Name in `emo.models.conditions.CONDITIONS`.
        columns: Its columns of `VideoTracks.asked`.
        measure: Tracks -> (T D), what the video shows.
        is_ratio: Whether errors are a share of what was asked; else they are angles in radians.
    """

    condition: str
    columns: slice
    measure: Callable[[VideoTracks], np.ndarray]
    is_ratio: bool


def measure_speed(tracks: VideoTracks) -> np.ndarray:
    """(T 1) radians per second."""
    return head_speed(tracks.visible_landmarks, FPS)[:, None]


def measure_gaze(tracks: VideoTracks) -> np.ndarray:
    """(T 2) radians, NaN where the face is not visible."""
    return np.where(tracks.face_visible[:, None], tracks.gaze, np.nan)


def measure_pose(tracks: VideoTracks) -> np.ndarray:
    """(T 3) radians; the roll is that in the portrait's square, where the portrait is known."""
    angles = head_angles(head_rotations(tracks.visible_landmarks))
    return angles - [0, 0, np.nan_to_num(tracks.portrait_pose[3])]


def measure_distance(tracks: VideoTracks) -> np.ndarray:
    """(T 1) distance from the camera over the portrait's; (1 1) NaN where the portrait is not known."""
    return tracks.portrait[:, 2:3]


QUANTITIES = {
    "speed": Quantity("head_speed", slice(0, 1), measure_speed, True),
    "gaze": Quantity("gaze", slice(1, 3), measure_gaze, False),
    "pose": Quantity("head_pose", slice(3, 6), measure_pose, False),
    "distance": Quantity("distance", slice(6, 7), measure_distance, True),
}
COLUMNS = 7


def make_asked(controls: Mapping[str, Value], num_frames: int, portrait_pose: np.ndarray) -> np.ndarray:
    """Convert what was asked of a video to `VideoTracks.asked`.

    Args:
        controls: Name -> value, constant or by frame, as `emo.generate` takes it.
        num_frames: T.
        portrait_pose: (4,) of `emo.metrics.portrait.Portrait`, which `head_pose_offset` counts from.

    Returns:
        (T 7); conditions that are not measured (emotion) are left out.

    Raises:
        InputError: A value does not fit its condition.
    """
    asked = np.full((num_frames, COLUMNS), np.nan)
    for quantity in QUANTITIES.values():
        if (value := controls.get(quantity.condition)) is not None:
            asked[:, quantity.columns] = slice_curve(parse_value(quantity.condition, value), 0, num_frames)
    if OFFSET in controls:
        offset = slice_curve(parse_value("head_pose", controls[OFFSET]), 0, num_frames)
        asked[:, QUANTITIES["pose"].columns] = offset + portrait_pose[:3]
    return asked


def match_controls(folder: Path, videos: Iterable[Path]) -> dict[Path, Path]:
    """Find the controls file of each video: NAME.csv or NAME.json.

    Args:
        folder: Folder of controls files.
        videos: Videos.

    Returns:
        Video -> file, for the videos that have one.

    Raises:
        InputError: No video has the name of a file.
    """
    files = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in (".csv", ".json")}
    matches = {video: files[video.stem] for video in videos if video.stem in files}
    if not matches:
        raise InputError(f"no video has the name of a .csv or .json file of {folder}: name the files like the videos")
    return matches


def pair_values(tracks: VideoTracks, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Pair what was asked of a video with what is measured.

    Args:
        tracks: Tracks of the video, with `asked`.
        quantity: The quantity, of D values.

    Returns:
        Asked and measured values (T D), both NaN where one of them is missing; (1 1) NaN where nothing was asked.
    """
    asked, measured = tracks.asked[:, quantity.columns], quantity.measure(tracks)
    if len(asked) != len(measured):  # (1 ...) where one was not given
        return np.full((1, 1), np.nan), np.full((1, 1), np.nan)
    missing = np.isnan(asked) | np.isnan(measured)
    return np.where(missing, np.nan, asked), np.where(missing, np.nan, measured)


def control_error(tracks: VideoTracks, name: str) -> float:
    """Measure how far a video is from what it was asked to show.

    Args:
        tracks: Tracks of the video, with `asked`.
        name: Key of QUANTITIES.

    Returns:
        Speed: the difference of means in percent of the asked mean. Distance: the mean difference in percent. Gaze and
        pose: the mean over frames of the root of summed squared differences of their angles, in degrees. NaN where
        nothing was asked or measured.
    """
    quantity = QUANTITIES[name]
    asked, measured = pair_values(tracks, quantity)
    rows = np.isfinite(asked).any(1)
    if not rows.any():
        return np.nan
    asked, measured = asked[rows], measured[rows]
    if name == "speed":  # its value in one frame is hardly more than noise
        asked, measured = asked.mean(0, keepdims=True), measured.mean(0, keepdims=True)
    if quantity.is_ratio:
        return 100 * float(np.abs(measured / np.maximum(asked, 1e-6) - 1).mean())
    return float(np.degrees(np.sqrt(np.nansum((measured - asked) ** 2, axis=1))).mean())


def average_parts(values: np.ndarray, seconds: float) -> np.ndarray:
    """Average values over consecutive parts of a video.

    Args:
        values: (T D).
        seconds: Length of a part.

    Returns:
        (N D) means; NaN where a part has no value.
    """
    size = max(1, round(min(seconds * FPS, len(values))))
    parts = [values[k : k + size] for k in range(0, max(1, len(values) - size // 2), size)]
    counts = np.array([np.isfinite(part).sum(0) for part in parts])
    return np.array([np.nansum(part, axis=0) for part in parts]) / np.where(counts > 0, counts, np.nan)


def measure_responses(clips: Iterable[VideoTracks]) -> dict[str, Figure]:
    """Measure how a set of videos follows what was asked.

    Asked and measured values are averaged over each video, or over each second of it where what was asked changes.

    Args:
        clips: Tracks of the videos.

    Returns:
        For each quantity of which different values were asked: "NAME_response", Pearson's r of asked and measured
        values, and "NAME_gain", the slope of the line of least squares: 1 follows exactly, 0 not at all. Without
        intervals.
    """
    rows: dict[str, list[np.ndarray]] = {name: [] for name in QUANTITIES}  # (N D 2) of each video
    for tracks in clips:
        for name, quantity in QUANTITIES.items():
            asked, measured = pair_values(tracks, quantity)
            if np.isfinite(asked).any():
                changes = any(len(np.unique(column[np.isfinite(column)])) > 1 for column in asked.T)
                seconds = RESPONSE_SECONDS if changes else np.inf
                rows[name].append(np.stack([average_parts(values, seconds) for values in (asked, measured)], -1))
    figures = {}
    for name, parts in rows.items():
        if not parts:
            continue
        pairs = np.concatenate(parts)
        means = np.nansum(pairs, axis=0) / np.maximum(np.isfinite(pairs).sum(0), 1)
        apart = (pairs - means).reshape(-1, 2)  # each component from its own mean, then all of them together
        asked, measured = apart[np.isfinite(apart).all(1)].T
        if len(asked) >= MIN_RESPONSE_ROWS and np.ptp(asked) > 1e-6:
            slope = float((asked * measured).sum() / (asked**2).sum())
            for kind, value in (("response", correlation(asked, measured)), ("gain", slope)):
                figures[f"{name}_{kind}"] = Figure(value, np.nan, np.nan, len(parts))
    return figures
