"""Light on a height field: the grid, smooth shapes on it, two lamps and a sky, skin with subsurface scattering.

Lengths are in distances between the pupils (`unit_pixels`), origin between the eyes, x right, y down, z to the
viewer. Fields are (H W) float32 on a grid of SCALE times the picture's size; colors are linear RGB (H W 3).
"""

from dataclasses import dataclass

import cv2
import numpy as np

SIZE_PIXELS, SCALE = 512, 2
UNIT, EYES = 104 / 512, (256 / 512, 226 / 512)  # a length, and the point between the eyes, in sides of the picture

KEY = np.array([-0.50, -0.55, 0.67])  # direction of the lamp
FILL = np.array([0.75, -0.05, 0.66])
KEY_COLOR, FILL_COLOR, SKY_COLOR = (0.92, 0.87, 0.80), (0.34, 0.36, 0.40), (0.30, 0.30, 0.32)


@dataclass(frozen=True)
class Canvas:
    """The coordinates of a grid, and the generator of its noise."""

    x: np.ndarray
    y: np.ndarray
    random: np.random.Generator

    @classmethod
    def new(cls, seed: int, side: int = SIZE_PIXELS * SCALE) -> "Canvas":
        """Make a square grid.

        Args:
            seed: Seed of its random generator.
            side: Pixels on each side.

        Returns:
            The grid.
        """
        rows = np.arange(side, dtype=np.float32)
        x, y = np.meshgrid((rows - EYES[0] * side) / (UNIT * side), (rows - EYES[1] * side) / (UNIT * side))
        return cls(x, y, np.random.default_rng(seed))

    def noise(self, size: float) -> np.ndarray:
        """Smooth noise of unit power with a grain of `size` lengths."""
        noise = blur(self.random.standard_normal(self.x.shape).astype(np.float32), size)
        return noise / noise.std()


def unit_pixels(field: np.ndarray) -> float:
    """Pixels of one length in a field of the whole picture (H W ...)."""
    return UNIT * len(field)


def blur(field: np.ndarray, size: float) -> np.ndarray:
    """Blur by a Gaussian.

    Args:
        field: (H W) or (H W C).
        size: Standard deviation in lengths.

    Returns:
        The blurred field.
    """
    return cv2.GaussianBlur(field, (0, 0), max(size * unit_pixels(field), 0.3), borderType=cv2.BORDER_REPLICATE)


def interpolate_profile(profile: np.ndarray, at: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Interpolate a profile smoothly; it is 0 beyond its ends.

    Args:
        profile: (2 N) positions and values.
        at: Positions.
        power: 2 rounds the ends off.

    Returns:
        Values at the positions.
    """
    fine = np.linspace(profile[0, 0], profile[0, -1], 800)
    values = np.interp(fine, profile[0], profile[1] ** power)
    kernel = np.hanning(61) / np.hanning(61).sum()
    values = np.convolve(np.pad(values, 30, mode="reflect", reflect_type="odd"), kernel, "valid")
    return np.interp(at, fine, np.maximum(values, 0) ** (1 / power), left=0, right=0).astype(np.float32)


def smoothstep(field: np.ndarray, softness: float) -> np.ndarray:
    """Return a smooth step from 0 to 1 around 0.

    Args:
        field: Values.
        softness: Width of the step, lengths.

    Returns:
        Values from 0 to 1.
    """
    t = np.clip(field / softness + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def bump(c: Canvas, x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return a Gaussian at x and its mirror image at -x.

    Args:
        c: The grid.
        x: Center, lengths.
        y: Center, lengths.
        width: Horizontal standard deviation, lengths.
        height: Vertical standard deviation, lengths.

    Returns:
        (H W) values from 0 to 1.
    """
    return np.exp(-(((np.abs(c.x) - x) / width) ** 2 + ((c.y - y) / height) ** 2) / 2)


def mix(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate two colors.

    Args:
        low: (H W 3) or a color (3,): where the weight is 0.
        high: (H W 3) or a color (3,): where the weight is 1.
        weight: (H W) 0 to 1.

    Returns:
        (H W 3) colors.
    """
    return low + (np.asarray(high, np.float32) - low) * weight[..., None]


def compute_normals(height: np.ndarray) -> np.ndarray:
    """Unit normals (H W 3) of a height field."""
    down, right = np.gradient(height, 1 / unit_pixels(height))
    steep = np.maximum(np.hypot(down, right) / 2.5, 1)  # limits the slope at the silhouette
    down, right = down / steep, right / steep
    normal = np.stack([-right, -down, np.ones_like(height)], axis=-1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def cast_shadow(height: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Compute the soft shadow of a lamp on a height field.

    Args:
        height: (H W) heights in lengths.
        light: (3,) direction of the lamp.

    Returns:
        (H W) 1 where the lamp is visible, 0 where it is hidden.
    """
    clearance = np.full_like(height, 1.0)
    for distance in np.linspace(0.03, 0.8, 36):
        shift = -light[:2] * distance * unit_pixels(height)
        move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        there = cv2.warpAffine(height, move, height.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        clearance = np.minimum(clearance, (height + light[2] * distance - there) / (0.18 * distance) + 0.6)
    return np.clip(clearance, 0, 1)


def shade_skin(
    height: np.ndarray, albedo: np.ndarray, gloss: np.ndarray, shade: np.ndarray, lamp: np.ndarray = KEY
) -> np.ndarray:
    """Light skin by two lamps and a sky; light scatters below the surface, red the farthest.

    Args:
        height: (H W).
        albedo: (H W 3).
        gloss: (H W).
        shade: (H W) 1 where nothing outside the height field blocks the light.
        lamp: Direction of the key light.

    Returns:
        (H W 3) linear light.
    """
    normal = compute_normals(height)
    bent = np.stack([compute_normals(blur(height, size)) for size in (0.028, 0.018, 0.010)], axis=-2)  # (H W rgb 3)
    occlusion = np.clip(1 - 1.6 * np.maximum(blur(height, 0.07) - height, 0) / 0.07, 0.25, 1)
    occlusion *= np.clip(1 - 0.8 * np.maximum(blur(height, 0.2) - height, 0) / 0.2, 0.4, 1) * shade
    visible = cast_shadow(blur(height, 0.01), lamp) * shade**1.5
    wrap = np.array([0.38, 0.26, 0.20])
    key = np.clip((bent @ lamp / np.linalg.norm(lamp) + wrap) / (1 + wrap), 0, 1)
    key *= np.stack([blur(visible, size) for size in (0.035, 0.016, 0.008)], axis=-1)
    fill = np.clip((bent @ FILL / np.linalg.norm(FILL) + wrap) / (1 + wrap), 0, 1) * occlusion[..., None]
    sky = (0.65 - 0.35 * bent[..., 1]) * occlusion[..., None] ** np.array([0.7, 1.0, 1.1])
    light = key * KEY_COLOR + fill * FILL_COLOR + sky * SKY_COLOR
    half = lamp / np.linalg.norm(lamp) + (0, 0, 1)
    shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
    glow = gloss * visible * (0.22 * shine**14 + 0.20 * shine**60)
    return albedo * light + glow[..., None]


def tone_map(light: np.ndarray) -> np.ndarray:
    """Linear light (H W 3) -> uint8 sRGB with soft highlights."""
    light = np.maximum(light, 0)
    return np.round(255 * np.clip(light * (1 + 0.15 * light) / (1 + 0.25 * light), 0, 1) ** (1 / 2.2)).astype(np.uint8)
