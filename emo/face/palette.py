"""The colours that a moving face may take: those that lie near in its portrait.

What moves brings its colour along. One that is nowhere near comes from a model that blurs, and shows as a tinge beside
lips and jaw. The same bound keeps ghosts out of temporal anti-aliasing (neighbourhood clamping: Karis, "High-Quality
Temporal Supersampling", SIGGRAPH 2014).
"""

import cv2
import numpy as np

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
