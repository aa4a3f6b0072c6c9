"""How well the mouth follows the voice.

Does the mouth follow the sound? Measures on landmarks of finished frames and on the wave, nothing learned.

Shapes: T frames, S samples.

Does the mouth go with the voice? By the mouth's opening and the sound's loudness alone, nothing learned.

opening (T,) of emo.face.landmarks, level (T,) dB of emo.media.audio, 25 frames per second. Silence and speech are told
by the level: what lies near RANGE_DB under the peak, and what lies well above that. THEval asks a voice detector.
"""

from dataclasses import dataclass

import numpy as np

from emo.core.errors import InputError
from emo.media.audio import RANGE_DB


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


SILENCE_DB, SPEECH_DB = 3.0, 10.0  # over the floor: below one it is silent, above the other somebody speaks
SILENCE_FRAMES = 8  # 300 ms: a shorter silence is between words
LEAST_SPEECH = 0.1  # of the frames
REACH_FRAMES = 8  # the farthest lag that is looked for


def silent(level: np.ndarray) -> np.ndarray:
    """(T,) bool: whether the frame lies in a silence of SILENCE_FRAMES or more."""
    quiet = level <= level.max() - RANGE_DB + SILENCE_DB
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(int)))
    kept = np.zeros(len(level), bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        kept[start:end] = end - start >= SILENCE_FRAMES
    return kept


def spoken(level: np.ndarray) -> np.ndarray:
    """(T,) bool: whether somebody speaks in the frame."""
    return level > level.max() - RANGE_DB + SPEECH_DB


def silent_lip_stability(opening: np.ndarray, level: np.ndarray) -> float:
    """THEval's: the median distance of the opening from its mean in silence, in hundredths of the face's height. NaN
    without silence."""
    still = opening[silent(level)]
    return 100 * float(np.median(np.abs(still - still.mean()))) if len(still) else np.nan


def lip_volume_difference(opening: np.ndarray, level: np.ndarray) -> float:
    """THEval's lip-sync: how far opening and amplitude lie apart while somebody speaks, each stretched to 0..1 there.
    NaN where somebody speaks in less than LEAST_SPEECH of the frames."""
    speech = spoken(level)
    if speech.mean() < LEAST_SPEECH or speech.sum() < 2:
        return np.nan
    opened, loud = (stretched(values[speech]) for values in (opening, 10 ** (level / 20)))
    return float(np.abs(opened - loud).mean())


def stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / max(np.ptp(values), 1e-8)


def follows(opening: np.ndarray, level: np.ndarray) -> Follows:
    """`emo.metrics.sync.follow`; NaN without sound or with too few frames. A mouth that never moves has an r of 0,
    and no lag."""
    if len(opening) < 3 * REACH_FRAMES or np.isnan(level).any():
        return Follows(np.nan, np.nan, np.nan)
    if np.ptp(opening) < 1e-9:
        return Follows(0.0, np.nan, np.nan)
    return follow(opening, level, REACH_FRAMES)
