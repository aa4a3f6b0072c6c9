"""Measures of unwanted change in a video: flicker, background, color drift, and jumps at window borders.

Shapes: T frames at 25 per second.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from emo.core.timing import FPS

DRIFT_RATIO = 0.25  # of the video, at its start and at its end, that are compared
MIN_DRIFT_SECONDS = 5.0  # in shorter videos expressions change the values more than drift does


def interpolate_gaps(values: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Interpolate values linearly over frames in which the face is not visible.

    Args:
        values: (T ...) values of all frames.
        visible: (T,) bool.

    Returns:
        (T ...), unchanged where no frame is visible; before the first visible frame and after the last its value is
        repeated.
    """
    if not visible.any():
        return values
    frames, columns = np.arange(len(visible)), values.reshape(len(values), -1).T
    filled = [np.interp(frames, frames[visible], column[visible]) for column in columns]
    return np.stack(filled, -1).reshape(values.shape)


def flicker(lightness: np.ndarray) -> float:
    """Return how far the lightness (T,) L* of the face lies from the mean of both neighbor frames, mean of all frames;
    slow changes of light do not count."""
    return float(np.abs(lightness[1:-1] - (lightness[:-2] + lightness[2:]) / 2).mean())


def drift_per_minute(values: np.ndarray) -> np.ndarray:
    """Return how much values (T ...) change in a minute.

    Returns:
        (...) the median of the last quarter minus that of the first, over the time between their middles; NaN for
        videos of less than MIN_DRIFT_SECONDS.
    """
    if len(values) < MIN_DRIFT_SECONDS * FPS:
        return np.full(values.shape[1:], np.nan)
    count = round(DRIFT_RATIO * len(values))
    change = np.median(values[-count:], axis=0) - np.median(values[:count], axis=0)
    return change / ((len(values) - count) / FPS / 60)


def sharpness_drift(sharpness: np.ndarray) -> float:
    """Return how much sharpness (T,) changes in a minute, in percent of its mean."""
    return float(100 * drift_per_minute(sharpness) / sharpness.mean())


def color_drift(color: np.ndarray) -> float:
    """Return how much a* and b* of color (T 3) in CIELAB change in a minute, as a distance. Lightness is left out: it
    depends on the position of the head more than hue does."""
    return float(np.linalg.norm(drift_per_minute(color[:, 1:])))


def border_jump(frame_change: np.ndarray, window: int) -> float:
    """`border_jump_ratio` of one video.

    Args:
        frame_change: (T,) of `VideoTracks`.
        window: Frames from the start of one window to the start of the next.

    Returns:
        1 where there is no jump at window borders; NaN without a border.
    """
    return border_jump_ratio({0: frame_change[1:]}, window) if len(frame_change) > 1 else np.nan


def frame_differences(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean absolute difference (T - 1,) of each frame (H W 3) uint8 to the one before, in gray levels."""
    differences, previous = [], None
    for frame in frames:
        frame = frame.astype(np.int16)
        if previous is not None:
            differences.append(np.abs(frame - previous).mean())
        previous = frame
    return np.array(differences)


def border_jump_ratio(runs: Mapping[int, np.ndarray], window: int) -> float:
    """Return the median frame difference at window borders over the median one inside windows, at the same moments.

    Args:
        runs: `frame_differences` of videos of one portrait and one sound, by how many frames later the sound starts. A
            moment lies at a border in one run and inside a window in the others, so what the sound does at that moment
            cancels out. A single run is compared with its own other moments.
        window: Frames from the start of one window to the start of the next.

    Returns:
        1 where there is no jump; NaN where nothing moves or no border lies within.
    """
    moments = np.arange(max(runs), min(late + len(run) for late, run in runs.items()))  # those that all runs have
    values = np.stack([run[moments - late] for late, run in runs.items()])
    at_border = np.stack([(moments - late + 1) % window == 0 for late in runs])
    if len(runs) > 1:
        values, at_border = values[:, at_border.any(0)], at_border[:, at_border.any(0)]
    if not at_border.any() or at_border.all() or np.median(values[~at_border]) == 0:
        return np.nan
    return float(np.median(values[at_border]) / np.median(values[~at_border]))
