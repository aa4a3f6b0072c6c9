"""A face brought to where recognition networks want it: five of its points on five places of a small square."""

import cv2
import numpy as np

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
