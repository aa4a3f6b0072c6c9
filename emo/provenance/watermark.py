"""Mark frames: add the watermark's pattern to their luma, weaker in even areas, where it would be seen.

The pattern neither moves nor changes from frame to frame, so nothing flickers, a resting picture stays one for the
encoder, and a codec that repeats the picture repeats the pattern too. Its strength follows a just-noticeable-difference
mask: least where the picture is even, most in texture (Chou and Li, IEEE Trans. CSVT 5(6), 1995).
"""

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.provenance.pattern import canonical_size, lay_tile, make_tile
from emo.provenance.payload import Payload, make_payload

EVEN, TEXTURE, MOST = 0.75, 0.15, 1.5  # strength in levels of 255: in even areas, for each level of texture, at most
MASK_SIDE = 128  # pixels of the shorter side in which the mask is computed
DETAIL_SIGMA, WINDOW_PIXELS = 4.0, 5  # of the texture, in these pixels
SMALLEST_PIXELS = 64  # the shorter side of what can carry a watermark


class Watermark:
    """Marks the frames of one video.

    Args:
        payload: What the watermark says.
    """

    def __init__(self, payload: Payload):
        self.payload = payload
        self._tile = make_tile(payload)
        self._pattern = np.zeros((0, 0), np.float32)

    def mark(self, frame: np.ndarray) -> np.ndarray:
        """Return a marked copy of a frame.

        Args:
            frame: (H W 3) uint8 RGB; one whose shorter side has less than SMALLEST_PIXELS is returned as it is.

        Returns:
            (H W 3) uint8.
        """
        if min(frame.shape[:2]) < SMALLEST_PIXELS:
            return frame
        return cv2.add(frame, cv2.merge([self.measure_change(frame)] * 3), dtype=cv2.CV_8U)

    def measure_change(self, frame: np.ndarray) -> np.ndarray:
        """Return what is added to the luma of a frame (H W 3) uint8 RGB: (H W) int16, levels of 255."""
        height, width = frame.shape[:2]
        if (height, width) != self._pattern.shape:
            self._pattern = draw_pattern(self._tile, width, height)
        mask = cv2.resize(measure_mask(frame), (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.multiply(mask, self._pattern, dtype=cv2.CV_16S)  # rounded


def draw_pattern(tile: np.ndarray, width: int, height: int) -> np.ndarray:
    """Repeat a tile over a picture of any size.

    Args:
        tile: (TILE TILE) float32.
        width: Pixels.
        height: Pixels.

    Returns:
        (height width) float32.
    """
    pattern = lay_tile(tile, *canonical_size(width, height))
    grows = width > pattern.shape[1]
    return cv2.resize(pattern, (width, height), interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA)


def measure_mask(frame: np.ndarray) -> np.ndarray:
    """Return how strong the pattern may be.

    Args:
        frame: (H W 3) uint8 RGB.

    Returns:
        (h w) float32 in levels of 255, smaller than the frame.
    """
    scale = min(1.0, MASK_SIDE / min(frame.shape[:2]))
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    luma = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), DETAIL_SIGMA)
    texture = cv2.sqrt(cv2.blur(detail * detail, (WINDOW_PIXELS, WINDOW_PIXELS)))
    inside = cv2.erode(texture, np.ones((WINDOW_PIXELS, WINDOW_PIXELS)))  # an edge does not hide what lies beside it
    return np.minimum(EVEN + TEXTURE * cv2.blur(inside, (WINDOW_PIXELS, WINDOW_PIXELS)), MOST)


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
