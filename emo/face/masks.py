"""Soft masks of the face, the lips and the area around the face."""

import cv2
import numpy as np

from emo.face.crop import locator_mask
from emo.face.selection import Located

SIZE = 64
FACE, LIPS = (1.1, 51), (2.0, 31)  # how much larger a box is made, and the side of the Gaussian kernel
LIP_POINTS = slice(48, 68)
USUAL_LIPS = (0.35, 0.70, 0.65, 0.84)  # of a face box, where no landmarks are known

Box = tuple[float, float, float, float]


def regional_masks(found: Located, sizes: list[int]) -> list[np.ndarray]:
    """Masks of the animated square for each of these sizes: (3 size size) float32 of the surroundings, face, lips."""
    face, lips = (soft_mask(box, found, *how) for box, how in [(found.box, FACE), (lips_box(found), LIPS)])
    masks = np.stack([1 - face, np.maximum(face - lips, 0), lips], axis=-1)
    return [cv2.resize(masks, (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) for size in sizes]


def lips_box(found: Located) -> Box:
    """Around the lips' landmarks, or where lips are in most faces."""
    if found.landmarks is not None:
        points = found.landmarks[LIP_POINTS]
        return (*points.min(0).tolist(), *points.max(0).tolist())
    x0, y0, x1, y1 = found.box
    u0, v0, u1, v1 = USUAL_LIPS
    return (x0 + u0 * (x1 - x0), y0 + v0 * (y1 - y0), x0 + u1 * (x1 - x0), y0 + v1 * (y1 - y0))


def enlarged(box: Box, factor: float) -> Box:
    x0, y0, x1, y1 = box
    dx, dy = (factor - 1) / 2 * (x1 - x0), (factor - 1) / 2 * (y1 - y0)
    return (x0 - dx, y0 - dy, x1 + dx, y1 + dy)


def soft_mask(box: Box, found: Located, factor: float, kernel: int) -> np.ndarray:
    """(SIZE SIZE) float32 in 0..1."""
    mask = cv2.GaussianBlur(locator_mask(enlarged(box, factor), found.region, SIZE), (kernel, kernel), 0)
    spread = mask.max() - mask.min()
    return (mask - mask.min()) / spread if spread > 0 else mask
