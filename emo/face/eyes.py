"""How far eyes are open, and where they look."""

import numpy as np

LEFT, RIGHT = slice(36, 42), slice(42, 48)  # corner, two above, corner, two below
# Of the iris, in widths of the eye, 28.5 mm: its way for a radian (10.3 mm: the eye turns about a point 13.5 mm behind
# the cornea, the pupil is seen 3.2 mm behind it), and how far above the line of the corners it rests
WAY, REST = 0.36, 0.053


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) iBUG -> (T,) mean eye aspect ratio (Soukupova and Cech, "Real-Time Eye Blink Detection using
    Facial Landmarks", 2016): height over width of both eyes, about 0.3 open and near 0 in a blink."""
    ratios = []
    for eye in (LEFT, RIGHT):
        points = landmarks[:, eye]
        height = np.linalg.norm(points[:, [1, 2]] - points[:, [5, 4]], axis=-1).mean(-1)
        ratios.append(height / np.linalg.norm(points[:, 0] - points[:, 3], axis=-1))
    return np.mean(ratios, axis=0)


def gaze(eyes: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """eyes (T 2 7 2): outer corner, two above, inner corner, two below and iris of each; rotations (T 3 3) of
    emo.face.speed -> (T 2) radians: how far the eyes are turned in the head, to the picture's left and up like
    `head_angles`, the mean of both."""
    outer, inner, iris = (eyes[:, :, k] for k in (0, 3, 6))
    straight = np.linalg.inv(rotations[:, None, :2, :2])  # the plane of the face as it is seen -> from the front
    across, shift = (np.einsum("tkij,tkj->tki", straight, way) for way in (inner - outer, iris - (inner + outer) / 2))
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    turned = -np.arcsin(((shift / width + [0, REST]) / WAY).clip(-1, 1))
    return turned.mean(1)
