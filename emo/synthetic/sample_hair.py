"""Hair, brows and lashes of the drawn head: thousands of strokes, lit as cylinders.

Strokes are points (N P 2) in the lengths of `emo.synthetic.sample_lighting`. Highlights follow Kajiya and Kay (1989):
strongest where a strand is perpendicular to the direction halfway between lamp and viewer.
"""

import cv2
import numpy as np

from emo.synthetic.sample_lighting import EYES, unit_pixels

PARTING = 0.16
# Paths of strands from the parting to the tip (columns), from the back of the crown to the hairline (rows)
STRAND_PATHS_X = [
    [0.00, 0.55, 1.08, 1.30, 1.36, 1.38, 1.46, 1.34],
    [0.00, 0.50, 0.98, 1.20, 1.27, 1.27, 1.28, 1.15],
    [0.00, 0.45, 0.86, 1.10, 1.17, 1.13, 1.06, 0.98],
    [0.00, 0.36, 0.74, 0.98, 1.06, 0.99, 0.88, 0.84],
]
STRAND_PATHS_Y = [
    [-1.63, -1.64, -1.25, -0.55, 0.30, 1.10, 1.75, 2.35],
    [-1.46, -1.47, -1.08, -0.45, 0.30, 1.10, 1.75, 2.40],
    [-1.22, -1.21, -0.95, -0.40, 0.30, 1.10, 1.75, 2.45],
    [-0.90, -0.92, -0.74, -0.32, 0.30, 1.05, 1.70, 2.40],
]
STRAND_PATHS = np.stack([STRAND_PATHS_X, STRAND_PATHS_Y], axis=-1)


def evaluate_spline(controls: np.ndarray, count: int) -> np.ndarray:
    """Evaluate uniform cubic B-splines.

    Args:
        controls: (N K 2) control points.
        count: Number of positions on each spline.

    Returns:
        (N count 2) points.
    """
    first, last = 2 * controls[:, :1] - controls[:, 1:2], 2 * controls[:, -1:] - controls[:, -2:-1]
    controls = np.concatenate([first, controls, last], axis=1)
    place = np.linspace(0, controls.shape[1] - 3 - 1e-6, count)
    at, t = place.astype(int), (place % 1)[:, None]
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    terms = [controls[:, at + i] * weight / 6 for i, weight in enumerate(weights)]
    return terms[0] + terms[1] + terms[2] + terms[3]


