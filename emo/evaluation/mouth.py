"""Does the mouth follow the sound? Measures on landmarks of finished frames and on the wave, nothing learned.

Shapes: T frames, S samples.
"""

from dataclasses import dataclass

import numpy as np

from emo.errors import InputError
from emo.media.loudness import RANGE_DB


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two series (T,); 0 where one of them does not move."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else 0.0


def lagged(opening: np.ndarray, level: np.ndarray, lag: int) -> float:
    """r of the opening `lag` frames after the level (T,)."""
    count = len(opening) - abs(lag)
    return correlation(opening[max(0, lag) :][:count], level[max(0, -lag) :][:count])


@dataclass
class Follows:
    """How an opening follows a loudness."""

    r: float
    best_lag_frames: int  # positive: the mouth is late
    silence_spread: float  # deviation in silence over deviation in speech; NaN without a second of silence


def follow(opening: np.ndarray, level: np.ndarray, reach_frames: int = 8) -> Follows:
    """opening (T,), loudness (T,) dB. Raises InputError for fewer than 3 * reach_frames frames."""
    if len(opening) < 3 * reach_frames:
        raise InputError(f"{len(opening)} frames are too few to measure; give {3 * reach_frames} or more")
    lags = range(-reach_frames, reach_frames + 1)
    silent = level <= level.max() - RANGE_DB + 3
    for _ in range(3):  # not the frames in which the mouth still closes or already opens
        silent = silent & np.roll(silent, 1) & np.roll(silent, -1)
    speech = level > level.max() - RANGE_DB + 10
    spread = opening[silent].std() / opening[speech].std() if silent.sum() >= 8 else np.nan
    return Follows(correlation(opening, level), max(lags, key=lambda k: lagged(opening, level, k)), float(spread))


@dataclass
class Agreement:
    """How a made opening agrees with the true one."""

    r: float
    r_shifted: float  # with the same made opening 12 frames off
    amplitude: float  # deviation over the true deviation


def agree(made: np.ndarray, true: np.ndarray, shift_frames: int = 12) -> Agreement:
    """made and true (T,) openings of the same frames."""
    return Agreement(
        correlation(made, true),
        correlation(np.roll(made, shift_frames), true),
        float(made.std() / true.std()),
    )
