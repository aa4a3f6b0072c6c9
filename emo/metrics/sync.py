"""Measures of whether the mouth follows the voice, from its opening and the loudness of the sound alone.

Nothing here is learned. For lip sync by learned networks see `emo.speech.lip_sync` and `emo.speech.syncnet`.

Shapes: opening (T,) of `emo.face.landmarks.mouth_opening` and level (T,) in dB of `emo.media.audio.loudness`, both at
25 frames per second. Silence and speech are decided by the level, where THEval uses a voice detector.
"""

from dataclasses import dataclass

import numpy as np

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.media.audio import find_silent_frames, find_speech_frames

SILENCE_FRAMES = 8  # 300 ms: a shorter silence lies between words
MIN_SPEECH_RATIO = 0.1  # of the frames
MAX_LAG_FRAMES = 8  # the largest lag that is tried
EDGE_FRAMES = 3  # at both ends of a silence, in which the mouth still closes or already opens
OPEN_QUANTILE = 0.95  # of the opening, that counts as how far a mouth opens
ONSET_SILENCE_FRAMES = 15  # 600 ms of silence before a voice: time to close the mouth, rest, and open it too early
ONSET_REACH_FRAMES = 10  # 400 ms before and after a voice sets in, in which the mouth's opening is looked for
ALLOWED_LEAD_FRAMES = 2  # a frame is too early when it is shown more than 100 ms, so 3 frames, before the voice
ONSET_RATIO = 0.2  # of the opening in speech, from which on a mouth counts as opened
MIN_OPENING = 1e-3  # face heights; a mouth that opens less in speech has no onset


