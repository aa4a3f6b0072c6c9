"""Augment pictures - stylize, degrade, recolor, occlude, crop - and draw backgrounds without faces.

Images are (S S 3) uint8 RGB; all choices come from the rng.
"""

import string
from typing import cast

import cv2
import numpy as np

FONTS = [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX]


def augment_picture(image: np.ndarray, rng: np.random.Generator, occlude: bool = False) -> np.ndarray:
    """Augment a picture: style, colors, blur, noise and compression.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.
        occlude: Sometimes draw an object in front of it.

    Returns:
        (H W 3) uint8.
    """
    image = stylize(image, rng)
    if occlude and rng.random() < 0.25:
        image = occlude_with_patch(image, rng)
    return degrade(image, rng)


def stylize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make three of ten images look painted or drawn.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.

    Returns:
        (H W 3) uint8.
    """
    return STYLES[rng.integers(len(STYLES))](image, rng) if rng.random() < 0.3 else image


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Recolor an image, and degrade it as cameras, compression and time do.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.

    Returns:
        (H W 3) uint8.
    """
    image = recolor(image, rng)
    if rng.random() < 0.3:
        image = blur(image, rng)
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 18), (*image.shape[:2], rng.choice([1, 3])))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        image = compress_jpeg(image, rng)
    return image


def recolor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the colors of an image.

    Saturation from none to too much, a tint, yellowed varnish or candlelight, gamma, contrast, a light from one side.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.

    Returns:
        (H W 3) uint8.
    """
    image = image.astype(np.float32) / 255
    gray = image @ np.float32([0.3, 0.6, 0.1])
    saturation = 0.0 if rng.random() < 0.15 else rng.uniform(0.3, 1.5)
    image = gray[..., None] + (image - gray[..., None]) * np.float32(saturation)
    image = image * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    if rng.random() < 0.35:
        image = image * np.float32(rng.uniform(0.2, 0.9)) ** np.float32([0, 0.35, 1])
    if rng.random() < 0.3:
        across, direction = np.linspace(-1, 1, len(image), dtype=np.float32), rng.uniform(0, 2 * np.pi)
        slope = np.float32(np.cos(direction)) * across + np.float32(np.sin(direction)) * across[:, None]
        image = image * (1 + np.float32(rng.uniform(0.2, 0.8)) * slope)[..., None]
    image = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.35)))
    image = (image - 0.5) * np.float32(rng.uniform(0.5, 1.3)) + np.float32(0.5 + rng.normal(0, 0.08))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image, or enlarge it from fewer pixels.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.

    Returns:
        (H W 3) uint8.
    """
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0))
    size = int(len(image) * rng.uniform(0.25, 0.7))
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    direction = [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC][rng.integers(3)]
    return cv2.resize(small, image.shape[1::-1], interpolation=direction)


def compress_jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress an image as JPEG of quality 12 to 79.

    Args:
        image: (H W 3) uint8.
        rng: Source of the quality.

    Returns:
        (H W 3) uint8, decoded again.
    """
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 80))])
    return cast(np.ndarray, cv2.imdecode(coded, cv2.IMREAD_COLOR))  # None only for what is no picture


def occlude_with_patch(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a bar, a disc or a hand-sized patch of a background in front of an image.

    Args:
        image: (s s 3) uint8.
        rng: Source of the random choices.

    Returns:
        (s s 3) uint8.
    """
    size = len(image)
    shape = np.zeros((size, size), np.uint8)
    center, reach = rng.integers(0, size, 2).tolist(), rng.integers(size // 12, size // 4, 2).tolist()
    cv2.ellipse(shape, center, reach, rng.uniform(0, 180), 0, 360, 255, -1)
    if rng.random() < 0.4:
        shape = cv2.boundingRect(shape)
        x, y, width, height = shape
        shape = np.zeros((size, size), np.uint8)
        shape[y : y + height, x : x + width] = 255
    return np.where(shape[..., None] > 0, draw_background(size, rng), image)


def augment_crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random square out of an image, turned a little, perhaps mirrored, its colors changed.

    Args:
        image: (H W 3) uint8; the square is between half and all of its short side.
        size: Side of the result in pixels.
        rng: Source of all choices.

    Returns:
        (size size 3) uint8.
    """
    height, width = image.shape[:2]
    side = min(height, width) * rng.uniform(0.5, 1.0)
    x, y = rng.uniform(0, [width - side, height - side])
    matrix = cv2.getRotationMatrix2D((x + side / 2, y + side / 2), rng.normal(0, 8), size / side)
    matrix[:, 2] += [size / 2 - x - side / 2, size / 2 - y - side / 2]
    flags = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    square = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)
    square = square[:, ::-1] if rng.random() < 0.5 else square
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3)
    return np.clip(square * gain + rng.uniform(-25, 25), 0, 255).astype(np.uint8)


def _filter_style(image, rng):
    return cv2.stylization(image, sigma_s=float(rng.uniform(5, 40)), sigma_r=float(rng.uniform(0.2, 0.7)))


def _smooth_edges(image, rng):
    reach, contrast = float(rng.uniform(5, 40)), float(rng.uniform(0.1, 0.5))
    return cv2.edgePreservingFilter(image, flags=1, sigma_s=reach, sigma_r=contrast)


def _sketch(image, rng):
    drawings = cv2.pencilSketch(image, sigma_s=20, sigma_r=float(rng.uniform(0.05, 0.15)), shade_factor=0.04)
    drawing = drawings[rng.integers(2)]
    return cv2.cvtColor(drawing, cv2.COLOR_GRAY2RGB) if drawing.ndim == 2 else drawing


def _posterize(image, rng):
    levels = int(rng.integers(24, 64))
    return cv2.medianBlur((image // levels * levels + levels // 2).astype(np.uint8), int(rng.choice([3, 5])))


def _blur_median(image, rng):
    return cv2.medianBlur(image, int(rng.choice([3, 5])))


def _draw_contours(image, rng):
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    depth, kind = int(rng.integers(3, 9)), cv2.ADAPTIVE_THRESH_GAUSSIAN_C
    lines = cv2.adaptiveThreshold(gray, 255, kind, cv2.THRESH_BINARY, 9, depth)
    flat = image if rng.random() < 0.7 else np.full_like(image, 235)
    return np.minimum(cv2.bilateralFilter(flat, 5, 60, 5), lines[..., None])


def _add_canvas_grain(image, rng):
    grain = cv2.GaussianBlur(rng.normal(0, 60, image.shape[:2]), (0, 0), rng.uniform(0.5, 1.5))
    return np.clip(image + grain[..., None] * rng.uniform(0.3, 1.0), 0, 255).astype(np.uint8)


STYLES = [_filter_style, _smooth_edges, _sketch, _posterize, _blur_median, _draw_contours, _add_canvas_grain]


def draw_background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a background: plain, gradient, clouds, noise, stripes, shapes, writing, or two mixed.

    Args:
        size: Side, pixels.
        rng: Source of the random choices.

    Returns:
        (size size 3) uint8.
    """
    image = BACKGROUNDS[rng.integers(len(BACKGROUNDS))](size, rng)
    if rng.random() < 0.4:
        other = BACKGROUNDS[rng.integers(len(BACKGROUNDS))](size, rng)
        share = rng.uniform(0.2, 0.8)
        if rng.random() < 0.5:
            share = _draw_clouds(size, rng)[..., :1] / np.float32(255)
        image = (image * share + other * (1 - share)).astype(np.uint8)
    return image


def _choose_color(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, 3)


def _draw_plain(size, rng):
    return np.broadcast_to(_choose_color(rng).astype(np.uint8), (size, size, 3)).copy()


def _draw_gradient(size, rng):
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    return cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)


