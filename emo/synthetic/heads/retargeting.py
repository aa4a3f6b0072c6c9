"""The facial motion of a real clip on another person's head.

Expression weights are fitted to the 68 landmarks of every frame (`emo.synthetic.heads.fitting`); their differences to
the frames with a closed mouth are added to the other person's own expression. Since faces differ in size and in how
they close, the jaw is then solved so that the gap between the inner lips, over the face's height, changes as in the
clip. T frames, E expressions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emo.face.landmarks import eye_opening, mouth_opening
from emo.synthetic.heads.coarticulation import MAX_JAW, smooth_columns
from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.fitting import fit_expressions

CLOSED_SHARE = 0.1  # of the frames: those with the smallest mouth opening are the clip's neutral face
BLINK_NAMES = ("eyeBlink", "eyeLook")  # expressions that are not transferred: blinks and gaze have curves of their own
OPEN_QUANTILE = 0.8  # of the eye opening: open eyes
BLINK_START, BLINK_END = 0.2, 0.6  # by how much less the eyes are open, at a blink's start and closed
CHIN, BROWS = 8, slice(17, 27)  # of the 68 points
UPPER_INNER, LOWER_INNER = [61, 62, 63], [67, 66, 65]
ProjectLandmarks = Callable[[np.ndarray], np.ndarray]
HEAD_SMOOTHING_FRAMES = 1.0  # sigma: landmarks of single frames are noisy
NEWTON_STEPS = 6
MIN_JAW = -0.15  # offset of jawOpen: closes a mouth that is a little open in the portrait
MAX_CLOSED_GAP = 0.008  # between the landmarks of closed lips, over the face's height
MIN_SLOPE = 0.02  # of the opening over jawOpen


@dataclass(frozen=True)
class ClipMotion:
    """The motion of a real clip, relative to the clip's neutral face.

    Attributes:
        expression: (T E) offsets of expression weights.
        head_radians: (T 3) yaw, pitch, roll minus their means.
        blink: (T 2) 0 open .. 1 closed, the same for both eyes.
        opening: (T,) mouth opening over the face's height, minus that of the neutral face.
    """

    expression: np.ndarray
    head_radians: np.ndarray
    blink: np.ndarray
    opening: np.ndarray


def fit_clip_motion(landmarks: np.ndarray, model: FaceModel) -> ClipMotion:
    """Fit the motion of a clip.

    Args:
        landmarks: (T 68 2) in any unit, without NaN.
        model: The face model.

    Returns:
        The motion of T frames.
    """
    weights, angles = fit_expressions(landmarks, model)
    gaps = mouth_opening(landmarks)
    closed_frames = np.argsort(gaps, kind="stable")[: max(1, round(CLOSED_SHARE * len(gaps)))]
    offsets = weights - weights[closed_frames].mean(0)
    offsets[:, [k for k, name in enumerate(model.names) if name.startswith(BLINK_NAMES)]] = 0
    angles = smooth_columns(angles - angles.mean(0), HEAD_SMOOTHING_FRAMES)
    return ClipMotion(offsets, angles, measure_blinks(landmarks), gaps - gaps[closed_frames].mean())


def measure_blinks(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (T 68 2) -> closure (T 2) of the eyes, 0 .. 1, from their aspect ratio over that of open eyes."""
    ratio = eye_opening(landmarks)
    closing = 1 - ratio / max(float(np.quantile(ratio, OPEN_QUANTILE)), 1e-6)
    closed = np.clip((closing - BLINK_START) / (BLINK_END - BLINK_START), 0, 1)
    return np.repeat(closed[:, None], 2, 1)


def apply_clip_motion(motion: ClipMotion, model: FaceModel, project: ProjectLandmarks) -> np.ndarray:
    """Transfer a clip's motion to another person, the jaw solved so that the mouth opens as in the clip.

    Args:
        motion: Motion of the clip.
        model: The face model.
        project: Expression offsets (T E) of the other person -> landmarks (T 68 2).

    Returns:
        (T E) float32 expression offsets for the other person.
    """
    return set_opening(motion.expression, motion.opening, model.names.index("jawOpen"), project)


def measure_opening(offsets: np.ndarray, project: ProjectLandmarks) -> np.ndarray:
    """Measure how much wider than in the portrait a mouth is open.

    Unlike `emo.face.landmarks.mouth_opening` the value is negative where the lips would penetrate each other, so that
    Newton's method finds the way back.

    Args:
        offsets: (T E) expression offsets.
        project: Expression offsets -> landmarks (T 68 2).

    Returns:
        (T,) over the face's height.
    """
    gaps = measure_gaps(project(np.concatenate([np.zeros((1, offsets.shape[1])), offsets])))
    return gaps[1:] - gaps[0]


def measure_gaps(points: np.ndarray) -> np.ndarray:
    """Landmarks (T 68 2) -> (T,) signed gap of the inner lips, over the first frame's height from brows to chin."""
    down = points[0, CHIN] - points[0, BROWS].mean(0)
    return (points[:, LOWER_INNER] - points[:, UPPER_INNER]).mean(1) @ down / (down @ down)


def set_opening(offsets: np.ndarray, target: np.ndarray, jaw: int, project: ProjectLandmarks) -> np.ndarray:
    """Solve the jaw so that a mouth opens as far as a target, by Newton's method.

    Args:
        offsets: (T E) expression offsets.
        target: (T,) of `measure_opening`.
        jaw: Number of jawOpen among the expressions.
        project: Expression offsets -> landmarks (T 68 2).

    Returns:
        (T E) float32 offsets; the jaw within MIN_JAW and MAX_JAW.
    """
    offsets = offsets.astype(np.float64)
    for _ in range(NEWTON_STEPS):
        opening, step = measure_opening(offsets, project), np.zeros_like(offsets)
        step[:, jaw] = 0.01
        slope = np.maximum((measure_opening(offsets + step, project) - opening) / 0.01, MIN_SLOPE)
        offsets[:, jaw] = np.clip(offsets[:, jaw] + (target - opening) / slope, MIN_JAW, MAX_JAW)
    return offsets.astype(np.float32)


def close_lips(offsets: np.ndarray, closure: np.ndarray, jaw: int, project: ProjectLandmarks) -> np.ndarray:
    """Close a person's lips where they must touch, whatever else the face expresses.

    Args:
        offsets: (T E) expression offsets.
        closure: (T,) 0 free .. 1 the lips touch.
        jaw, project: As of `set_opening`.

    Returns:
        (T E) float32 offsets.
    """
    rows = np.flatnonzero(closure > 0.5)
    closed = offsets.astype(np.float32)
    if len(rows):
        part = offsets[rows]
        free = np.minimum((1 - closure[rows]) / 0.5, 1.0)
        portrait_gap = max(0.0, float(measure_gaps(project(np.zeros((1, offsets.shape[1]))))[0]) - MAX_CLOSED_GAP)
        target = measure_opening(part, project) * free - portrait_gap * (1 - free)
        closed[rows] = set_opening(part, target, jaw, project)
    return closed
