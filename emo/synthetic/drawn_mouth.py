"""The mouth of the drawn head: how the face moves when it opens, and what is visible between the lips.

Lengths are those of `emo.synthetic.sample_lighting`; an opening is 0 (closed) .. 1 (as wide as speech opens it).
"""

import numpy as np

from emo.synthetic.sample_lighting import Canvas, mix, smoothstep, tone_map
from emo.synthetic.sample_portrait import get_mouth_lines

LOWER_LIP, UPPER_LIP, CHIN = 0.30, 0.09, 0.15  # how far they move when the mouth is wide open
FIXED_POINT_STEPS = 25  # in which the movement of the lips is inverted


def compute_lip_opening(x: np.ndarray, opening: float) -> tuple[np.ndarray, ...]:
    """Compute how far the lips and the jaw move at positions across the mouth.

    Args:
        x: Horizontal positions in lengths.
        opening: Opening of the mouth, 0 closed to 1.

    Returns:
        The y of the closed lips' seam, and the distances of upper lip, lower lip and jaw from it.
    """
    _, seam, _, taper = get_mouth_lines(Canvas(x, np.zeros_like(x), None))
    arch, jaw = taper**0.6, np.clip(1 - x**2, 0, 1) ** 2
    return seam, opening * UPPER_LIP * arch, opening * LOWER_LIP * arch, opening * CHIN * jaw


def close_lips(points: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Map points of a face with an open mouth to the same face with a closed one.

    Args:
        points: (... 2).
        opening: Opening of the mouth.

    Returns:
        The points (... 2), and which of them lie between the lips (...).
    """
    x, y = points[..., 0], points[..., 1]
    seam, up, down, jaw = compute_lip_opening(x, opening)
    above, below = seam - up - y, y - seam - down
    lower = seam + below + (down - jaw) * smoothstep(below / 0.6 - 0.5, 1)
    upper = seam - above - up * smoothstep(above / 0.3 - 0.5, 1)
    closed_y = np.where(below >= 0, lower, np.where(above >= 0, upper, seam))
    return np.stack([x, closed_y], -1), (above < 0) & (below < 0)


def open_lips(points: np.ndarray, opening: float, lip: np.ndarray) -> np.ndarray:
    """Map points of a face with a closed mouth to the same face with an open one: the inverse of `close_lips`.

    Args:
        points: (N 2).
        opening: Opening of the mouth.
        lip: (N,) -1 for points of the upper lip and above, 1 for the lower lip and below, 0 for the corners.

    Returns:
        The points (N 2).
    """
    x, y = points[..., 0], points[..., 1]
    seam, up, down, jaw = compute_lip_opening(x, opening)
    above = below = np.abs(y - seam)
    for _ in range(FIXED_POINT_STEPS):
        below = np.abs(y - seam) - (down - jaw) * smoothstep(below / 0.6 - 0.5, 1)
        above = np.abs(y - seam) - up * smoothstep(above / 0.3 - 0.5, 1)
    moved = np.where(lip > 0, seam + down + below, seam - up - above)
    return np.stack([x, np.where(lip == 0, seam + (down - up) / 2, moved)], -1)


def paint_mouth_interior(points: np.ndarray, opening: float) -> np.ndarray:
    """Paint tongue and teeth.

    Args:
        points: (H W 2) positions in lengths.
        opening: Opening of the mouth, 0 closed to 1.

    Returns:
        (H W 3) float32 sRGB.
    """
    x, y = points[..., 0], points[..., 1]
    seam, up, down, _ = compute_lip_opening(x, opening)
    color = np.broadcast_to(np.asarray([0.06, 0.012, 0.012], np.float32), (*x.shape, 3))
    tongue = smoothstep(0.8 - (x / 0.27) ** 2 - ((y - seam - down) / (0.10 + 0.10 * opening)) ** 2, 0.6)
    color = mix(color, (0.36, 0.09, 0.085), 0.8 * tongue)
    gaps = 0.75 + 0.25 * np.abs(np.sin(x * np.pi / 0.105))  # between the teeth
    for edge, side in [(seam + 0.045 - 0.1 * x**2, 1), (seam + down - 0.035 + 0.12 * x**2, -1)]:
        tooth = smoothstep(side * (edge - y), 0.02) * smoothstep(0.31 - np.abs(x), 0.06)
        tone = (gaps * (1 - 1.6 * np.abs(x)) * (1 if side > 0 else 0.7))[..., None] * [0.62, 0.57, 0.50]
        color = mix(color, tone, 0.95 * tooth)
    shade = 0.35 + 0.65 * smoothstep(y - seam + up - 0.02, 0.08)
    return tone_map(color * shade[..., None]).astype(np.float32)
