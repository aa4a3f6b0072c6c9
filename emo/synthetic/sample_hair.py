"""Hair, brows and lashes of the sample portrait: thousands of drawn strokes, lit as cylinders.

Strokes are (N P 2) points in the units of `emo.synthetic.sample_lighting`. Hair shines after Kajiya and Kay (1989):
most where the strand lies across the half-way direction between lamp and viewer.
"""

import cv2
import numpy as np

from emo.synthetic.sample_lighting import EYES, unit_pixels

PARTING = 0.16
# Ways of a strand from the parting to its tip (columns), from the back of the crown to the hairline (rows)
WAYS_X = [
    [0.00, 0.55, 1.08, 1.30, 1.36, 1.38, 1.46, 1.34],
    [0.00, 0.50, 0.98, 1.20, 1.27, 1.27, 1.28, 1.15],
    [0.00, 0.45, 0.86, 1.10, 1.17, 1.13, 1.06, 0.98],
    [0.00, 0.36, 0.74, 0.98, 1.06, 0.99, 0.88, 0.84],
]
WAYS_Y = [
    [-1.63, -1.64, -1.25, -0.55, 0.30, 1.10, 1.75, 2.35],
    [-1.46, -1.47, -1.08, -0.45, 0.30, 1.10, 1.75, 2.40],
    [-1.22, -1.21, -0.95, -0.40, 0.30, 1.10, 1.75, 2.45],
    [-0.90, -0.92, -0.74, -0.32, 0.30, 1.05, 1.70, 2.40],
]
WAYS = np.stack([WAYS_X, WAYS_Y], axis=-1)


def spline(controls: np.ndarray, count: int) -> np.ndarray:
    """(N K 2) control points -> (N count 2) of a uniform cubic B-spline between the outer ones."""
    first, last = 2 * controls[:, :1] - controls[:, 1:2], 2 * controls[:, -1:] - controls[:, -2:-1]
    controls = np.concatenate([first, controls, last], axis=1)
    place = np.linspace(0, controls.shape[1] - 3 - 1e-6, count)
    at, t = place.astype(int), (place % 1)[:, None]
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return sum(controls[:, at + i] * weight / 6 for i, weight in enumerate(weights))


def hair(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(N P 2) strands from back to front, (N) their lightness around 1."""
    depth = np.sort(random.uniform(0, 1, count))
    row = depth * (len(WAYS) - 1 - 1e-6)
    low, weight = row.astype(int), (row % 1)[:, None, None]
    ways = WAYS[low] * (1 - weight) + WAYS[low + 1] * weight
    side = random.choice([-1, 1], count)
    clump = np.floor(depth * 45) * 2 + side  # strands of a lock go together
    lock = np.random.default_rng(5).standard_normal((200, ways.shape[1] + 1, 2))[clump.astype(int)]
    loose = np.linspace(0.15, 1, ways.shape[1])[:, None]
    ways = ways + loose * 0.035 * lock[:, 1:] + (0.3 + loose) * 0.018 * random.standard_normal(ways.shape)
    ways[..., 0] += 0.05 * loose[:, 0] * np.sin(4.5 * ways[..., 1] + 2 * lock[:, :1, 0])
    ways[:, -1, 1] += 0.12 * lock[:, 0, 0] + 0.08 * random.standard_normal(count)
    parting = PARTING + 0.03 * random.standard_normal(count)[:, None]
    ways[..., 0] = parting * np.linspace(1, 0, ways.shape[1]) ** 2 + side[:, None] * ways[..., 0]
    return spline(ways, 40), 1 + 0.16 * lock[:, 0, 1] + 0.14 * random.standard_normal(count)


def brows(count: int, random: np.random.Generator) -> np.ndarray:
    """(N P 2) short hairs of both brows."""
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
    strokes = spline(np.stack([root, bend, tip], axis=1), 8)
    strokes[..., 0] *= side[:, None]
    return strokes


def lashes(lid: np.ndarray, length: float, count: int, random: np.random.Generator) -> np.ndarray:
    """(N P 2) lashes of both eyes on (M 2) points of a lid, inner corner first; a negative length hangs."""
    place = random.uniform(0.06, 1, count) ** 0.85 * (len(lid) - 1)
    root = np.stack([np.interp(place, np.arange(len(lid)), column) for column in lid.T], axis=-1)
    t = place / len(lid)
    grown = length * (0.45 + 0.75 * t) * random.uniform(0.75, 1.1, count)
    out = 0.25 + 1.1 * (t - 0.35) + 0.15 * random.standard_normal(count)
    tip = root + np.stack([np.abs(grown) * out, -grown], axis=-1)
    bend = root + np.stack([np.abs(grown) * out * 0.7, -grown * 0.35], axis=-1)
    strokes = spline(np.stack([root, bend, tip], axis=1), 8)
    strokes[..., 0] *= random.choice([-1, 1], count)[:, None]
    return strokes


def shine(strands: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(N P) brightness along strands that lie on an egg of hair."""
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
    facing *= 1 - 0.6 * np.exp(-np.linspace(0, 1, strands.shape[1]) / 0.04)  # the parting lies deep
    return facing * (0.45 + 1.7 * across**16)


def places(points: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Points (... 2) in pixels of the picture."""
    return points * unit_pixels(picture) + np.array(EYES, np.float32) * len(picture)


def draw(picture: np.ndarray, strokes: np.ndarray, colours: np.ndarray, widths_pixels: np.ndarray) -> None:
    """Draws (N P 2) strokes with (N P 3) uint8 colours and (P) widths into a uint8 picture, in place."""
    points = np.round(places(strokes, picture) * 16).astype(int)
    widths = np.maximum(np.round(widths_pixels), 1).astype(int).tolist()
    for stroke, colour in zip(points.tolist(), colours.tolist(), strict=True):
        for start, end, tone, width in zip(stroke, stroke[1:], colour, widths, strict=False):
            cv2.line(picture, start, end, tone, width, cv2.LINE_AA, 4)  # 4: sixteenths of a pixel
