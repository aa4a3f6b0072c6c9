"""A photograph as a texture: the portrait's square with a margin, sampled at positions in sides of the square."""

from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 0.25  # of the canvas around the portrait, in sides of the portrait


@dataclass(frozen=True)
class PhotoTexture:
    """The portrait's square of `size` pixels, and MARGIN sides around it: the canvas (C C).

    Attributes:
        canvas: (C C 3) uint8.
        size: Size of the portrait, pixels.
        border: The margin, pixels.
    """

    canvas: np.ndarray
    size: int
    border: int

    @classmethod
    def build(cls, image: np.ndarray, box: tuple[float, float, float, float], size: int) -> "PhotoTexture":
        """Cut a square out of a picture; beyond the picture its border is repeated and blurred.

        Args:
            image: (H W 3) uint8.
            box: (x0, y0, x1, y1) pixels, a square.
            size: Size of the portrait, pixels.

        Returns:
            The texture.
        """
        border = round(MARGIN * size)
        scale = size / (box[2] - box[0])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        factor = max(scale, 1.0)  # by which warpAffine enlarges
        x0, y0 = box[0] * scale / factor, box[1] * scale / factor
        side = size + 2 * border
        matrix = np.array([[factor, 0, border - x0 * factor], [0, factor, border - y0 * factor]])
        matrix[:, 2] += 0.5 * factor - 0.5  # warpAffine counts from pixels' centers
        interpolation = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_LINEAR
        canvas = cv2.warpAffine(image, matrix, (side, side), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, (side, side)) > 254
        if not inside.all():
            soft = cv2.GaussianBlur(canvas, (0, 0), size / 24)
            distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
            mix = np.clip(distance / (size / 12), 0, 1)[..., None]
            canvas = np.uint8(canvas * (1 - mix) + soft * mix + 0.5)
        return cls(canvas, size, border)

    @property
    def portrait(self) -> np.ndarray:
        """The square itself, (size size 3) uint8."""
        return self.canvas[self.border : -self.border, self.border : -self.border].copy()

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """Positions (... 2) in sides -> pixel indices of the canvas, integers at the centers of pixels."""
        return positions * np.float32(self.size) + np.float32(self.border - 0.5)

    def sample(self, positions: np.ndarray, canvas: np.ndarray | None = None) -> np.ndarray:
        """Sample colors.

        Args:
            positions: (h w 2) in sides of the portrait.
            canvas: Another canvas of the same size; None: this one.

        Returns:
            (h w C) colors.
        """
        at = np.float32(self.pixels(positions))
        source = self.canvas if canvas is None else canvas
        flags = cv2.INTER_CUBIC if source.dtype == np.uint8 else cv2.INTER_LINEAR
        return sample_pixels(source, at, flags)

    def mean_color(self, positions: np.ndarray) -> np.ndarray:
        """Mean color (3,) of small discs around positions (N 2)."""
        soft = cv2.GaussianBlur(self.canvas, (0, 0), self.size / 128)
        at = np.clip(np.round(self.pixels(positions)).astype(int), 0, self.canvas.shape[0] - 1)
        return soft[at[:, 1], at[:, 0]].mean(0)

    def bright_color(self, polygon: np.ndarray, percentile: float) -> np.ndarray:
        """Return the mean color of the brightest pixels in a polygon.

        Args:
            polygon: (N 2) corners, sides.
            percentile: Percentile of brightness above which pixels count.

        Returns:
            (3,) color, 0 to 255.
        """
        mask = np.zeros(self.canvas.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(self.pixels(polygon)).astype(np.int32)], 1)
        colors = self.canvas[mask > 0].astype(np.float32)
        if len(colors) == 0:
            return self.mean_color(polygon.mean(0, keepdims=True))
        bright = colors.mean(1)
        return colors[bright >= np.percentile(bright, percentile)].mean(0)


def sample_pixels(image: np.ndarray, pixels: np.ndarray, interpolation: int) -> np.ndarray:
    """Sample an image beyond whose border its edge is repeated.

    Args:
        image: (H W C) uint8 or float32.
        pixels: (h w 2) float32 x and y, integers at the centers of pixels.
        interpolation: Interpolation of OpenCV.

    Returns:
        (h w C) of the image's type.
    """
    x, y = cv2.split(pixels)
    return cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
