"""Flicker, drift, and jumps at window borders.

What should stay as it is in a video, and how far it does not: light, background, and what drifts over minutes.

T frames, 25 per second.

Does a video jump where one window ends and the next begins?
"""

from collections.abc import Iterable, Mapping

import numpy as np

from emo.core.timing import FPS

DRIFT_SHARE = 0.25  # of the video, at its beginning and at its end, that are compared
LEAST_DRIFT_SECONDS = 5.0  # in less, what a face does is more than what drifts


def flicker(lightness: np.ndarray) -> float:
    """lightness (T,) L* of the face -> how far a frame lies beside the mean of its neighbours, mean of all: slow
    changes of light count nothing."""
    return float(np.abs(lightness[1:-1] - (lightness[:-2] + lightness[2:]) / 2).mean())


def drift_per_minute(values: np.ndarray) -> np.ndarray:
    """values (T ...) -> (...) by how much they change in a minute: the median of the last quarter less that of the
    first, over the time between their middles. NaN for less than LEAST_DRIFT_SECONDS."""
    if len(values) < LEAST_DRIFT_SECONDS * FPS:
        return np.full(values.shape[1:], np.nan)
    count = round(DRIFT_SHARE * len(values))
    moved = np.median(values[-count:], axis=0) - np.median(values[:count], axis=0)
    return moved / ((len(values) - count) / FPS / 60)


def sharpness_drift(sharpness: np.ndarray) -> float:
    """sharpness (T,) -> by how much it changes in a minute, in hundredths of its mean."""
    return float(100 * drift_per_minute(sharpness) / sharpness.mean())


def colour_drift(colour: np.ndarray) -> float:
    """colour (T 3) CIELAB -> by how much a* and b* change in a minute, as a distance. What light there is depends on
    where the head is, its hue less."""
    return float(np.linalg.norm(drift_per_minute(colour[:, 1:])))


def border_jump(change: np.ndarray, window: int) -> float:
    """change (T,) of `Tracks` -> `border_ratio` of this video alone: 1 is no jump where one window of `window` frames
    ends and the next begins. NaN without a border."""
    return border_ratio({0: change[1:]}, window) if len(change) > 1 else np.nan


def frame_differences(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Frames (H W 3) uint8 -> (T - 1,) mean absolute difference of each to the one before, in grey levels."""
    differences, before = [], None
    for frame in frames:
        frame = frame.astype(np.int16)
        if before is not None:
            differences.append(np.abs(frame - before).mean())
        before = frame
    return np.array(differences)


def border_ratio(runs: Mapping[int, np.ndarray], window: int) -> float:
    """The median frame difference across borders over the median one inside windows, of the same moments.

    runs: `frame_differences` of one portrait and one sound, each by how many frames later the sound was begun: a moment
    lies at a border in one run and inside in the others, so what the sound does just then cancels out. One run alone is
    compared with its other moments. window: frames from one window's start to the next's. 1 is no jump; NaN where
    nothing moves or no border lies within.
    """
    moments = np.arange(max(runs), min(late + len(run) for late, run in runs.items()))  # which all runs have
    values = np.stack([run[moments - late] for late, run in runs.items()])
    at_border = np.stack([(moments - late + 1) % window == 0 for late in runs])
    if len(runs) > 1:
        values, at_border = values[:, at_border.any(0)], at_border[:, at_border.any(0)]
    if not at_border.any() or at_border.all() or np.median(values[~at_border]) == 0:
        return np.nan
    return float(np.median(values[at_border]) / np.median(values[~at_border]))