@dataclass
class MouthAudioSync:
    """How a mouth follows the loudness.

    Attributes:
        correlation: Pearson's r of opening and level.
        best_lag_frames: The lag at which r is largest; positive where the mouth is late.
        silence_spread: Standard deviation of the opening in silence over that in speech; NaN without enough silence.
    """

    correlation: float
    best_lag_frames: float
    silence_spread: float


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's r of two series.

    Args:
        a: (T,).
        b: (T,).

    Returns:
        r in -1..1; 0 where one of them is constant.
    """
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else 0.0


def lagged_correlation(opening: np.ndarray, level: np.ndarray, lag: int) -> float:
    """Return Pearson's r of the mouth opening and an earlier level.

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB.
        lag: Frames by which the opening comes after the level.

    Returns:
        r in -1..1.
    """
    count = len(opening) - abs(lag)
    return correlation(opening[max(0, lag) :][:count], level[max(0, -lag) :][:count])


def measure_mouth_audio_sync(
    opening: np.ndarray, level: np.ndarray, max_lag_frames: int = MAX_LAG_FRAMES
) -> MouthAudioSync:
    """Compare the opening of a mouth with the loudness.

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB.
        max_lag_frames: Largest lag that is tried, in both directions.

    Returns:
        Their correlation, the best lag, and the spread of the opening in silence.

    Raises:
        InputError: There are fewer than 3 * max_lag_frames frames.
    """
    if len(opening) < 3 * max_lag_frames:
        raise InputError(f"{len(opening)} frames are too few to measure; give {3 * max_lag_frames} or more")
    lags = range(-max_lag_frames, max_lag_frames + 1)
    silent = find_resting_frames(level)
    spread = np.nan
    if silent.sum() >= SILENCE_FRAMES:
        spread = float(opening[silent].std() / opening[find_speech_frames(level)].std())
    best = max(lags, key=lambda lag: lagged_correlation(opening, level, lag))
    return MouthAudioSync(correlation(opening, level), best, spread)


def measure_video_sync(opening: np.ndarray, level: np.ndarray) -> MouthAudioSync:
    """Apply `measure_mouth_audio_sync` to any video.

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB; NaN without sound.

    Returns:
        NaN without sound or with too few frames. A mouth that never moves has a correlation of 0 and no lag.
    """
    if len(opening) < 3 * MAX_LAG_FRAMES or np.isnan(level).any():
        return MouthAudioSync(np.nan, np.nan, np.nan)
    if np.ptp(opening) < 1e-9:
        return MouthAudioSync(0.0, np.nan, np.nan)
    return measure_mouth_audio_sync(opening, level)


def find_resting_frames(level: np.ndarray) -> np.ndarray:
    """Return (T,) bool: silent frames that lie EDGE_FRAMES or more inside a silence."""
    silent = find_silent_frames(level)
    for _ in range(EDGE_FRAMES):
        silent = silent & np.roll(silent, 1) & np.roll(silent, -1)
    return silent


def find_silence(level: np.ndarray) -> np.ndarray:
    """Return (T,) bool: whether the frame lies in a silence of SILENCE_FRAMES or more."""
    quiet = find_silent_frames(level)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(int)))
    long_enough = np.zeros(len(level), bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        long_enough[start:end] = end - start >= SILENCE_FRAMES
    return long_enough


def opening_amplitude(opening: np.ndarray) -> float:
    """Return how far the mouth opens: the OPEN_QUANTILE of the opening (T,), in face heights."""
    return float(np.quantile(opening, OPEN_QUANTILE))


def silence_opening(opening: np.ndarray, level: np.ndarray) -> float:
    """Compute how far the mouth is open in silence; `MouthAudioSync.silence_spread` tells how much it moves there.

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB; NaN without sound.

    Returns:
        Mean opening in silence over that in speech; NaN without SILENCE_FRAMES of silence, or for a mouth that stays
        closed in speech.
    """
    silent, speech = opening[find_resting_frames(level)], opening[find_speech_frames(level)]
    if len(silent) < SILENCE_FRAMES or not len(speech) or speech.mean() < MIN_OPENING:
        return np.nan
    return float(silent.mean() / speech.mean())


@dataclass
class OnsetLead:
    """How a mouth opens for a voice that follows silence; means over all such voices of a video.

    Attributes:
        lead_ms: How long before the voice the mouth opens, milliseconds; negative where it is late.
        early_opening: Largest opening more than 100 ms before the voice, over that in speech; 0: the mouth rests.
    """

    lead_ms: float
    early_opening: float


def find_onsets(level: np.ndarray) -> list[tuple[int, int]]:
    """Find where a voice follows ONSET_SILENCE_FRAMES or more of silence.

    Args:
        level: (T,) loudness in dB.

    Returns:
        For each onset the first silent frame and the first frame of the voice.
    """
    silent, speech = find_silent_frames(level), find_speech_frames(level)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int))).tolist()
    spans = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end < len(level)]
    return [(s, e) for s, e in spans if e - s >= ONSET_SILENCE_FRAMES and speech[e : e + EDGE_FRAMES].any()]


def measure_onset_lead(opening: np.ndarray, level: np.ndarray) -> OnsetLead:
    """Measure whether the mouth opens before the voice does.

    The resting mouth is the median of each silence without its end; openings count from there. The lead is the time
    from when the mouth passes ONSET_RATIO of its opening in speech, between frames by linear interpolation, to the
    start of the voice's first frame.

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB; NaN without sound.

    Returns:
        NaN where no voice follows enough silence, or the mouth does not open in speech. A mouth that does not open
        within ONSET_REACH_FRAMES is that late.
    """
    leads, early = [], []
    for start, voice in find_onsets(level):
        first = voice - ONSET_REACH_FRAMES
        rest = np.median(opening[start + (EDGE_FRAMES if start else 0) : first])
        opened = np.quantile(opening[find_speech_frames(level)], OPEN_QUANTILE) - rest
        if opened < MIN_OPENING:
            continue
        share = (opening[first : voice + ONSET_REACH_FRAMES] - rest) / opened
        early.append(max(0.0, share[: ONSET_REACH_FRAMES - ALLOWED_LEAD_FRAMES].max()))
        leads.append((ONSET_REACH_FRAMES - find_crossing(share, ONSET_RATIO)) * 1000 / FPS)
    return OnsetLead(float(np.mean(leads)), float(np.mean(early))) if leads else OnsetLead(np.nan, np.nan)


def find_crossing(values: np.ndarray, threshold: float) -> float:
    """Find where values first reach a threshold, between two frames by linear interpolation.

    Args:
        values: (T,).
        threshold: In the values' unit.

    Returns:
        Frames after the first; T if never.
    """
    above = np.flatnonzero(values >= threshold)
    if not len(above):
        return float(len(values))
    k = int(above[0])
    return float(k - (values[k] - threshold) / (values[k] - values[k - 1])) if k else 0.0


def silent_lip_stability(opening: np.ndarray, level: np.ndarray) -> float:
    """Compute THEval's silent-lip stability (arXiv 2511.04520).

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB.

    Returns:
        Median distance of the opening from its mean in silence, in percent of the face's height; NaN without silence.
    """
    silent = opening[find_silence(level)]
    return 100 * float(np.median(np.abs(silent - silent.mean()))) if len(silent) else np.nan


def lip_volume_difference(opening: np.ndarray, level: np.ndarray) -> float:
    """Compute THEval's lip-sync (arXiv 2511.04520): how far opening and amplitude differ in speech.

    Args:
        opening: (T,) mouth opening in face heights.
        level: (T,) loudness in dB.

    Returns:
        Mean absolute difference in 0..1, each scaled to 0..1 in speech; NaN where speech is less than MIN_SPEECH_RATIO
        of
        the frames.
    """
    speech = find_speech_frames(level)
    if speech.mean() < MIN_SPEECH_RATIO or speech.sum() < 2:
        return np.nan
    opened, loud = (scale_to_unit(values[speech]) for values in (opening, 10 ** (level / 20)))
    return float(np.abs(opened - loud).mean())


def scale_to_unit(values: np.ndarray) -> np.ndarray:
    """values (T,) scaled to 0..1."""
    return (values - values.min()) / max(np.ptp(values), 1e-8)


@dataclass
class OpeningAgreement:
    """How a generated opening agrees with the true one.

    Attributes:
        correlation: Pearson's r of both openings.
        shifted_correlation: Pearson's r with the generated opening shifted by some frames: the level of chance.
        amplitude: Standard deviation of the generated opening over that of the true one.
    """

    correlation: float
    shifted_correlation: float
    amplitude: float


def compare_openings(generated: np.ndarray, true: np.ndarray, shift_frames: int = 12) -> OpeningAgreement:
    """Compare a generated mouth opening with the true one.

    Args:
        generated: (T,) opening of the generated video.
        true: (T,) opening of the real video, of the same frames.
        shift_frames: Frames by which the generated opening is shifted for the correlation by chance.

    Returns:
        Their correlation, the correlation by chance, and the ratio of amplitudes.
    """
    return OpeningAgreement(
        correlation(generated, true),
        correlation(np.roll(generated, shift_frames), true),
        float(generated.std() / true.std()),
    )
