"""Seven emotions as offsets of named expressions, and random sequences of them.

Each emotion is its prototype of facial actions (Ekman, Friesen and Hager, "Facial Action Coding System, Investigator's
Guide", 2002, table of emotion predictions), written in the expressions of ICT-FaceKit and ARKit. The seven and the
neutral face are those of MEAD (Wang et al., 2020). Mouth parts are weaker than in posed photographs, since the mouth
speaks at the same time. T frames.
"""

from dataclasses import dataclass

import numpy as np

NEUTRAL = "neutral"


def both_sides(**weights: float) -> dict[str, float]:
    """Weights by name without side -> those of the left and of the right side."""
    return {f"{name}_{side}": weight for name, weight in weights.items() for side in "LR"}


EMOTIONS: dict[str, dict[str, float]] = {
    NEUTRAL: {},
    # AU 4 5 7 23
    "angry": both_sides(browDown=0.8, eyeSquint=0.25, eyeWide=0.2, mouthPress=0.3, noseSneer=0.2, mouthFrown=0.15),
    # AU R12 R14: of one side
    "contempt": {"mouthDimple_R": 0.6, "mouthSmile_R": 0.35, "browDown_R": 0.15, "cheekSquint_R": 0.2},
    # AU 9 15 16
    "disgusted": both_sides(noseSneer=0.8, mouthFrown=0.35, mouthUpperUp=0.25, browDown=0.4, eyeSquint=0.35),
    # AU 1 2 4 5 7 20
    "afraid": both_sides(
        browInnerUp=0.75, browOuterUp=0.35, browDown=0.25, eyeWide=0.65, mouthStretch=0.4, mouthFrown=0.1
    ),
    # AU 6 12
    "happy": both_sides(mouthSmile=0.6, cheekSquint=0.55, cheekRaiser=0.3, eyeSquint=0.25, mouthUpperUp=0.08),
    # AU 1 4 15
    "sad": both_sides(browInnerUp=0.8, browDown=0.25, mouthFrown=0.5, eyeSquint=0.15) | {"mouthShrugLower": 0.15},
    # AU 1 2 5 26
    "surprised": both_sides(browInnerUp=0.8, browOuterUp=0.7, eyeWide=0.6) | {"jawOpen": 0.06},
}
EMOTION_NAMES = tuple(EMOTIONS)
LIP_OPENING_NAMES = ("jawOpen", "mouthUpperUp", "mouthLowerDown", "mouthFunnel", "mouthShrug", "noseSneer")
MIN_SECONDS, MAX_SECONDS = 2.0, 6.0  # of an emotion
RAMP_SECONDS = (
    0.6  # to its full strength: onsets of felt smiles performance 0.4 to 0.8 s (Schmidt, Ambadar, Cohn, Reed 2006)
)


@dataclass(frozen=True)
class EmotionTrack:
    """The emotion of a face in T frames.

    Attributes:
        kind: (T,) int64, number in EMOTION_NAMES.
        strength: (T,) float64, 0 .. 1; 0 for the neutral face.
    """

    kind: np.ndarray
    strength: np.ndarray

    def to_expression(self, closure: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the weights (T,) of the expressions by name.

        Args:
            closure: (T,) of the lips, 1 where they must touch: no emotion opens them there; None: nowhere.

        Returns:
            Name -> weights (T,).
        """
        free = 1.0 if closure is None else 1 - closure
        curves: dict[str, np.ndarray] = {}
        for number in np.unique(self.kind):
            strength = np.where(self.kind == number, self.strength, 0.0)
            for name, weight in EMOTIONS[EMOTION_NAMES[number]].items():
                opens = name.startswith(LIP_OPENING_NAMES)
                curves[name] = curves.get(name, 0.0) + weight * strength * (free if opens else 1.0)
        return curves


def draw_emotions(num_frames: int, fps: float, random: np.random.Generator, neutral_share: float = 0.4) -> EmotionTrack:
    """Draw a sequence of emotions of MIN_SECONDS to MAX_SECONDS each, with peaks of 0.25 to 1.

    Args:
        num_frames: T.
        fps: Frames per second.
        random: Draws them.
        neutral_share: Share of neutral faces in the sequence.

    Returns:
        The emotions of T frames.
    """
    seconds = (np.arange(num_frames) + 0.5) / fps
    kind, strength = np.zeros(num_frames, np.int64), np.zeros(num_frames)
    # The first emotion may have begun before the clip.
    start = -random.uniform(0, MAX_SECONDS / 2)
    while start < seconds[-1]:
        end = start + random.uniform(MIN_SECONDS, MAX_SECONDS)
        number = 0 if random.random() < neutral_share else int(random.integers(1, len(EMOTION_NAMES)))
        peak = random.uniform(0.25, 1.0)
        inside = (seconds >= start) & (seconds < end)
        ramp = np.clip(np.minimum(seconds - start, end - seconds) / RAMP_SECONDS, 0, 1)[inside]
        kind[inside] = number
        strength[inside] = peak * ramp * ramp * (3 - 2 * ramp) if number else 0.0
        start = end
    return EmotionTrack(kind, strength)
