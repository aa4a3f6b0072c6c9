"""Lids that close: the skin that covers a closed eye, and the line of the lashes. Canvas (C C)."""

import cv2
import numpy as np

from emo.synthetic.heads.head_shape import smoothstep
from emo.synthetic.heads.photo_texture import PhotoTexture

COVER_MARGIN = 0.10  # over the eye's width: lashes and eye shadow around the opening, which are no skin
COVER_BLUR = 0.2  # over the eye's width, sigma
SKIN_PERCENTILES = (30, 60)  # of the brightness around the eye: darker pixels are lashes, brows and frames of glasses


def cover_eye(texture: PhotoTexture, lids: np.ndarray) -> np.ndarray:
    """Cover an eye with the skin around it.

    The lid of an open eye is folded away, so that the photograph does not show it. Its colors are a normalized
    convolution (Knutsson and Westin, 1993) of the bright skin around the opening, so that they have its light.

    Args:
        texture: The photograph.
        lids: (6 2) landmarks of the eye, sides.

    Returns:
        (C C 3) uint8 canvas.
    """
    canvas = texture.canvas
    width = float(np.linalg.norm(lids[3] - lids[0])) * texture.size
    outline = texture.pixels(smooth_lids(lids))
    low = np.maximum(np.floor(outline.min(0) - 0.9 * width).astype(int), 0)
    high = np.minimum(np.ceil(outline.max(0) + 0.9 * width).astype(int), canvas.shape[0])
    part = canvas[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    opening = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(opening, [np.round((outline - low) * 16).astype(np.int32)], 1, shift=4)
    distance = cv2.distanceTransform(1 - opening, cv2.DIST_L2, 5) / width
    around = (distance > COVER_MARGIN) & (distance < 0.45)
    bright = part.mean(-1)
    dark, light = np.percentile(bright[around], SKIN_PERCENTILES) if around.any() else (0.0, 1.0)
    weight = around * (0.02 + np.clip((bright - dark) / max(light - dark, 1.0), 0, 1))
    weight = weight.astype(np.float32)[..., None]
    sums = cv2.GaussianBlur(np.concatenate([part * weight, weight], -1), (0, 0), max(COVER_BLUR * width, 1.0))
    skin = sums[..., :3] / np.maximum(sums[..., 3:], 1e-6)
    inside = 1 - smoothstep(distance, COVER_MARGIN, 0.2)[..., None]
    covered = canvas.copy()
    covered[low[1] : high[1], low[0] : high[0]] = np.uint8(np.clip(part + (skin - part) * inside, 0, 255) + 0.5)
    return covered


def lash_line(lids: np.ndarray, steps: int = 13) -> np.ndarray:
    """Fit a parabola to an upper lid, from corner to corner; the lid of a closed eye ends at the lower one.

    Args:
        lids: (6 2) landmarks of an eye.
        steps: Number of points.

    Returns:
        (steps 2) points.
    """
    t = np.array([0, 1 / 3, 2 / 3, 1])
    lids = lids.copy()
    lids[1:3, 1] = np.minimum(lids[1:3, 1], lids[[5, 4], 1])
    weights = np.array([1.0, 0.7, 0.7, 1.0])
    curve = [np.polynomial.Polynomial.fit(t, lids[:4, k], 2, w=weights, domain=[0, 1], window=[0, 1]) for k in range(2)]
    return np.stack([axis(np.linspace(0.02, 0.98, steps)) for axis in curve], 1)


def smooth_lids(lids: np.ndarray, steps: int = 6) -> np.ndarray:
    """Return a smooth closed line along the lids: a Catmull-Rom spline with sharp corners.

    Args:
        lids: (6 2) landmarks of an eye.
        steps: Points between two landmarks.

    Returns:
        (6 * steps 2) points.
    """
    before, after = np.roll(lids, 1, 0), np.roll(lids, -1, 0)
    tangents = (after - before) / 2
    line = []
    for k in range(6):
        a, b = lids[k], lids[(k + 1) % 6]
        ta = (b - a) if k in (0, 3) else tangents[k]
        tb = (b - a) if (k + 1) % 6 in (0, 3) else tangents[(k + 1) % 6]
        for t in np.arange(steps) / steps:
            h = np.array([2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2])
            line.append(h @ np.stack([a, ta, b, tb]))
    return np.array(line)
