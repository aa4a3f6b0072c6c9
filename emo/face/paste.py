"""Paste animated squares back into the picture they were cut from; limit their colors to those of the portrait."""

from math import ceil

import cv2
import numpy as np

from emo.face.crop import Region, covered_box, to_pixel_indices

DARK_LEVELS = np.float32(4)  # of 255, added before colors are compared: the color of what is nearly black is noise
LIT_RATIO = 0.4  # of the largest luma nearby: darker pixels are left out of the color range, as their color is noise
LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
BORDER, EDGE = 0.04, 0.12  # in sides: the mask of a pasted square is 0 outside of BORDER and 1 inside of EDGE
STILL_LEVELS, MOVED_LEVELS = 5.0, 20.0  # differences, in gray levels, that keep and that replace the picture's detail


def lift_dark(image: np.ndarray) -> np.ndarray:
    """Add DARK_LEVELS to an image (s s 3) uint8; returns float32."""
    return image.astype(np.float32) + DARK_LEVELS


def chromaticity(colors: np.ndarray) -> np.ndarray:
    """Compute the shares of red, green and blue in each pixel, which sum to 1: (s s 3) float32 -> (s s 3)."""
    return cv2.divide(colors, cv2.merge([cv2.transform(colors, np.ones((1, 3), np.float32))] * 3))


def disc(radius_pixels: float) -> np.ndarray:
    """Return the structuring element that covers all pixels up to a distance from the middle.

    Args:
        radius_pixels: The distance.

    Returns:
        (2 r + 1, 2 r + 1) uint8.
    """
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(radius_pixels) + 1,) * 2)


class ColorLimiter:
    """Limits the colors of generated frames to those that the portrait has nearby.

    The range of each pixel's chromaticity is that of the lit pixels around it in the portrait, blurred against grain.
    Light is left as it is. A frame that equals the portrait stays bit-equal.

    Args:
        portrait: (s s 3) uint8, the square that is animated.
        reach: Radius around a pixel within which the portrait's colors count, in sides of the square.
    """

    def __init__(self, portrait: np.ndarray, reach: float):
        pixels = reach * len(portrait)
        near, far = disc(pixels), disc(2 * pixels)
        lifted = lift_dark(portrait)
        self.light = cv2.transform(lifted, LUMA)
        lit = (self.light >= LIT_RATIO * cv2.dilate(self.light, far))[..., None]
        colors = chromaticity(cv2.GaussianBlur(lifted * lit, (0, 0), pixels / 4))
        self.low = cv2.erode(np.where(lit, colors, np.float32(1)), near)
        self.high = cv2.dilate(np.where(lit, colors, np.float32(0)), near)
        unlimited = self.low > self.high  # no lit pixel is near
        self.low[unlimited], self.high[unlimited] = 0, 1
        self.residual = portrait - self.limit_chromaticity(lifted, self.light)

    def limit_chromaticity(self, lifted: np.ndarray, light: np.ndarray) -> np.ndarray:
        """Limit the colors of an image and give it a luma.

        Args:
            lifted: (s s 3) float32, an image of `lift_dark`.
            light: (s s) float32, the luma of the result.

        Returns:
            (s s 3) float32.
        """
        colors = cv2.min(cv2.max(chromaticity(lifted), self.low), self.high)
        return colors * cv2.divide(light, cv2.transform(colors, LUMA))[..., None] - DARK_LEVELS

    def limit(self, frame: np.ndarray) -> np.ndarray:
        """Limit the colors of a frame (s s 3) uint8.

        The difference that the limit makes to the portrait itself is added back, weighted by how alike the luma is.
        """
        lifted = lift_dark(frame)
        light = cv2.transform(lifted, LUMA)
        similarity = cv2.divide(cv2.min(light, self.light), cv2.max(light, self.light))
        residual = self.residual * similarity[..., None]
        return np.clip(np.rint(self.limit_chromaticity(lifted, light) + residual), 0, 255).astype(np.uint8)


