"""Random head rotation, gaze, blinks and emotions for a drawn head that speaks.

Every value is known, so measures of a video can be compared with it. Frame k is at the center of its time.
"""

from dataclasses import dataclass

import numpy as np

from emo.synthetic.drawn_head import Pose
from emo.synthetic.visemes import MouthMotion

# name -> expression (weights of drawn_head.EXPRESSIONS) and eye closure at full strength
EMOTIONS = {
    "neutral": ((0.0, 0.0, 0.0), 0.0),
    "happy": ((1.0, 0.15, 0.0), 0.10),
    "sad": ((-0.85, 0.0, 1.0), 0.18),
    "angry": ((-0.5, -0.5, -1.0), 0.08),
    "surprised": ((-0.1, 1.1, 0.2), -0.22),
}
BLINK = (0.35, 0.9, 1.0, 0.75, 0.4, 0.15)  # eye closure, frame by frame at 25 frames per second
MAX_SWING_RADIANS = np.array([0.30, 0.14, 0.10])  # of yaw, pitch and roll
EMOTION_RAMP_FRAMES = 10  # in which an emotion rises and falls


@dataclass(frozen=True)
class Motion:
    """What the head does in each of T frames."""

    head_rotation: np.ndarray  # (T 3) radians, yaw, pitch, roll: to the picture's right, down, clockwise
    gaze: np.ndarray  # (T 2) radians, of the eyes relative to the head: to the picture's right, down
    blink: np.ndarray  # (T,) eye closure by blinks, 0 .. 1
    emotion: np.ndarray  # (T,) index in EMOTIONS
    emotion_strength: np.ndarray  # (T,) 0 .. 1
    mouth: MouthMotion

    def __len__(self) -> int:
        return len(self.blink)

    def get_pose(self, frame: int) -> Pose:
        """Return the pose of a frame."""
        expression, eye_closure = list(EMOTIONS.values())[self.emotion[frame]]
        strength, blink = float(self.emotion_strength[frame]), float(self.blink[frame])
        return Pose(
            rotation=tuple(self.head_rotation[frame].tolist()),
            gaze=tuple(self.gaze[frame].tolist()),
            eye_closure=blink + strength * eye_closure * (1 - blink),
            mouth_opening=float(self.mouth.opening[frame]),
            mouth_width=float(self.mouth.width[frame]),
            expression=tuple(strength * weight for weight in expression),
        )


def generate_motion(mouth: MouthMotion, fps: float, random: np.random.Generator) -> Motion:
    """Generate head, eyes and emotions for the frames of a mouth motion.

    Args:
        mouth: Motion of the mouth.
        fps: Frames per second.
        random: Draws the motion.

    Returns:
        The motion.
    """
    seconds = (np.arange(len(mouth.opening)) + 0.5) / fps
    emotion, strength = generate_emotions(seconds, random)
    rotation, gaze = generate_head_rotation(seconds, random), generate_gaze(seconds, random)
    return Motion(rotation, gaze, generate_blinks(seconds, random), emotion, strength, mouth)


def generate_head_rotation(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate head rotation: sums of slow and fast sines.

    Args:
        seconds: (T,) times.
        random: Draws frequencies, phases and amplitudes.

    Returns:
        (T 3) yaw, pitch, roll in radians.
    """
    rates, phases = random.uniform(0.1, 0.7, (4, 3)), random.uniform(0, 2 * np.pi, (4, 3))
    swings = np.sin(2 * np.pi * rates * seconds[:, None, None] + phases) / (0.4 + 2 * rates)  # (T 4 3)
    liveliness = random.uniform(0.2, 1.0)  # some people hardly move while they talk
    return liveliness * random.uniform(0.4, 1.0, 3) * MAX_SWING_RADIANS * swings.sum(1) / 1.6


def generate_gaze(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate gaze: fixations with jumps between them.

    Args:
        seconds: (T,) times.
        random: Draws durations and directions.

    Returns:
        (T 2) yaw and pitch in radians.
    """
    fixation = number_intervals(seconds, 0.5, 2.5, random)
    directions = random.normal(0, 1, (fixation[-1] + 1, 2)) * [0.16, 0.07]
    return directions.clip([-0.35, -0.15], [0.35, 0.15])[fixation]


def generate_blinks(seconds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Generate blinks.

    Args:
        seconds: (T,) times.
        random: Draws their times.

    Returns:
        (T,) closure of the eyes, 0 to 1.
    """
    starts = np.cumsum(random.uniform(1.5, 5.0, int(seconds[-1] / 1.5) + 2))
    since_start = seconds[:, None] - starts
    return np.interp(since_start * 25.0, np.arange(-1, 7), [0, *BLINK, 0]).max(1)


def generate_emotions(seconds: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Generate emotions that rise and fall one after the other.

    Args:
        seconds: (T,) times.
        random: Draws emotions and durations.

    Returns:
        Index of the emotion (T,) and its strength (T,), 0 to 1.
    """
    interval = number_intervals(seconds, 2.0, 5.0, random)
    emotion = random.integers(0, len(EMOTIONS), interval[-1] + 1)[interval]
    edges = np.flatnonzero(np.diff(interval, prepend=-1, append=interval[-1] + 1))
    first, last = edges[interval - interval[0]], edges[interval - interval[0] + 1] - 1
    number = np.arange(len(seconds))
    ramp = np.clip(np.minimum(number - first, last - number) / EMOTION_RAMP_FRAMES, 0, 1)
    return emotion, ramp * ramp * (3 - 2 * ramp) * (emotion > 0)


def number_intervals(
    seconds: np.ndarray, min_seconds: float, max_seconds: float, random: np.random.Generator
) -> np.ndarray:
    """Divide time into intervals of random length.

    Args:
        seconds: (T,) times.
        min_seconds: Shortest interval.
        max_seconds: Longest interval.
        random: Draws the lengths.

    Returns:
        (T,) number of the interval of each time.
    """
    ends = np.cumsum(random.uniform(min_seconds, max_seconds, int(seconds[-1] / min_seconds) + 2))
    return np.searchsorted(ends, seconds)
