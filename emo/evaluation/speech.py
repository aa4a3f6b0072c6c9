"""Does the mouth go with the voice? By the mouth's opening and the sound's loudness alone, nothing learned.

opening (T,) of emo.face.mouth, level (T,) dB of emo.media.loudness, 25 frames per second. Silence and speech are told
by the level: what lies near RANGE_DB under the peak, and what lies well above that. THEval asks a voice detector.
"""

import numpy as np

from emo.evaluation.mouth import Follows, follow
from emo.media.loudness import RANGE_DB

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
    """`emo.evaluation.mouth.follow`; NaN without sound or with too few frames. A mouth that never moves has an r of 0,
    and no lag."""
    if len(opening) < 3 * REACH_FRAMES or np.isnan(level).any():
        return Follows(np.nan, np.nan, np.nan)
    if np.ptp(opening) < 1e-9:
        return Follows(0.0, np.nan, np.nan)
    return follow(opening, level, REACH_FRAMES)
