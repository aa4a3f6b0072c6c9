"""How far eyes are open, from landmarks (T 68 2) in iBUG order."""

import numpy as np

LEFT, RIGHT = slice(36, 42), slice(42, 48)  # corner, two above, corner, two below


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) iBUG -> (T,) mean eye aspect ratio (Soukupova and Cech, "Real-Time Eye Blink Detection using
    Facial Landmarks", 2016): height over width of both eyes, about 0.3 open and near 0 in a blink."""
    ratios = []
    for eye in (LEFT, RIGHT):
        points = landmarks[:, eye]
        height = np.linalg.norm(points[:, [1, 2]] - points[:, [5, 4]], axis=-1).mean(-1)
        ratios.append(height / np.linalg.norm(points[:, 0] - points[:, 3], axis=-1))
    return np.mean(ratios, axis=0)
