"""Head rotation and rotation speed from landmarks."""

import numpy as np

# Points of the skull as the camera sees it from the front, in widths between the outer eye corners: the
# symmetric mean of 317 near-frontal MediaPipe meshes of GRID and SFHQ-T2I.
POINTS = [36, 39, 42, 45, 27, 28, 29, 30, 31, 33, 35, 0, 1, 15, 16]
SKULL = np.array(
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
REACH = 2  # frames on either side over which a speed is taken: jitter of the landmarks is not motion


def head_rotations(landmarks: np.ndarray) -> np.ndarray:
    """(T 3 3) rotations from the frontal head to each frame's, (T 68 2) landmarks given: the affine camera
    that fits best by least squares, then the rotation nearest to it. NaN where the landmarks are."""
    seen = np.isfinite(landmarks).all((1, 2))
    points = landmarks[seen][:, POINTS].astype(np.float64)
    points = points - points.mean(1, keepdims=True)
    affine = np.linalg.pinv(SKULL - SKULL.mean(0)) @ points  # (T 3 2)
    left, _, right = np.linalg.svd(affine.swapaxes(1, 2), full_matrices=False)  # (T 2 3) = left S right
    rows = left @ right
    rotations = np.full((len(landmarks), 3, 3), np.nan)
    rotations[seen] = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    return rotations


def head_angles(rotations: np.ndarray) -> np.ndarray:
    """Rotations (T 3 3) of `head_rotations` -> (T 3) radians: yaw to the picture's left, pitch up, roll clockwise; the
    head turns about its own y, then x, then z axis."""
    yaw = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    pitch = np.arcsin(rotations[:, 2, 1].clip(-1, 1))
    roll = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    return np.stack([yaw, pitch, roll], axis=-1)


def head_speed(landmarks: np.ndarray, fps: float) -> np.ndarray:
    """(T,) float32 radians per second: how fast the head turns in each frame, (T 68 2) landmarks given.

    It is the angle between the poses up to REACH frames before and after, divided by the time between them.
    NaN in frames without a face, and in a frame alone between such frames.
    """
    rotations = head_rotations(landmarks)
    seen = np.isfinite(rotations).all((1, 2))
    speed = np.full(len(landmarks), np.nan, np.float32)
    for start, end in _runs(seen):
        frames = np.arange(start, end)
        before, after = np.maximum(frames - REACH, start), np.minimum(frames + REACH, end - 1)
        if end - start > 1:
            turned = _angle(rotations[before].swapaxes(1, 2) @ rotations[after])
            speed[start:end] = turned * fps / (after - before)
    return speed


def _angle(rotations: np.ndarray) -> np.ndarray:
    """(T,) radians: how far rotations (T 3 3) turn; by sine and cosine, exact for small angles too."""
    skew = (rotations - rotations.swapaxes(1, 2)) / 2
    sine = np.sqrt((skew**2).sum((1, 2)) / 2)
    return np.arctan2(sine, (np.trace(rotations, axis1=1, axis2=2) - 1) / 2)


def _runs(seen: np.ndarray) -> list[tuple[int, int]]:
    """Stretches (start, end) of consecutive frames that are seen."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
