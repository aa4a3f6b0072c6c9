"""A height field under two lamps and a sky: the grid, smooth shapes on it, skin that light bleeds into.

Lengths are in distances between the pupils (`unit_pixels`), origin between the eyes, x right, y down, z to the
viewer. Fields are (H W) float32 on a grid of SCALE times the picture's size; colours are linear RGB (H W 3).
"""

from dataclasses import dataclass

import cv2
import numpy as np

SIZE_PIXELS, SCALE = 512, 2
UNIT, EYES = 104 / 512, (256 / 512, 226 / 512)  # a unit, and the place between the eyes, in sides of the picture

KEY = np.array([-0.50, -0.55, 0.67])  # towards the lamp
FILL = np.array([0.75, -0.05, 0.66])
KEY_COLOUR, FILL_COLOUR, SKY_COLOUR = (0.92, 0.87, 0.80), (0.34, 0.36, 0.40), (0.30, 0.30, 0.32)


@dataclass(frozen=True)
class Canvas:
    """The grid, and noise that every part shares."""

    x: np.ndarray
    y: np.ndarray
    random: np.random.Generator

    @classmethod
    def new(cls, seed: int, side: int = SIZE_PIXELS * SCALE) -> "Canvas":
        """side: pixels of the grid."""
        rows = np.arange(side, dtype=np.float32)
        x, y = np.meshgrid((rows - EYES[0] * side) / (UNIT * side), (rows - EYES[1] * side) / (UNIT * side))
        return cls(x, y, np.random.default_rng(seed))

    def noise(self, size: float) -> np.ndarray:
        """Smooth noise of unit power, its grain `size` units wide."""
        noise = blur(self.random.standard_normal(self.x.shape).astype(np.float32), size)
        return noise / noise.std()


def unit_pixels(field: np.ndarray) -> float:
    """How many pixels of a field of the whole picture (H W ...) a unit is long."""
    return UNIT * len(field)


def blur(field: np.ndarray, size: float) -> np.ndarray:
    return cv2.GaussianBlur(field, (0, 0), max(size * unit_pixels(field), 0.3), borderType=cv2.BORDER_REPLICATE)


def curve(profile: np.ndarray, at: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Smooth interpolation of (2 N) places and values, 0 beyond them; `power` 2 makes ends round."""
    fine = np.linspace(profile[0, 0], profile[0, -1], 800)
    values = np.interp(fine, profile[0], profile[1] ** power)
    kernel = np.hanning(61) / np.hanning(61).sum()
    values = np.convolve(np.pad(values, 30, mode="reflect", reflect_type="odd"), kernel, "valid")
    return np.interp(at, fine, np.maximum(values, 0) ** (1 / power), left=0, right=0).astype(np.float32)


def step(field: np.ndarray, softness: float) -> np.ndarray:
    """0 to 1 over `softness` units around 0."""
    t = np.clip(field / softness + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def bump(c: Canvas, x: float, y: float, width: float, height: float) -> np.ndarray:
    """A Gaussian at x and at -x."""
    return np.exp(-(((np.abs(c.x) - x) / width) ** 2 + ((c.y - y) / height) ** 2) / 2)


def mix(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(H W 3) colours mixed by a (H W) weight."""
    return low + (np.asarray(high, np.float32) - low) * weight[..., None]


def normals(height: np.ndarray) -> np.ndarray:
    """(H W 3) unit normals of a height field."""
    down, right = np.gradient(height, 1 / unit_pixels(height))
    steep = np.maximum(np.hypot(down, right) / 2.5, 1)  # the rim of a silhouette has no end
    down, right = down / steep, right / steep
    normal = np.stack([-right, -down, np.ones_like(height)], axis=-1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def cast_shadow(height: np.ndarray, light: np.ndarray) -> np.ndarray:
    """1 where the lamp is seen, soft to 0 behind what stands in its way."""
    clearance = np.full_like(height, 1.0)
    for distance in np.linspace(0.03, 0.8, 36):
        shift = -light[:2] * distance * unit_pixels(height)
        move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
        there = cv2.warpAffine(height, move, height.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        clearance = np.minimum(clearance, (height + light[2] * distance - there) / (0.18 * distance) + 0.6)
    return np.clip(clearance, 0, 1)


def light_up(
    height: np.ndarray, albedo: np.ndarray, gloss: np.ndarray, shade: np.ndarray, lamp: np.ndarray = KEY
) -> np.ndarray:
    """(H W 3) skin under two lamps and a sky: light bleeds under the skin, red the farthest. lamp: where it lies."""
    normal = normals(height)
    bent = np.stack([normals(blur(height, size)) for size in (0.028, 0.018, 0.010)], axis=-2)  # (H W rgb 3)
    occlusion = np.clip(1 - 1.6 * np.maximum(blur(height, 0.07) - height, 0) / 0.07, 0.25, 1)
    occlusion *= np.clip(1 - 0.8 * np.maximum(blur(height, 0.2) - height, 0) / 0.2, 0.4, 1) * shade
    seen = cast_shadow(blur(height, 0.01), lamp) * shade**1.5
    wrap = np.array([0.38, 0.26, 0.20])
    key = np.clip((bent @ lamp / np.linalg.norm(lamp) + wrap) / (1 + wrap), 0, 1)
    key *= np.stack([blur(seen, size) for size in (0.035, 0.016, 0.008)], axis=-1)
    fill = np.clip((bent @ FILL / np.linalg.norm(FILL) + wrap) / (1 + wrap), 0, 1) * occlusion[..., None]
    sky = (0.65 - 0.35 * bent[..., 1]) * occlusion[..., None] ** np.array([0.7, 1.0, 1.1])
    light = key * KEY_COLOUR + fill * FILL_COLOUR + sky * SKY_COLOUR
    half = lamp / np.linalg.norm(lamp) + (0, 0, 1)
    shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
    glow = gloss * seen * (0.22 * shine**14 + 0.20 * shine**60)
    return albedo * light + glow[..., None]


def develop(light: np.ndarray) -> np.ndarray:
    """(H W 3) uint8 sRGB of linear light, highlights rolled off."""
    light = np.maximum(light, 0)
    return np.round(255 * np.clip(light * (1 + 0.15 * light) / (1 + 0.25 * light), 0, 1) ** (1 / 2.2)).astype(np.uint8)
