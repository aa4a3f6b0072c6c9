"""What the mouth does for a sound: how far it opens and how wide it is, in each frame.

Of speech the phonemes tell: each has a shape of the lips (a viseme), neighbours flow into each other, and b, m and p
close the lips whatever stands around them. Of any other sound its loudness tells. Frame k is the middle of its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emo.media.audio import RANGE_DB, loudness
from emo.synthetic.espeak import Phone

STEP_SECONDS = 0.005  # of the tracks before frames are taken from them
BLEND_SECONDS = 0.035  # sigma with which neighbours flow into each other
LEAD_SECONDS = 0.02  # by which lips are ahead of what is heard
BEFORE_SECONDS, RAMP_SECONDS = 0.03, 0.035  # lips shut before b and p are heard; the way there and back
CLOSED = "bmp"
# first letter of a phoneme in IPA: open 0..1, width -1 (round) .. 1 (wide)
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
class Mouth:
    """The lips through T frames."""

    opening: np.ndarray  # (T,) 0 closed .. 1 as far as speech opens them
    width: np.ndarray  # (T,) -1 round .. 1 wide


def viseme(ipa: str) -> tuple[float, float]:
    """Opening and width; stress and length marks say nothing of the lips."""
    letters = ipa.strip("ˈˌːˑ̃ ")
    return VISEMES.get(letters[:1], OTHER) if letters else PAUSE


def closures(phones: Sequence[Phone]) -> list[tuple[float, float]]:
    """Seconds during which b, m and p keep the lips shut."""
    return [(p.start_seconds - BEFORE_SECONDS, p.end_seconds - 0.01) for p in phones if p.ipa[:1] in CLOSED and p.ipa]


def mouth_of_phones(phones: Sequence[Phone], num_frames: int, fps: float) -> Mouth:
    """The lips of speech; closed where nothing is spoken."""
    seconds = np.arange(0, num_frames / fps, STEP_SECONDS)
    shapes = np.zeros((len(seconds), 2))
    heard = seconds + LEAD_SECONDS
    for phone in phones:
        shapes[(heard >= phone.start_seconds) & (heard < phone.end_seconds)] = viseme(phone.ipa)
    opening, width = (blend(column, BLEND_SECONDS) for column in shapes.T)
    for start, end in closures(phones):
        away = np.maximum(np.maximum(start - seconds, seconds - end), 0) / RAMP_SECONDS
        opening = opening * np.minimum(away, 1)
    middles = (np.arange(num_frames) + 0.5) / fps
    return Mouth(*(np.interp(middles, seconds, track) for track in (opening, width)))


def mouth_of_sound(wave: np.ndarray, sample_rate: int, num_frames: int, fps: float) -> Mouth:
    """The lips of any sound (S,): open where it is loud, closed in pauses; the louder the wider."""
    level = loudness(wave, sample_rate, num_frames, fps)
    over = (level - level.max() + RANGE_DB) / RANGE_DB if level.max() > -60 else np.zeros(num_frames)
    opening = np.clip((over - 0.45) / 0.5, 0, 1)
    return Mouth(blend(opening, 0.6 / fps, 1 / fps) * (opening > 0), 0.4 * blend(opening, 2 / fps, 1 / fps))


def blend(track: np.ndarray, sigma_seconds: float, step_seconds: float = STEP_SECONDS) -> np.ndarray:
    """Gaussian smoothing, the ends repeated."""
    sigma = sigma_seconds / step_seconds
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(track, reach, mode="edge"), weights / weights.sum(), "valid")
