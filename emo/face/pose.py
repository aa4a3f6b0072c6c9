"""Rotation, angles and rotation speed of a head, from its landmarks.

T frames; landmarks (T 68 2) pixels, NaN in frames without a face.
"""

import numpy as np

# Landmarks that move with the skull, and where they lie on a head that faces the camera, x, y and z in widths between
# the outer eye corners: the symmetric mean of 317 near-frontal MediaPipe meshes of GRID and SFHQ-T2I.
POSE_POINTS = [36, 39, 42, 45, 27, 28, 29, 30, 31, 33, 35, 0, 1, 15, 16]
POSE_TEMPLATE = np.array(
    [
        [-0.500, -0.178, -0.025],
        [-0.194, -0.155, -0.079],
        [0.194, -0.155, -0.079],
        [0.500, -0.178, -0.025],
        [0.000, -0.195, -0.268],
        [0.000, -0.101, -0.305],
        [0.000, 0.071, -0.399],
        [0.000, 0.263, -0.463],
        [-0.192, 0.353, -0.166],
        [0.000, 0.387, -0.250],
        [0.192, 0.353, -0.166],
        [-0.750, -0.192, 0.520],
        [-0.740, -0.042, 0.593],
        [0.740, -0.042, 0.593],
        [0.750, -0.192, 0.520],
    ]
)
SPEED_REACH_FRAMES = 2  # to either side over which a speed is measured: suppresses jitter of the landmarks


def head_rotations(landmarks: np.ndarray) -> np.ndarray:
    """Return the rotation of the head in each frame, from the frontal head.

    The affine camera that fits best by least squares, then the rotation nearest to it.

    Args:
        landmarks: (T 68 2) pixels.

    Returns:
        (T 3 3); NaN where the landmarks are NaN.
    """
    visible = np.isfinite(landmarks).all((1, 2))
    points = landmarks[visible][:, POSE_POINTS].astype(np.float64)
    points = points - points.mean(1, keepdims=True)
    affine = np.linalg.pinv(POSE_TEMPLATE - POSE_TEMPLATE.mean(0)) @ points  # (T 3 2)
    left, _, right = np.linalg.svd(affine.swapaxes(1, 2), full_matrices=False)  # (T 2 3) = left S right
    rows = left @ right
    rotations = np.full((len(landmarks), 3, 3), np.nan)
    rotations[visible] = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    return rotations


def head_angles(rotations: np.ndarray) -> np.ndarray:
    """Convert rotations (T 3 3) of `head_rotations` to angles.

    Returns:
        (T 3) radians: yaw to the picture's left, pitch down, roll clockwise; the head turns about its own y, then
        x, then z axis.
    """
    yaw = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    pitch = np.arcsin(rotations[:, 2, 1].clip(-1, 1))
    roll = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    return np.stack([yaw, pitch, roll], axis=-1)


def head_speed(landmarks: np.ndarray, fps: float) -> np.ndarray:
    """Measure how fast the head turns in each frame.

    The angle between the poses up to SPEED_REACH_FRAMES before and after, over the time between them.

    Args:
        landmarks: (T 68 2) pixels.
        fps: Frames per second.

    Returns:
        (T,) float32 radians per second; NaN in frames without a face, and in a single frame between such frames.
    """
    rotations = head_rotations(landmarks)
    visible = np.isfinite(rotations).all((1, 2))
    speed = np.full(len(landmarks), np.nan, np.float32)
    for start, end in _runs(visible):
        frames = np.arange(start, end)
        before, after = np.maximum(frames - SPEED_REACH_FRAMES, start), np.minimum(frames + SPEED_REACH_FRAMES, end - 1)
        if end - start > 1:
            turned = _angle(rotations[before].swapaxes(1, 2) @ rotations[after])
            speed[start:end] = turned * fps / (after - before)
    return speed


def _angle(rotations: np.ndarray) -> np.ndarray:
    """The angle (T,) in radians of rotations (T 3 3); by sine and cosine, exact for small angles too."""
    skew = (rotations - rotations.swapaxes(1, 2)) / 2
    sine = np.sqrt((skew**2).sum((1, 2)) / 2)
    return np.arctan2(sine, (np.trace(rotations, axis1=1, axis2=2) - 1) / 2)


def _runs(visible: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each run of True in `visible` (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
