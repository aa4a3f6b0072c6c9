"""Measures of how much lips, head, brows and eyelids move.

Lip, head and brow dynamics are THEval's (Quignon et al., "THEval. Evaluation Framework for Talking Head Video
Generation", arXiv 2511.04520, and its code), by our landmarks and in units of the face. Too little and too much are
both unlike real footage, so all of them are compared with it.

Shapes: landmarks (T 68 2) pixels, iBUG order, at 25 frames per second.
"""

import numpy as np

from emo.core.timing import FPS
from emo.face.crop import region_of_landmarks
from emo.face.landmarks import (
    LEFT_BROW_POINTS,
    LEFT_EYE_POINTS,
    LIP_POINTS,
    RIGHT_BROW_POINTS,
    RIGHT_EYE_POINTS,
    RIGID_POINTS,
    eye_opening,
)
from emo.face.pose import head_angles, head_rotations, head_speed
from emo.metrics.stability import drift_per_minute

CLOSED_EYE_RATIO = 0.6  # of the opening of open eyes; below it they count as closed
MIN_BLINK_FRAMES, MAX_BLINK_FRAMES = 2, 15  # eyes that are closed for longer rest


def lip_dynamics(landmarks: np.ndarray) -> float:
    """Measure how much the mouth changes its shape.

    Args:
        landmarks: (T 68 2) pixels.

    Returns:
        The standard deviation over time of the distance between two points of the lips, mean of all pairs, in
        hundredths of the face's square.
    """
    sides = np.array([region_of_landmarks(points).side for points in landmarks])
    lips = landmarks[:, LIP_POINTS] / sides[:, None, None]
    one, other = np.triu_indices(lips.shape[1], 1)
    return 100 * float(np.linalg.norm(lips[:, one] - lips[:, other], axis=-1).std(0).mean())


def head_dynamics(landmarks: np.ndarray) -> float:
    """Measure how much the head turns and moves.

    Args:
        landmarks: (T 68 2) pixels.

    Returns:
        sqrt(deviation of the angles * variance of their change per frame + variance of the position), each the mean
        over its directions; in degrees, and hundredths of the face's square.
    """
    angles = np.degrees(head_angles(head_rotations(landmarks)))
    side = np.median([region_of_landmarks(points).side for points in landmarks])
    position = 100 * landmarks[:, RIGID_POINTS].mean(1) / side
    turned = angles.std(0).mean() * np.diff(angles, axis=0).var(0).mean()
    return float(np.sqrt(turned + position.var(0).mean()))


def brow_dynamics(landmarks: np.ndarray) -> float:
    """Measure how fast the brows move.

    Args:
        landmarks: (T 68 2) pixels.

    Returns:
        The change per frame of the distance between brow and eye, mean of both sides, in hundredths of the distance
        between the eyes.
    """
    eyes = np.stack([landmarks[:, part].mean(1) for part in (LEFT_EYE_POINTS, RIGHT_EYE_POINTS)], 1)
    brows = np.stack([landmarks[:, part].mean(1) for part in (LEFT_BROW_POINTS, RIGHT_BROW_POINTS)], 1)
    eye_distance = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    raised = np.linalg.norm(brows - eyes, axis=-1) / eye_distance[:, None]
    return 100 * float(np.abs(np.diff(raised, axis=0)).mean())


def blinks_per_minute(landmarks: np.ndarray) -> float:
    """Measure how often the eyes close for MIN_BLINK_FRAMES to MAX_BLINK_FRAMES.

    Args:
        landmarks: (T 68 2) pixels.

    Returns:
        Blinks a minute.
    """
    opening = eye_opening(landmarks)
    closed = opening < CLOSED_EYE_RATIO * np.quantile(opening, 0.8)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(int)))
    lengths = edges[1::2] - edges[::2]
    blinks = ((lengths >= MIN_BLINK_FRAMES) & (lengths <= MAX_BLINK_FRAMES)).sum()
    return float(blinks / (len(opening) / FPS / 60))


def delta_p(landmarks: np.ndarray) -> float:
    """VASA-1's delta P (arXiv 2404.10667): the mean change of the head's angles per frame.

    The paper says no more than that; here it is the mean over yaw, pitch and roll by `emo.face.pose`. Compare it at one
    frame rate only. VASA-1's other measure of heads, CAPP, needs a network that was not published.

    Args:
        landmarks: (T 68 2), NaN where the face is not visible.

    Returns:
        Degrees per frame; NaN without two visible frames in a row.
    """
    change = np.degrees(np.diff(head_angles(head_rotations(landmarks)), axis=0))
    return float(np.abs(change).mean(1)[np.isfinite(change).all(1)].mean()) if np.isfinite(change).any() else np.nan


def mean_head_speed(landmarks: np.ndarray) -> float:
    """Return the mean of `emo.face.pose.head_speed`, the quantity of the condition `head_speed` (`--speed`).

    Args:
        landmarks: (T 68 2), NaN where the face is not visible.

    Returns:
        Radians per second; NaN without two visible frames in a row.
    """
    speed = head_speed(landmarks, FPS)
    return float(np.nanmean(speed)) if np.isfinite(speed).any() else np.nan


def pose_drift(landmarks: np.ndarray) -> float:
    """Measure how far the head's posture changes in a minute: `drift_per_minute` of yaw, pitch and roll together.

    Args:
        landmarks: (T 68 2) pixels.

    Returns:
        Degrees; NaN for short videos.
    """
    return float(np.linalg.norm(drift_per_minute(np.degrees(head_angles(head_rotations(landmarks))))))
