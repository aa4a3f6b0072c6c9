"""Draw objects in front of a face: fingers, a hand, a microphone, a bar, a piece of something.

Images are (S S 3) uint8 RGB, masks (S S) float32, 0 .. 1; all choices come from the rng.
"""

import cv2
import numpy as np

from emo.data.image_augmentation import draw_background

SUPERSAMPLING = 2  # outlines are drawn at this multiple of the image's resolution


def occlude_with_object(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an object over an image, more often than not over its middle.

    Args:
        image: (S S 3) uint8.
        rng: Source of all choices.

    Returns:
        The image with the object and its shadow, and the mask of what it hides.
    """
    size = len(image)
    reach = 0.12 if rng.random() < 0.7 else 0.4
    center = size * (0.5 + rng.uniform(-reach, reach, 2))
    shape, colors = OCCLUDERS[rng.integers(len(OCCLUDERS))](image, center, rng)
    mask = cv2.resize(shape, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shadow = cv2.GaussianBlur(mask, (0, 0), size * rng.uniform(0.02, 0.08)) * np.float32(rng.uniform(0, 0.5))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.0))[..., None]
    behind = image * (1 - shadow[..., None])
    return np.clip(behind * (1 - soft) + colors * soft, 0, 255).astype(np.uint8), mask


def draw_skin_color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose a skin color like that of the image's rim, or another.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.

    Returns:
        (3,) RGB, 0 .. 255.
    """
    rim = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3)])
    tone = np.median(rim, 0) if rng.random() < 0.8 else np.array([225, 180, 150]) * rng.uniform(0.25, 1.05)
    return tone * rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)


def shade_shape(shape: np.ndarray, tone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Color a shape so that it looks round: darker to its edges and on one side, with grain.

    Args:
        shape: (SUPERSAMPLING * S, SUPERSAMPLING * S) uint8.
        tone: (3,) its color.
        rng: Source of light and grain.

    Returns:
        (S S 3) float32.
    """
    size = len(shape) // SUPERSAMPLING
    height = cv2.resize(cv2.distanceTransform(shape, cv2.DIST_L2, 3), (size, size), interpolation=cv2.INTER_AREA)
    bulge = np.sqrt(np.clip(height / max(1e-3, height.max() * rng.uniform(0.4, 1.0)), 0, 1))
    direction = rng.normal(0, 1, 2)
    slope = np.linspace(-1, 1, size) * direction[0] + np.linspace(-1, 1, size)[:, None] * direction[1]
    light = 1 - rng.uniform(0.15, 0.5) * (1 - bulge) + 0.08 * slope
    grain = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 0.8) * rng.uniform(0, 0.12)
    return np.asarray(tone * (light + grain)[..., None], np.float32)


def _make_blank(image):
    return np.zeros((SUPERSAMPLING * len(image),) * 2, np.uint8)


def _draw_line(shape, start, end, width):
    start, end = (tuple(np.int32(np.round(np.array(p) * SUPERSAMPLING)).tolist()) for p in (start, end))
    cv2.line(shape, start, end, 255, max(1, round(width * SUPERSAMPLING)), cv2.LINE_8)


def _draw_finger_lines(shape, tip, away, count, width, rng):
    """Draw `count` fingers side by side, their ends about `tip`, from the direction `away` (radians)."""
    direction = np.array([np.cos(away), np.sin(away)])
    beside = np.array([-direction[1], direction[0]])
    for k in range(count):
        end = tip + beside * width * 1.08 * (k - (count - 1) / 2) + direction * width * rng.uniform(-0.6, 0.6)
        _draw_line(shape, end, end + direction * len(shape), width * rng.uniform(0.85, 1.0))


def _draw_fingers(image, center, rng):
    shape, width, count = _make_blank(image), len(image) * rng.uniform(0.10, 0.20), int(rng.integers(1, 5))
    away = rng.uniform(0, 2 * np.pi)
    tip = center - np.array([np.cos(away), np.sin(away)]) * width * rng.uniform(0, 2)
    tone, colors, total = draw_skin_color(image, rng), np.zeros(image.shape, np.float32), _make_blank(image)
    beside = np.array([-np.sin(away), np.cos(away)])
    for k in range(count):
        shape[:] = 0
        _draw_finger_lines(shape, tip + beside * width * 1.05 * (k - (count - 1) / 2), away, 1, width, rng)
        here = cv2.resize(shape, image.shape[1::-1], interpolation=cv2.INTER_AREA)[..., None] > 127
        colors, total = np.where(here, shade_shape(shape, tone, rng), colors), np.maximum(total, shape)
    return total, np.where(colors > 0, colors, np.float32(tone * 0.6))


def _draw_hand(image, center, rng):
    size, shape, away = len(image), _make_blank(image), rng.uniform(0, 2 * np.pi)
    reach = (SUPERSAMPLING * size * rng.uniform([0.25, 0.2], [0.5, 0.4])).astype(int).tolist()
    cv2.ellipse(shape, (SUPERSAMPLING * center).astype(int).tolist(), reach, np.degrees(away), 0, 360, 255, -1)
    _draw_line(shape, center, center + 2 * size * np.array([np.cos(away), np.sin(away)]), size * rng.uniform(0.3, 0.5))
    if rng.random() < 0.6:
        _draw_finger_lines(shape, center, away + np.pi + rng.normal(0, 0.5), int(rng.integers(1, 5)), 0.14 * size, rng)
    return shape, shade_shape(shape, draw_skin_color(image, rng), rng)


def _draw_microphone(image, center, rng):
    size, shape, reach = len(image), _make_blank(image), len(image) * rng.uniform(0.12, 0.4)
    cv2.circle(shape, (SUPERSAMPLING * center).astype(int).tolist(), int(SUPERSAMPLING * reach), 255, -1)
    away = rng.uniform(0, np.pi)  # its stem comes from below
    _draw_line(shape, center, center + 2 * size * np.array([np.cos(away), np.sin(away)]), reach * rng.uniform(0.4, 1.2))
    colors = shade_shape(shape, rng.uniform(10, 150) * rng.uniform(0.9, 1.1, 3), rng)
    y, x = np.mgrid[:size, :size] * rng.uniform(0.8, 3.0)
    stripes = np.asarray(1 + rng.uniform(0, 0.4) * np.sin(x) * np.sin(y), np.float32)
    return shape, colors * stripes[..., None]


def _draw_bar(image, center, rng):
    size, shape = len(image), _make_blank(image)
    sides = SUPERSAMPLING * size * rng.uniform([0.25, 0.12], [2.0, 0.6])
    box = cv2.boxPoints(((SUPERSAMPLING * center).tolist(), sides.tolist(), float(rng.uniform(0, 180))))
    cv2.fillPoly(shape, [box.astype(np.int32)], 255)
    return shape, draw_background(size, rng).astype(np.float32)


def _draw_piece(image, center, rng):
    size, shape, count = len(image), _make_blank(image), int(rng.integers(4, 9))
    turns = np.sort(rng.uniform(0, 2 * np.pi, count))
    corners = center + size * rng.uniform(0.15, 0.5, (count, 1)) * np.stack([np.cos(turns), np.sin(turns)], -1)
    cv2.fillPoly(shape, [(SUPERSAMPLING * corners).astype(np.int32)], 255)
    if rng.random() < 0.5:
        return shape, draw_background(size, rng).astype(np.float32)
    return shape, shade_shape(shape, draw_skin_color(image, rng), rng)


OCCLUDERS = [_draw_fingers, _draw_fingers, _draw_hand, _draw_microphone, _draw_bar, _draw_piece]
