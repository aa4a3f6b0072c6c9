"""How far a mouth is open, from landmarks (T 68 2) in iBUG order."""

import numpy as np


def opening(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) iBUG -> (T,) mean gap of the inner lips over the face's height (brows to chin, median)."""
    gap = np.linalg.norm(landmarks[:, 61:64] - landmarks[:, [67, 66, 65]], axis=-1).mean(-1)
    brow = landmarks[:, 17:27].mean(1)
    return gap / np.median(np.linalg.norm(landmarks[:, 8] - brow, axis=-1))
