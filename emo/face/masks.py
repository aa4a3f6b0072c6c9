"""Soft masks of the face, the lips and the surroundings, as Hallo's hierarchical audio attention takes them."""

import cv2
import numpy as np

from emo.face.crop import locator_mask
from emo.face.landmarks import LIP_POINTS
from emo.face.selection import SelectedFace

MASK_PIXELS = 64
FACE_MASK, LIP_MASK = (1.1, 51), (2.0, 31)  # how much a box is enlarged, and the side of the Gaussian kernel
AVERAGE_LIPS = (0.35, 0.70, 0.65, 0.84)  # a box in the unit square of the face's box, where there are no landmarks

Box = tuple[float, float, float, float]


def regional_masks(face: SelectedFace, sizes: list[int]) -> list[np.ndarray]:
    """Draw the masks of the animated square's regions.

    Args:
        face: The face, with or without landmarks.
        sizes: Sides of the masks.

    Returns:
        For each size (3 size size) float32 in 0..1: surroundings, face without lips, lips.
    """
    whole = soft_box_mask(face.box, face, *FACE_MASK)
    lips = soft_box_mask(lip_box(face), face, *LIP_MASK)
    masks = np.stack([1 - whole, np.maximum(whole - lips, 0), lips], axis=-1)
    return [cv2.resize(masks, (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) for size in sizes]


def lip_box(face: SelectedFace) -> Box:
    """Return the box around the lips' landmarks in pixels, or where lips are in most faces."""
    if face.landmarks is not None:
        points = face.landmarks[LIP_POINTS]
        return (*points.min(0).tolist(), *points.max(0).tolist())
    x0, y0, x1, y1 = face.box
    u0, v0, u1, v1 = AVERAGE_LIPS
    return (x0 + u0 * (x1 - x0), y0 + v0 * (y1 - y0), x0 + u1 * (x1 - x0), y0 + v1 * (y1 - y0))


def enlarge_box(box: Box, factor: float) -> Box:
    """Scale a box about its center.

    Args:
        box: (x0, y0, x1, y1), pixels.
        factor: Ratio of the new sides to the old ones.

    Returns:
        The scaled box, pixels.
    """
    x0, y0, x1, y1 = box
    dx, dy = (factor - 1) / 2 * (x1 - x0), (factor - 1) / 2 * (y1 - y0)
    return (x0 - dx, y0 - dy, x1 + dx, y1 + dy)


def soft_box_mask(box: Box, face: SelectedFace, factor: float, kernel: int) -> np.ndarray:
    """Draw an enlarged and blurred box within the animated square.

    Args:
        box: (x0, y0, x1, y1), pixels of the picture.
        face: The selected face, whose region is the square.
        factor: By how much the box is enlarged.
        kernel: Size of the Gaussian blur's kernel, pixels; odd.

    Returns:
        (MASK_PIXELS MASK_PIXELS) float32, stretched to 0 .. 1.
    """
    enlarged = locator_mask(enlarge_box(box, factor), face.region, MASK_PIXELS)
    mask = cv2.GaussianBlur(enlarged, (kernel, kernel), 0)
    spread = mask.max() - mask.min()
    return (mask - mask.min()) / spread if spread > 0 else mask
