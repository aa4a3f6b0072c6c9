"""How much lips, head, brows and lids move.

How lively lips, head, brows and lids are. The first three are THEval's (Quignon et al., "THEval. Evaluation
Framework for Talking Head Video Generation", arXiv 2511.04520, and its code), by our landmarks and in units of the
face: too little and too much are both far from real footage.

landmarks (T 68 2) pixels, iBUG, 25 frames per second.

How much a head moves: VASA-1's delta P (arXiv 2404.10667), the mean change of the pose's angles from frame to frame.

The paper says no more than that; here it is the mean over yaw, pitch and roll, in degrees, of heads measured by
emo.face.pose. Less is not better: a frozen head has 0. VASA-1's other measure of heads, CAPP, can't be had: neither
the network that puts sound and poses side by side nor its weights were published.
"""

import numpy as np

from emo.core.timing import FPS
from emo.face.crop import RIGID, region_of_landmarks
from emo.face.landmarks import eye_opening
from emo.face.pose import head_angles, head_rotations

LIPS, EYES, BROWS = slice(48, 68), (slice(36, 42), slice(42, 48)), (slice(17, 22), slice(22, 27))
SHUT = 0.6  # of how far the eyes are open when they are; what is lower is a blink
SHORTEST_BLINK, LONGEST_BLINK = 2, 15  # frames; eyes that are shut for longer rest


def lip_dynamics(landmarks: np.ndarray) -> float:
    """How much the mouth changes its shape: the deviation over time of the distance between two points of the lips,
    mean of all pairs, in hundredths of the face's square."""
    sides = np.array([region_of_landmarks(points).side for points in landmarks])
    lips = landmarks[:, LIPS] / sides[:, None, None]
    one, other = np.triu_indices(lips.shape[1], 1)
    return 100 * float(np.linalg.norm(lips[:, one] - lips[:, other], axis=-1).std(0).mean())


def head_dynamics(landmarks: np.ndarray) -> float:
    """How much the head turns and moves: sqrt(deviation of the angles * variance of their change from frame to frame +
    variance of the place), each mean of its directions; degrees, and hundredths of the face's square."""
    angles = np.degrees(head_angles(head_rotations(landmarks)))
    side = np.median([region_of_landmarks(points).side for points in landmarks])
    place = 100 * landmarks[:, RIGID].mean(1) / side
    turned = angles.std(0).mean() * np.diff(angles, axis=0).var(0).mean()
    return float(np.sqrt(turned + place.var(0).mean()))


def brow_dynamics(landmarks: np.ndarray) -> float:
    """How fast the brows move: the change from frame to frame of the distance of brow and eye, mean of both, in
    hundredths of the distance of the eyes."""
    eyes, brows = (np.stack([landmarks[:, part].mean(1) for part in parts], 1) for parts in (EYES, BROWS))
    apart = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    raised = np.linalg.norm(brows - eyes, axis=-1) / apart[:, None]
    return 100 * float(np.abs(np.diff(raised, axis=0)).mean())


def blinks_per_minute(landmarks: np.ndarray) -> float:
    """How often the eyes shut for a moment."""
    opening = eye_opening(landmarks)
    shut = opening < SHUT * np.quantile(opening, 0.8)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shut, [False]]).astype(int)))
    lengths = edges[1::2] - edges[::2]
    blinks = ((lengths >= SHORTEST_BLINK) & (lengths <= LONGEST_BLINK)).sum()
    return float(blinks / (len(opening) / FPS / 60))


def delta_p(landmarks: np.ndarray) -> float:
    """landmarks (T 68 2) pixels, NaN where the face was not seen -> degrees per frame; NaN without two frames in a row.

    Compare at one frame rate.
    """
    change = np.degrees(np.diff(head_angles(head_rotations(landmarks)), axis=0))
    return float(np.abs(change).mean(1)[np.isfinite(change).all(1)].mean()) if np.isfinite(change).any() else np.nan
