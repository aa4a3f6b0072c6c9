"""The motion of the lips for phonemes or for any audio: opening and width in each frame.

Each phoneme has a lip shape (a viseme); neighboring shapes blend, and b, m and p close the lips in any context. For
other audio the loudness decides. Frame k is at the center of its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emo.media.audio import LOUDNESS_RANGE_DB, loudness
from emo.synthetic.espeak import Phoneme

STEP_SECONDS = 0.005  # of the curves from which frames are taken
BLEND_SECONDS = 0.035  # standard deviation of the blend between neighbors
LEAD_SECONDS = 0.02  # by which lips are ahead of the audio
CLOSURE_LEAD_SECONDS = 0.03  # by which b, m and p close the lips before they are audible
CLOSURE_RELEASE_SECONDS = 0.01  # by which the lips open before the end of b, m and p
CLOSURE_RAMP_SECONDS = 0.035  # in which the lips close and open
CLOSED = "bmp"
# first letter of a phoneme in IPA -> opening 0..1, width -1 (round) .. 1 (wide)
VISEMES = {
    **dict.fromkeys("aæɑʌɐɒ", (0.95, 0.25)),
    **dict.fromkeys("eɛəɜɚɝœø", (0.55, 0.4)),
    **dict.fromkeys("iɪyᵻ", (0.32, 0.9)),
    **dict.fromkeys("oɔ", (0.62, -0.75)),
    **dict.fromkeys("uʊw", (0.25, -1.0)),
    **dict.fromkeys("bmp", (0.0, 0.0)),
    **dict.fromkeys("fv", (0.08, 0.2)),
    **dict.fromkeys("ʃʒ", (0.24, -0.6)),
    **dict.fromkeys("rɹɾ", (0.25, -0.35)),
    **dict.fromkeys("szθð", (0.15, 0.45)),
    **dict.fromkeys("tdnlj", (0.22, 0.3)),
    **dict.fromkeys("kɡgŋhx", (0.35, 0.1)),
}
OTHER, PAUSE = (0.25, 0.1), (0.0, 0.0)


@dataclass(frozen=True)
class MouthMotion:
    """The lips in T frames."""

    opening: np.ndarray  # (T,) 0 closed .. 1 as wide as speech opens them
    width: np.ndarray  # (T,) -1 round .. 1 wide


def mouth_from_phonemes(phonemes: Sequence[Phoneme], num_frames: int, fps: float) -> MouthMotion:
    """Make the mouth motion of speech; the lips are closed where nothing is spoken.

    Args:
        phonemes: The phonemes with their times.
        num_frames: Number of frames.
        fps: Frames per second.

    Returns:
        Opening and width of the mouth in each frame.
    """
    seconds = np.arange(0, num_frames / fps, STEP_SECONDS)
    shapes = np.zeros((len(seconds), 2))
    audible = seconds + LEAD_SECONDS
    for phoneme in phonemes:
        shapes[(audible >= phoneme.start_seconds) & (audible < phoneme.end_seconds)] = get_viseme(phoneme.ipa)
    opening, width = (smooth_curve(column, BLEND_SECONDS) for column in shapes.T)
    for start, end in list_closures(phonemes):
        distance = np.maximum(np.maximum(start - seconds, seconds - end), 0) / CLOSURE_RAMP_SECONDS
        opening = opening * np.minimum(distance, 1)
    centers = (np.arange(num_frames) + 0.5) / fps
    return MouthMotion(*(np.interp(centers, seconds, curve) for curve in (opening, width)))


def mouth_from_audio(wave: np.ndarray, sample_rate: int, num_frames: int, fps: float) -> MouthMotion:
    """Make the mouth motion of any audio: closed in pauses; the louder it is, the more open and the wider.

    Args:
        wave: (S,) samples.
        sample_rate: Hz.
        num_frames: Number of frames.
        fps: Frames per second.

    Returns:
        Opening and width of the mouth in each frame.
    """
    level = loudness(wave, sample_rate, num_frames, fps)
    above = (level - level.max() + LOUDNESS_RANGE_DB) / LOUDNESS_RANGE_DB if level.max() > -60 else np.zeros(num_frames)
    opening = np.clip((above - 0.45) / 0.5, 0, 1)
    width = 0.4 * smooth_curve(opening, 2 / fps, 1 / fps)
    return MouthMotion(smooth_curve(opening, 0.6 / fps, 1 / fps) * (opening > 0), width)


def get_viseme(ipa: str) -> tuple[float, float]:
    """Opening and width of the lips for a phoneme; stress and length marks don't matter."""
    letters = ipa.strip("ˈˌːˑ̃ ")
    return VISEMES.get(letters[:1], OTHER) if letters else PAUSE


def list_closures(phonemes: Sequence[Phoneme]) -> list[tuple[float, float]]:
    """Start and end in seconds of the closures by b, m and p."""
    closing = [phoneme for phoneme in phonemes if phoneme.ipa and phoneme.ipa[:1] in CLOSED]
    return [
        (phoneme.start_seconds - CLOSURE_LEAD_SECONDS, phoneme.end_seconds - CLOSURE_RELEASE_SECONDS)
        for phoneme in closing
    ]


def smooth_curve(curve: np.ndarray, sigma_seconds: float, step_seconds: float = STEP_SECONDS) -> np.ndarray:
    """Smooth a curve by a Gaussian; its ends are repeated.

    Args:
        curve: (N,) values.
        sigma_seconds: Standard deviation.
        step_seconds: Time between two values.

    Returns:
        (N,) values.
    """
    sigma = sigma_seconds / step_seconds
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), weights / weights.sum(), "valid")