def make_hair(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make strands of hair, from back to front.

    Args:
        count: Number of strands N.
        random: Draws the strands.

    Returns:
        Strands (N P 2) in lengths, and their lightness (N,) around 1.
    """
    depth = np.sort(random.uniform(0, 1, count))
    row = depth * (len(STRAND_PATHS) - 1 - 1e-6)
    low, weight = row.astype(int), (row % 1)[:, None, None]
    paths = STRAND_PATHS[low] * (1 - weight) + STRAND_PATHS[low + 1] * weight
    side = random.choice([-1, 1], count)
    clump = np.floor(depth * 45) * 2 + side  # strands of a lock fall together
    lock = np.random.default_rng(5).standard_normal((200, paths.shape[1] + 1, 2))[clump.astype(int)]
    loose = np.linspace(0.15, 1, paths.shape[1])[:, None]
    paths = paths + loose * 0.035 * lock[:, 1:] + (0.3 + loose) * 0.018 * random.standard_normal(paths.shape)
    paths[..., 0] += 0.05 * loose[:, 0] * np.sin(4.5 * paths[..., 1] + 2 * lock[:, :1, 0])
    paths[:, -1, 1] += 0.12 * lock[:, 0, 0] + 0.08 * random.standard_normal(count)
    parting = PARTING + 0.03 * random.standard_normal(count)[:, None]
    paths[..., 0] = parting * np.linspace(1, 0, paths.shape[1]) ** 2 + side[:, None] * paths[..., 0]
    return evaluate_spline(paths, 40), 1 + 0.16 * lock[:, 0, 1] + 0.14 * random.standard_normal(count)


def make_brows(count: int, random: np.random.Generator) -> np.ndarray:
    """Make the short hairs of both brows.

    Args:
        count: Number of hairs N.
        random: Draws the hairs.

    Returns:
        (N P 2) strokes in lengths.
    """
    t, across = random.uniform(0, 1, count) ** 0.9, random.uniform(-1, 1, count)
    side = random.choice([-1, 1], count)
    x = 0.20 + 0.66 * t
    y = -0.285 - 0.090 * np.sin(np.pi * np.clip(t * 1.05, 0, 1) ** 1.45) + 0.02 * t
    thick = 0.036 * np.clip(t / 0.12, 0.45, 1) * (1 - 0.85 * np.clip((t - 0.45) / 0.55, 0, 1))
    lean = np.radians(68 - 62 * t**0.5 + 26 * t**2 * across + 7 * random.standard_normal(count))
    lean -= np.radians(30) * np.clip((t - 0.6) / 0.4, 0, 1)
    length = 0.085 * random.uniform(0.7, 1.1, count)
    root = np.stack([x, y + thick * across], axis=-1)
    tip = root + (length[:, None] * np.stack([np.cos(lean), -np.sin(lean)], axis=-1))
    bend = (root + tip) / 2 + [0.0, 0.012]
    strokes = evaluate_spline(np.stack([root, bend, tip], axis=1), 8)
    strokes[..., 0] *= side[:, None]
    return strokes


def make_lashes(lid: np.ndarray, length: float, count: int, random: np.random.Generator) -> np.ndarray:
    """Make the lashes of both eyes on a lid.

    Args:
        lid: (M 2) points of the lid, inner corner first.
        length: Length of a lash; negative ones point down.
        count: Number of lashes N.
        random: Draws the lashes.

    Returns:
        (N P 2) strokes in lengths.
    """
    place = random.uniform(0.06, 1, count) ** 0.85 * (len(lid) - 1)
    root = np.stack([np.interp(place, np.arange(len(lid)), column) for column in lid.T], axis=-1)
    t = place / len(lid)
    grown = length * (0.45 + 0.75 * t) * random.uniform(0.75, 1.1, count)
    out = 0.25 + 1.1 * (t - 0.35) + 0.15 * random.standard_normal(count)
    tip = root + np.stack([np.abs(grown) * out, -grown], axis=-1)
    bend = root + np.stack([np.abs(grown) * out * 0.7, -grown * 0.35], axis=-1)
    strokes = evaluate_spline(np.stack([root, bend, tip], axis=1), 8)
    strokes[..., 0] *= random.choice([-1, 1], count)[:, None]
    return strokes


def shade_hair(strands: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Compute the brightness along strands on an ellipsoid of hair.

    Args:
        strands: (N P 2) points in lengths.
        light: (3,) direction of the lamp.

    Returns:
        (N P) brightness.
    """
    hanging = np.log1p(np.exp(5 * (strands[..., 1] - 0.3))) / 5
    x, y = strands[..., 0] / 1.5, (strands[..., 1] - hanging + 0.05) / 1.75
    z = 1.25 * np.sqrt(np.clip(1 - x**2 - y**2, 0.02, 1))
    tangent = np.gradient(np.concatenate([strands, z[..., None]], axis=-1), axis=1)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-6
    normal = np.stack([x / 1.5, y / 1.75, z / 1.25**2], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    half = light / np.linalg.norm(light) + (0, -0.1, 1)
    across = 1 - (tangent @ (half / np.linalg.norm(half))) ** 2
    facing = np.clip(0.5 + 0.5 * normal @ light, 0.12, 1)
    facing *= 1 - 0.6 * np.exp(-np.linspace(0, 1, strands.shape[1]) / 0.04)  # the parting is in shadow
    return facing * (0.45 + 1.7 * across**16)


def to_pixels(points: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Convert points to pixels of a picture.

    Args:
        points: (... 2) positions in lengths.
        picture: (H W ...) array; only its size is used.

    Returns:
        (... 2) pixels.
    """
    return points * unit_pixels(picture) + np.array(EYES, np.float32) * len(picture)


def draw_strokes(picture: np.ndarray, strokes: np.ndarray, colors: np.ndarray, widths_pixels: np.ndarray) -> None:
    """Draw strokes into a picture, in place.

    Args:
        picture: (H W 3) uint8.
        strokes: (N P 2) points in lengths.
        colors: (N P 3) uint8.
        widths_pixels: (P,) widths along a stroke.
    """
    points = np.round(to_pixels(strokes, picture) * 16).astype(int)
    widths = np.maximum(np.round(widths_pixels), 1).astype(int).tolist()
    for stroke, color in zip(points.tolist(), colors.tolist(), strict=True):
        for start, end, tone, width in zip(stroke, stroke[1:], color, widths, strict=False):
            cv2.line(picture, start, end, tone, width, cv2.LINE_AA, 4)  # 4: coordinates are in sixteenths of a pixel
