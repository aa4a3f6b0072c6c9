"""Accents and pauses of a voice, which head, brows and eyelids follow.

S samples, K steps of STEP_SECONDS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emo.synthetic.espeak import Phoneme

MIN_PAUSE_SECONDS = 0.12
STEP_SECONDS = 0.01
SYLLABLE_SECONDS = 0.06  # sigma of the smoothed loudness whose peaks are syllables
PAUSE_SIGMA_SECONDS = 0.01  # sigma of the smoothed loudness in which pauses are found
MIN_ACCENT_DISTANCE_SECONDS = 0.25  # of two accents
PAUSE_DB = 30.0  # below the loudest: a pause


@dataclass(frozen=True)
class Prosody:
    """Accents and pauses of a voice.

    Attributes:
        accents_seconds: (N,) centers of the stressed syllables.
        accent_strengths: (N,) 0 .. 1.
        pauses_seconds: (P 2) start and end.
    """

    accents_seconds: np.ndarray
    accent_strengths: np.ndarray
    pauses_seconds: np.ndarray


def measure_loudness(wave: np.ndarray, sample_rate: int, sigma_seconds: float = SYLLABLE_SECONDS) -> np.ndarray:
    """Measure the level of a wave, its power smoothed by a Gaussian.

    Args:
        wave: (S,) samples.
        sample_rate: Hz.
        sigma_seconds: Standard deviation of the Gaussian.

    Returns:
        (K,) dB, one value per STEP_SECONDS.
    """
    hop = round(STEP_SECONDS * sample_rate)
    count = max(1, len(wave) // hop)
    power = np.square(np.resize(wave, count * hop).astype(np.float64).reshape(count, hop)).mean(1)
    sigma = sigma_seconds / STEP_SECONDS
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return 10 * np.log10(np.convolve(np.pad(power, reach, mode="edge"), kernel / kernel.sum(), "valid") + 1e-9)


def estimate_prosody(wave: np.ndarray, sample_rate: int) -> Prosody:
    """Estimate accents and pauses of a voice without phonemes: the peaks of its loudness, and quiet stretches.

    Args:
        wave: (S,) the voice.
        sample_rate: Hz.

    Returns:
        Accents and pauses, without phonemes.
    """
    level = measure_loudness(wave, sample_rate)
    peak, typical = level.max(), np.median(level[level > level.max() - PAUSE_DB])
    fine = measure_loudness(wave, sample_rate, PAUSE_SIGMA_SECONDS)
    loud = fine > fine.max() - PAUSE_DB
    is_peak = np.r_[False, (level[1:-1] >= level[:-2]) & (level[1:-1] > level[2:]), False] & (level > typical)
    accents: list[int] = []
    for k in sorted(np.flatnonzero(is_peak), key=lambda k: -level[k]):
        if all(abs(k - other) * STEP_SECONDS >= MIN_ACCENT_DISTANCE_SECONDS for other in accents):
            accents.append(int(k))
    accents.sort()
    strengths = np.array([(level[k] - typical) / max(peak - typical, 1e-6) for k in accents])
    edges = np.flatnonzero(np.diff(np.r_[0, ~loud, 0].astype(int))).reshape(-1, 2) * STEP_SECONDS
    pauses = edges[edges[:, 1] - edges[:, 0] >= MIN_PAUSE_SECONDS]
    return Prosody((np.array(accents) + 0.5) * STEP_SECONDS, strengths, pauses)


def measure_prosody(phonemes: Sequence[Phoneme], wave: np.ndarray, sample_rate: int) -> Prosody:
    """Measure accents and pauses of a voice with phonemes.

    Args:
        phonemes: Phonemes of the voice; those with primary stress are accents, the louder the stronger.
        wave: (S,) the voice.
        sample_rate: Hz.

    Returns:
        The prosody; without stress marks, the accents are those of `estimate_prosody`.
    """
    estimated = estimate_prosody(wave, sample_rate)
    gaps = [(p.start_seconds, p.end_seconds) for p in phonemes if not any(letter.isalpha() for letter in p.ipa)]
    pauses = np.array([g for g in gaps if g[1] - g[0] >= MIN_PAUSE_SECONDS]).reshape(-1, 2)
    stressed = [p for p in phonemes if "ˈ" in p.ipa]
    if not stressed:
        return Prosody(
            estimated.accents_seconds, estimated.accent_strengths, pauses if len(pauses) else estimated.pauses_seconds
        )
    middles = np.array([(p.start_seconds + p.end_seconds) / 2 for p in stressed])
    level = measure_loudness(wave, sample_rate)
    loud = level[np.clip((middles / STEP_SECONDS).astype(int), 0, len(level) - 1)]
    strengths = np.clip((loud - np.median(loud)) / 12 + 0.5, 0, 1)
    return Prosody(middles, strengths, pauses)