def border_mask(size: int, edge: tuple[float, float] = (BORDER, EDGE)) -> np.ndarray:
    """Draw a mask that is 0 in a ring along the border, 1 in the middle, and smooth between.

    Args:
        size: Side of the mask, pixels.
        edge: Distances from the border, in sides, where the mask starts to rise and where it is 1.

    Returns:
        (size size) float32.
    """
    position = (np.arange(size) + 0.5) / size
    depth = np.minimum(position, 1 - position)
    ramp = _smoothstep((depth - edge[0]) / (edge[1] - edge[0])).astype(np.float32)
    return ramp[:, None] * ramp[None, :]


class Paster:
    """Pastes frames of a region back into the picture they were cut from.

    What is added to the picture is frame - reference, so a frame equal to the reference gives back the picture bit by
    bit. Where the frame moves away from the reference by a share `a`, that share of the picture's own detail goes:

        out = frame + (image - reference) * (1 - a) = image + (frame - reference) - (image - reference) * a

    Only the window around the region is computed, in buffers that are used again for every frame.

    Args:
        image: (H W 3) uint8, the whole picture.
        region: The square that is animated.
        reference: (size size 3) uint8, the model's own reconstruction of the untouched square.
        edge: Distances from the square's border, in sides, at which frames start to show and at which only they show.
    """

    def __init__(
        self, image: np.ndarray, region: Region, reference: np.ndarray, edge: tuple[float, float] = (BORDER, EDGE)
    ):
        self.image, self.reference = image, reference.astype(np.float32)
        self.drawn_size = max(1, ceil(region.side))
        x0, y0, x1, y1 = covered_box(region.matrix(1), image.shape[1], image.shape[0])
        self.window = slice(y0, y1), slice(x0, x1)
        to_window = region.matrix(self.drawn_size) - np.array([[0, 0, x0], [0, 0, y0]])
        self.matrix, self.shape = to_pixel_indices(to_window), (x1 - x0, y1 - y0)
        self.portrait = image[self.window].astype(np.float32)
        self._buffers: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # number of channels -> drawn and placed values
        if 0 not in self.shape:
            self.mask = cv2.merge([self._place(border_mask(self.drawn_size, edge))] * 3)
            self.detail = (self.portrait - self._place(self.reference)) * self.mask
            self._lost = np.empty_like(self.mask)

    def paste(self, frame: np.ndarray) -> np.ndarray:
        """Paste a frame of the square (size size 3) uint8 into the whole picture: -> (H W 3) uint8."""
        out = self.image.copy()
        if 0 in self.shape:
            return out
        difference = frame - self.reference
        moved = self._place(_moved_share(difference))
        cv2.merge([moved] * 3, dst=self._lost)
        cv2.multiply(self.detail, self._lost, dst=self._lost)
        change = self._place(difference)
        cv2.multiply(change, self.mask, dst=change)
        cv2.add(self.portrait, change, dst=change)
        out[self.window] = cv2.subtract(change, self._lost, dtype=cv2.CV_8U)
        return out

    def _place(self, values: np.ndarray) -> np.ndarray:
        """Values of the square (size size ...) float32 at the pixels of the window; 0 outside of the square.

        The result lies in a buffer, which the next call for as many channels overwrites.
        """
        channels = 1 if values.ndim == 2 else values.shape[2]
        if channels not in self._buffers:
            more = values.shape[2:]
            drawn = np.empty((self.drawn_size, self.drawn_size, *more), np.float32)
            self._buffers[channels] = drawn, np.empty((*self.shape[::-1], *more), np.float32)
        drawn, placed = self._buffers[channels]
        shrinks = self.drawn_size < len(values)
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        cv2.resize(values, (self.drawn_size, self.drawn_size), dst=drawn, interpolation=interpolation)
        return cv2.warpAffine(drawn, self.matrix, self.shape, dst=placed, flags=cv2.INTER_LINEAR)


def _moved_share(difference: np.ndarray) -> np.ndarray:
    """(size size 3) frame - reference -> (size size) in 0..1: how far a frame has left the reference."""
    sigma = len(difference) / 64
    amount = cv2.GaussianBlur(np.maximum.reduce(cv2.split(np.abs(difference))), (0, 0), sigma)
    return cv2.GaussianBlur(_smoothstep((amount - STILL_LEVELS) / (MOVED_LEVELS - STILL_LEVELS)), (0, 0), sigma)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
