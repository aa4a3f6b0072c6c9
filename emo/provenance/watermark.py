"""Mark frames: add the watermark's pattern to their luma.

The pattern neither moves nor changes from frame to frame, so nothing flickers, a resting picture stays one for the
encoder, and a codec that repeats the picture repeats the pattern too. It has the same strength everywhere: a mask that
spares even areas (a just-noticeable-difference mask) was measured too, and halved what is left of the watermark after
H.264 at CRF 30, because even areas are where a detector can tell it from the picture.
"""

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.provenance.pattern import canonical_size, lay_tile, make_tile
from emo.provenance.payload import Payload, make_payload

STRENGTH = 1.5  # deviation of the added luma, in levels of 255: 44.5 dB
SMALLEST_PIXELS = 64  # the shorter side of what can carry a watermark


class Watermark:
    """Marks the frames of one video.

    Args:
        payload: What the watermark says.
        strength: Deviation of the added luma, in levels of 255.
    """

    def __init__(self, payload: Payload, strength: float = STRENGTH):
        self.payload, self.strength = payload, strength
        self._shape: tuple[int, ...] = ()
        self._added = self._subtracted = np.zeros((0, 0, 3), np.uint8)

    def mark(self, frame: np.ndarray) -> np.ndarray:
        """Return a marked copy of a frame.

        Args:
            frame: (H W 3) uint8 RGB, H and W at least SMALLEST_PIXELS; smaller ones are returned as they are.

        Returns:
            (H W 3) uint8.
        """
        if min(frame.shape[:2]) < SMALLEST_PIXELS:
            return frame
        if frame.shape != self._shape:
            overlay = self._make_overlay(*frame.shape[:2])
            self._added, self._subtracted = (cv2.merge([part.astype(np.uint8)] * 3) for part in overlay)
            self._shape = frame.shape
        return cv2.subtract(cv2.add(frame, self._added), self._subtracted)

    def _make_overlay(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """What is added and what is subtracted, (H W) each, whole levels."""
        pattern = lay_tile(make_tile(self.payload), *canonical_size(width, height))
        larger = width > pattern.shape[1]
        pattern = cv2.resize(pattern, (width, height), interpolation=cv2.INTER_CUBIC if larger else cv2.INTER_AREA)
        levels = np.rint(self.strength * pattern)
        return np.maximum(levels, 0), np.maximum(-levels, 0)


def choose_watermark(watermark: "Watermark | str | None", model_name: str) -> "Watermark | None":
    """Return the watermark of a video.

    Args:
        watermark: "auto": a new random payload; a Watermark; or None.
        model_name: Name of the model, for the payload.

    Raises:
        InputError: It is another text.
    """
    if isinstance(watermark, str):
        if watermark != "auto":
            raise InputError(f'watermark={watermark!r}: give "auto", a Watermark, or None')
        return Watermark(make_payload(model_name))
    return watermark
