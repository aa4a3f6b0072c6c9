"""The mouth of the drawn head: how the face goes when it opens, and what is seen between the lips.

Lengths are those of `emo.data.sample_light`; opening is 0 .. 1.
"""

import numpy as np

from emo.data.sample_face import mouth_lines
from emo.data.sample_light import Canvas, develop, mix, step

LOWER_LIP, UPPER_LIP, CHIN = 0.30, 0.09, 0.15  # how far they go when the mouth is wide open


def parted(x: np.ndarray, opening: float) -> tuple[np.ndarray, ...]:
    """y of the lips' seam, and how far upper lip, lower lip and jaw go from it at x."""
    _, middle, _, taper = mouth_lines(Canvas(x, np.zeros_like(x), None))
    arch, jaw = taper**0.6, np.clip(1 - x**2, 0, 1) ** 2
    return middle, opening * UPPER_LIP * arch, opening * LOWER_LIP * arch, opening * CHIN * jaw


def lips_to_rest(points: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (N 2) of the face with its mouth open -> with it closed; and which lie between the lips."""
    x, y = points[..., 0], points[..., 1]
    middle, up, down, jaw = parted(x, opening)
    above, below = middle - up - y, y - middle - down
    lower = middle + below + (down - jaw) * step(below / 0.6 - 0.5, 1)
    upper = middle - above - up * step(above / 0.3 - 0.5, 1)
    return np.stack([x, np.where(below >= 0, lower, np.where(above >= 0, upper, middle))], -1), (above < 0) & (
        below < 0
    )


def lips_apart(points: np.ndarray, opening: float, side: np.ndarray) -> np.ndarray:
    """Points (N 2) of the face at rest -> with the mouth open; side: (N,) -1 of the upper lip, 1 of the lower, 0 the
    corners."""
    x, y = points[..., 0], points[..., 1]
    middle, up, down, jaw = parted(x, opening)
    above = below = np.abs(y - middle)
    for _ in range(25):
        below = np.abs(y - middle) - (down - jaw) * step(below / 0.6 - 0.5, 1)
        above = np.abs(y - middle) - up * step(above / 0.3 - 0.5, 1)
    moved = np.where(side > 0, middle + down + below, middle - up - above)
    return np.stack([x, np.where(side == 0, middle + (down - up) / 2, moved)], -1)


def mouth_inside(points: np.ndarray, opening: float) -> np.ndarray:
    """(H W 3) sRGB of what is seen between the lips at points (H W 2)."""
    x, y = points[..., 0], points[..., 1]
    middle, up, down, _ = parted(x, opening)
    colour = np.broadcast_to(np.float32([0.06, 0.012, 0.012]), (*x.shape, 3))
    tongue = step(0.8 - (x / 0.27) ** 2 - ((y - middle - down) / (0.10 + 0.10 * opening)) ** 2, 0.6)
    colour = mix(colour, (0.36, 0.09, 0.085), 0.8 * tongue)
    gums = 0.75 + 0.25 * np.abs(np.sin(x * np.pi / 0.105))
    for edge, side in [(middle + 0.045 - 0.1 * x**2, 1), (middle + down - 0.035 + 0.12 * x**2, -1)]:
        tooth = step(side * (edge - y), 0.02) * step(0.31 - np.abs(x), 0.06)
        tone = (gums * (1 - 1.6 * np.abs(x)) * (1 if side > 0 else 0.7))[..., None] * [0.62, 0.57, 0.50]
        colour = mix(colour, tone, 0.95 * tooth)
    shade = 0.35 + 0.65 * step(y - middle + up - 0.02, 0.08)
    return develop(colour * shade[..., None]).astype(np.float32)
