"""How sharp a picture of a face is, whatever its light and contrast."""

import cv2
import numpy as np

NOISE_PIXELS = 1.0  # sigma of the blur before: noise is no sharpness


def sharpness(grey: np.ndarray, inside: np.ndarray) -> float:
    """grey (H W) uint8, inside (H W) bool, where to look -> the Laplacian's energy over the gradient's, 1 / pixels²:
    neither light nor contrast counts, and a blur of s pixels leaves about 1 / (2 s² + 2)."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), NOISE_PIXELS)
    bend = cv2.Laplacian(soft, cv2.CV_32F)
    slope = [cv2.Sobel(soft, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (0, 1)]
    return float((bend[inside] ** 2).mean() / max(1e-6, sum((s[inside] ** 2).mean() for s in slope)))
