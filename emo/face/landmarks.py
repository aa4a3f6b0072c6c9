"""The 68 facial landmarks (iBUG order): named slices, mouth and eye opening, gaze, alignment.

How far a mouth is open, from landmarks (T 68 2) in iBUG order.

How far eyes are open, and where they look.

A face brought to where recognition networks want it: five of its points on five places of a small square.
"""

import cv2
import numpy as np


def opening(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) iBUG -> (T,) mean gap of the inner lips over the face's height (brows to chin, median)."""
    gap = np.linalg.norm(landmarks[:, 61:64] - landmarks[:, [67, 66, 65]], axis=-1).mean(-1)
    brow = landmarks[:, 17:27].mean(1)
    return gap / np.median(np.linalg.norm(landmarks[:, 8] - brow, axis=-1))


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
    emo.face.pose -> (T 2) radians: how far the eyes are turned in the head, to the picture's left and up like
    `head_angles`, the mean of both."""
    outer, inner, iris = (eyes[:, :, k] for k in (0, 3, 6))
    straight = np.linalg.inv(rotations[:, None, :2, :2])  # the plane of the face as it is seen -> from the front
    across, shift = (np.einsum("tkij,tkj->tki", straight, way) for way in (inner - outer, iris - (inner + outer) / 2))
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    turned = -np.arcsin(((shift / width + [0, REST]) / WAY).clip(-1, 1))
    return turned.mean(1)


SIZE = 112  # pixels
# Where insightface has eyes, the nose's tip and the corners of the mouth in a square of 112 points
PLACES = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 D) iBUG -> (T 5 D): the eyes, each between its corners, the nose's tip, the mouth's corners."""
    eyes = [landmarks[:, [36, 39]].mean(1), landmarks[:, [42, 45]].mean(1)]
    return np.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], axis=1)


def similarity_transform(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(2 3) that turns, scales and shifts points (N 2) as near to places (N 2) as can be, by least squares."""
    a, b = (xy @ np.array([1, 1j]) for xy in (points, places))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean()).real
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def aligned(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """frame (3 H W) uint8, its five points (5 2) -> (3 112 112) uint8."""
    picture = np.ascontiguousarray(frame.transpose(1, 2, 0))
    return cv2.warpAffine(picture, similarity_transform(points, PLACES), (SIZE, SIZE)).transpose(2, 0, 1)


# MediaPipe's mesh -> the 68 iBUG points: jaw, brows, nose, eyes, outer and inner lips
IBUG = (
    [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 6, 195, 4, 98, 97, 2, 326, 327]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)