def _draw_clouds(size, rng):
    cells = int(rng.integers(2, size // 2))
    coarse = rng.integers(0, 256, (cells, cells, 3 if rng.random() < 0.5 else 1)).astype(np.uint8)
    direction = cv2.INTER_NEAREST if rng.random() < 0.2 else cv2.INTER_CUBIC
    image = cv2.resize(coarse, (size, size), interpolation=direction)
    return np.broadcast_to(image.reshape(size, size, -1), (size, size, 3)).copy()


def _draw_waves(size, rng):
    y, x = np.mgrid[:size, :size] / size
    total = np.zeros((size, size))
    for _ in range(rng.integers(1, 4)):
        fx, fy = rng.normal(0, rng.uniform(2, 25), 2)
        total += np.sin(2 * np.pi * (fx * x + fy * y + rng.random()))
    if rng.random() < 0.4:
        total = np.sign(total)
    share = (np.clip(total, -1, 1)[..., None] + 1) / 2
    return (share * _choose_color(rng) + (1 - share) * _choose_color(rng)).astype(np.uint8)


def _draw_shapes(size, rng):
    image = _draw_gradient(size, rng)
    for _ in range(rng.integers(2, 25)):
        a, b = rng.integers(-size // 4, size * 5 // 4, (2, 2)).tolist()
        color, line = _choose_color(rng).tolist(), int(rng.choice([-1, 1, 3]))
        kind = rng.integers(4)
        if kind == 0:
            cv2.rectangle(image, a, b, color, line)
        elif kind == 1:
            cv2.line(image, a, b, color, int(rng.integers(1, 6)))
        elif kind == 2:
            reach, turn = rng.integers(2, size // 3, 2).tolist(), rng.uniform(0, 180)
            cv2.ellipse(image, a, reach, turn, 0, 360, color, line)
        else:
            corners = rng.integers(-size // 4, size * 5 // 4, (rng.integers(3, 7), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], color)
    return image


def _draw_writing(size, rng):
    image = _draw_plain(size, rng) if rng.random() < 0.6 else _draw_gradient(size, rng)
    scale, font, ink = rng.uniform(0.25, 1.5), FONTS[rng.integers(len(FONTS))], _choose_color(rng).tolist()
    weight, height = int(rng.integers(1, 3)), int(8 + 25 * scale * rng.uniform(0.8, 1.3))
    letters = list(string.ascii_letters + string.digits + "    .,")
    for y in range(int(rng.integers(0, 12)), size + 20, height):
        line = "".join(rng.choice(letters, 24))
        cv2.putText(image, line, (-int(rng.integers(20)), y), font, scale, ink, weight, cv2.LINE_AA)
    return image


def _draw_noise(size, rng):
    values = rng.normal(rng.uniform(60, 200), rng.uniform(10, 90), (size, size, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


BACKGROUNDS = [
    _draw_plain,
    _draw_gradient,
    _draw_clouds,
    _draw_clouds,
    _draw_waves,
    _draw_shapes,
    _draw_shapes,
    _draw_writing,
    _draw_noise,
]
