"""What should stay as it is in a video, and how far it does not: light, background, and what drifts over minutes.

T frames, 25 per second.
"""

import numpy as np

from emo.evaluation.border import border_ratio
from emo.evaluation.tracks import FPS

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
