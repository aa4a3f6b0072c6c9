"""Paste animated squares back into the picture; limit their colors to those of the portrait."""

from math import ceil

import cv2
import numpy as np

from emo.face.crop import Region, _of_indices, transform

DARKEST = np.float32(4)  # of 255, added: the colour of what is nearly black is noise
LIT = 0.4  # of the brightest around
LUMA = np.float32([[0.299, 0.587, 0.114]])


def lifted(image: np.ndarray) -> np.ndarray:
    """(s s 3) uint8 -> float32."""
    return image.astype(np.float32) + DARKEST


def chromaticity(colours: np.ndarray) -> np.ndarray:
    """(s s 3) float32 -> shares of red, green and blue."""
    return cv2.divide(colours, cv2.merge([cv2.transform(colours, np.ones((1, 3), np.float32))] * 3))


def disc(radius: float) -> np.ndarray:
    """What lies so many pixels around one."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(radius) + 1,) * 2)


class Palette:
    """portrait (s s 3) uint8; reach: how far around a pixel its colours are looked for, in sides of the square. Grain
    is none of them (a quarter of the reach is blurred), nor is the colour of what lies in the dark there."""

    def __init__(self, portrait: np.ndarray, reach: float):
        pixels = reach * len(portrait)
        around, wide = disc(pixels), disc(2 * pixels)
        given = lifted(portrait)
        self.light = cv2.transform(given, LUMA)
        lit = (self.light >= LIT * cv2.dilate(self.light, wide))[..., None]
        colours = chromaticity(cv2.GaussianBlur(given * lit, (0, 0), pixels / 4))
        self.low = cv2.erode(np.where(lit, colours, np.float32(1)), around)
        self.high = cv2.dilate(np.where(lit, colours, np.float32(0)), around)
        unknown = self.low > self.high  # nothing lit is near
        self.low[unknown], self.high[unknown] = 0, 1
        self.own = portrait - self.limited(given, self.light)

    def limited(self, given: np.ndarray, light: np.ndarray) -> np.ndarray:
        """(s s 3) float32: what is given, lifted, with colours of the palette and its own light (s s)."""
        colours = cv2.min(cv2.max(chromaticity(given), self.low), self.high)
        return colours * cv2.divide(light, cv2.transform(colours, LUMA))[..., None] - DARKEST

    def bound(self, frame: np.ndarray) -> np.ndarray:
        """A frame (s s 3) uint8 in colours of the palette; where it is as its portrait, or as light, in that one's."""
        given = lifted(frame)
        light = cv2.transform(given, LUMA)
        alike = cv2.divide(cv2.min(light, self.light), cv2.max(light, self.light))
        own = self.own * alike[..., None]
        return np.clip(np.rint(self.limited(given, light) + own), 0, 255).astype(np.uint8)


BORDER, EDGE = 0.04, 0.12  # the soft mask is 0 outside BORDER and 1 inside EDGE, in sides
STILL, MOVED = 5.0, 20.0  # differences, in grey levels, that keep and that replace the picture's own detail


def soft_mask(size: int) -> np.ndarray:
    """(size size) float32: 0 in a ring along the border, 1 in the middle, smooth between."""
    position = (np.arange(size) + 0.5) / size
    depth = np.minimum(position, 1 - position)
    ramp = _smoothstep((depth - BORDER) / (EDGE - BORDER)).astype(np.float32)
    return ramp[:, None] * ramp[None, :]


class Paster:
    """Puts frames of a region back into the picture they were cut from.

    `reference` (size size 3) uint8 is the model's own reconstruction of the untouched crop. What is added to
    the picture is frame - reference, so a frame equal to the reference gives back the picture bit by bit;
    where the frame moves away from it by a share `a`, that share of the picture's own detail goes too:

        out = frame + (image - reference) * (1 - a) = image + (frame - reference) - (image - reference) * a
    """

    def __init__(self, image: np.ndarray, region: Region, reference: np.ndarray):
        self.image, self.reference = image, reference.astype(np.float32)
        self.drawn_size = max(1, ceil(region.side))
        x0, y0, x1, y1 = _bounds(region, image.shape[1], image.shape[0])
        self.window = slice(y0, y1), slice(x0, x1)
        to_window = region.matrix(self.drawn_size) - np.array([[0, 0, x0], [0, 0, y0]])
        self.matrix, self.shape = _of_indices(to_window), (x1 - x0, y1 - y0)
        self.portrait = image[self.window].astype(np.float32)
        if 0 not in self.shape:
            self.mask = cv2.merge([self._place(soft_mask(self.drawn_size))] * 3)
            self.detail = (self.portrait - self._place(self.reference)) * self.mask

    def paste(self, frame: np.ndarray) -> np.ndarray:
        """The whole picture (H W 3) uint8 with this frame (size size 3) uint8 in its square."""
        out = self.image.copy()
        if 0 in self.shape:
            return out
        difference = frame - self.reference
        change = cv2.multiply(self._place(difference), self.mask)
        lost = cv2.multiply(self.detail, cv2.merge([self._place(_moved(difference))] * 3))
        out[self.window] = cv2.subtract(cv2.add(self.portrait, change), lost, dtype=cv2.CV_8U)
        return out

    def _place(self, values: np.ndarray) -> np.ndarray:
        """Values of the crop (size size ...) float32 at the pixels of the window; 0 outside the square."""
        shrinks = self.drawn_size < len(values)
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        values = cv2.resize(values, (self.drawn_size, self.drawn_size), interpolation=interpolation)
        return cv2.warpAffine(values, self.matrix, self.shape, flags=cv2.INTER_LINEAR)


def _moved(difference: np.ndarray) -> np.ndarray:
    """(size size) in 0..1: where a frame has left the reference."""
    sigma = len(difference) / 64
    amount = cv2.GaussianBlur(np.maximum.reduce(cv2.split(np.abs(difference))), (0, 0), sigma)
    return cv2.GaussianBlur(_smoothstep((amount - STILL) / (MOVED - STILL)), (0, 0), sigma)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _bounds(region: Region, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels of the picture that the square touches."""
    corners = transform(region.matrix(1), np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]))
    limit = np.array([width, height])
    low = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0)), low, limit).astype(int)
    return (*low.tolist(), *high.tolist())
