"""What a drawn head does while it speaks: it turns, looks about, blinks, feels, and its mouth follows the sound.

Every number is known, so every measure of a video can be held against it. Frame k is the middle of its time.
"""

from dataclasses import dataclass

import numpy as np

from emo.synthetic.drawn_head import Pose
from emo.synthetic.visemes import Mouth

# expression (of EXPRESSIONS in synth_face) and lids of each emotion at its full strength
EMOTIONS = {
    "neutral": ((0.0, 0.0, 0.0), 0.0),
    "happy": ((1.0, 0.15, 0.0), 0.10),
    "sad": ((-0.85, 0.0, 1.0), 0.18),
    "angry": ((-0.5, -0.5, -1.0), 0.08),
    "surprised": ((-0.1, 1.1, 0.2), -0.22),
}
BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)  # of the lids, frame by frame at 25 frames per second
WIDEST = np.array([0.30, 0.14, 0.10])  # radians: swing of yaw, pitch and roll


@dataclass(frozen=True)
class Motion:
    """What the head does in each of T frames."""

    head_rotation: np.ndarray  # (T 3) radians, yaw, pitch, roll: to the picture's right, down, clockwise
    gaze: np.ndarray  # (T 2) radians, of the eyes in the head: to the picture's right, down
    blink: np.ndarray  # (T,) 0 .. 1
    emotion: np.ndarray  # (T,) which of EMOTIONS
    strength: np.ndarray  # (T,) of that emotion, 0 .. 1
    mouth: Mouth

    def __len__(self) -> int:
        return len(self.blink)

    def pose(self, frame: int) -> Pose:
        expression, lids = list(EMOTIONS.values())[self.emotion[frame]]
        strength, blink = float(self.strength[frame]), float(self.blink[frame])
        return Pose(
            rotation=tuple(self.head_rotation[frame].tolist()),
            gaze=tuple(self.gaze[frame].tolist()),
            closed=blink + strength * lids * (1 - blink),
            opening=float(self.mouth.opening[frame]),
            width=float(self.mouth.width[frame]),
            expression=tuple(strength * weight for weight in expression),
        )


def move(mouth: Mouth, fps: float, random: np.random.Generator) -> Motion:
    """A lively head for this mouth."""
    seconds = (np.arange(len(mouth.opening)) + 0.5) / fps
    emotion, strength = feel(seconds, random)
    return Motion(turn(seconds, random), look(seconds, random), blinks(seconds, fps, random), emotion, strength, mouth)


def turn(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(T 3) radians: slow swings, and faster ones on them."""
    rates, phases = random.uniform(0.1, 0.7, (4, 3)), random.uniform(0, 2 * np.pi, (4, 3))
    swings = np.sin(2 * np.pi * rates * seconds[:, None, None] + phases) / (0.4 + 2 * rates)  # (T 4 3)
    liveliness = random.uniform(0.2, 1.0)  # some hold still while they talk
    return liveliness * random.uniform(0.4, 1.0, 3) * WIDEST * swings.sum(1) / 1.6


def held(seconds: np.ndarray, shortest: float, longest: float, random: np.random.Generator) -> np.ndarray:
    """(T,) the number of the stretch, of random length, in which each frame lies."""
    ends = np.cumsum(random.uniform(shortest, longest, int(seconds[-1] / shortest) + 2))
    return np.searchsorted(ends, seconds)


def look(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(T 2) radians: the eyes rest, then leap."""
    stretch = held(seconds, 0.5, 2.5, random)
    places = random.normal(0, 1, (stretch[-1] + 1, 2)) * [0.16, 0.07]
    return places.clip([-0.35, -0.15], [0.35, 0.15])[stretch]


def blinks(seconds: np.ndarray, fps: float, random: np.random.Generator) -> np.ndarray:
    """(T,) how far the lids are closed."""
    starts = np.cumsum(random.uniform(1.5, 5.0, int(seconds[-1] / 1.5) + 2))
    since = seconds[:, None] - starts
    return np.interp(since * 25.0, np.arange(-1, 7), [0, *BLINK, 0]).max(1)


def feel(seconds: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T,) which emotion, (T,) its strength: each comes and goes within its stretch."""
    stretch = held(seconds, 2.0, 5.0, random)
    kinds = random.integers(0, len(EMOTIONS), stretch[-1] + 1)[stretch]
    edges = np.flatnonzero(np.diff(stretch, prepend=-1, append=stretch[-1] + 1))
    first, last = edges[stretch - stretch[0]], edges[stretch - stretch[0] + 1] - 1
    number = np.arange(len(seconds))
    ramp = np.minimum(number - first, last - number) / 10
    rise = np.clip(ramp, 0, 1)
    return kinds, rise * rise * (3 - 2 * rise) * (kinds > 0)
