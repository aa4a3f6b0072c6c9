"""Mark frames: add the watermark's pattern to their luma, weaker in even areas, where it would be seen.

The pattern neither moves nor changes from frame to frame, so nothing flickers, a resting picture stays one for the
encoder, and a codec that repeats the picture repeats the pattern too. Its strength follows a just-noticeable-difference
mask: least where the picture is even, most in texture (Chou and Li, IEEE Trans. CSVT 5(6), 1995).

The pattern is one tile of luma, repeated over the picture, whose spectrum carries the payload. The picture is scaled so
that its shorter side has SIDE pixels. The tile has TILE x TILE of these pixels and holds frequencies of a ring, from
LOWEST to HIGHEST cycles a tile: the picture itself is strong below them, and a codec removes those above. A part of the
frequencies is the same in every watermark and tells where the tile lies, how large it is, and whether the picture was
turned or mirrored (sync). The phases of the others carry the coded bits of the payload, each bit several times, spread
over all frequencies (spread spectrum: Cox et al., IEEE Trans. Image Processing 6(12), 1997).
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.provenance.payload import CODED_BITS, Payload, encode_payload, make_payload

EVEN, TEXTURE, MOST = 0.75, 0.15, 1.5  # strength in levels of 255: in even areas, for each level of texture, at most
MASK_SIDE = 128  # pixels of the shorter side in which the mask is computed
DETAIL_SIGMA, WINDOW_PIXELS = 4.0, 5  # of the texture, in these pixels
SMALLEST_PIXELS = 64  # the shorter side of what can carry a watermark
SIDE = 256  # canonical pixels of the shorter side of a picture
TILE = 128  # canonical pixels of the tile's side
LOWEST, HIGHEST = 4.0, 24.0  # cycles a tile
DECAY = 0.5  # amplitudes fall with this power of the frequency
SYNC_SHARE = 1 / 7  # of the frequencies
KEY = 20261201  # seed of the phases; public, as the package is


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

    Returns:
        The watermark; None for None.

    Raises:
        InputError: It is another text.
    """
    if isinstance(watermark, str):
        if watermark != "auto":
            raise InputError(f'watermark={watermark!r}: give "auto", a Watermark, or None')
        return Watermark(make_payload(model_name))
    return watermark


@dataclass(frozen=True)
class Carriers:
    """The K frequencies of the ring, one of each pair of opposite ones.

    Attributes:
        x: (K,) cycles a tile to the right.
        y: (K,) cycles a tile downwards.
        phases: (K,) complex of length 1: those of the sync, and what the bits are multiplied with.
        sync: (K,) bool, those that are the same in every watermark.
        bits: (K 2) number of the coded bit in the real and in the imaginary part; -1 for sync.
    """

    x: np.ndarray
    y: np.ndarray
    phases: np.ndarray
    sync: np.ndarray
    bits: np.ndarray

    @property
    def radius(self) -> np.ndarray:
        """(K,) cycles a tile."""
        return np.hypot(self.x, self.y)


@cache
def make_carriers() -> Carriers:
    """Return the carriers, always the same: the sync and each bit get frequencies from the whole ring."""
    rng = np.random.default_rng(KEY)
    size = int(HIGHEST)
    y, x = np.mgrid[-size : size + 1, 0 : size + 1].reshape(2, -1)
    radius = np.hypot(x, y)
    inside = (radius >= LOWEST) & (radius <= HIGHEST) & ((x > 0) | (y > 0))
    y, x, radius = y[inside], x[inside], radius[inside]
    order = np.argsort(radius + rng.uniform(0, 0.5, len(radius)))
    y, x = y[order], x[order]
    count, period = len(x), round(1 / SYNC_SHARE)
    sync = np.zeros(count, bool)
    for start in range(0, count, period):
        sync[start + rng.integers(min(period, count - start))] = True
    dimensions = 2 * int((~sync).sum())
    rounds = [rng.permutation(CODED_BITS) for _ in range(-(-dimensions // CODED_BITS))]
    bits = np.full((count, 2), -1)
    bits[~sync] = np.concatenate(rounds)[:dimensions].reshape(-1, 2)
    phases = ((rng.integers(2, size=(count, 2)) * 2 - 1) @ np.array([1, 1j])) / np.sqrt(2)
    return Carriers(x, y, phases, sync, bits)


def modulate(coded: np.ndarray) -> np.ndarray:
    """Return the phases of all carriers for a payload.

    Args:
        coded: (CODED_BITS,) each -1 or 1.

    Returns:
        (K,) complex of length 1.
    """
    carriers = make_carriers()
    signs = np.append(coded, 1.0)[carriers.bits]  # 1 for sync
    return carriers.phases.real * signs[:, 0] + 1j * carriers.phases.imag * signs[:, 1]


def make_tile(payload: Payload) -> np.ndarray:
    """Return the tile of a payload.

    Args:
        payload: What the watermark says.

    Returns:
        (TILE TILE) float32 of mean 0 and deviation 1; its point (0, 0) lies in the middle of the picture.
    """
    carriers = make_carriers()
    values = carriers.radius**-DECAY * modulate(encode_payload(payload))
    spectrum = np.zeros((TILE, TILE), complex)
    spectrum[carriers.y, carriers.x] = values
    spectrum[-carriers.y, -carriers.x] = values.conj()
    tile = np.fft.ifft2(spectrum).real
    return (tile / tile.std()).astype(np.float32)


def lay_tile(tile: np.ndarray, width: int, height: int) -> np.ndarray:
    """Repeat the tile over a picture of canonical size.

    Args:
        tile: (TILE TILE).
        width: Canonical pixels.
        height: Canonical pixels.

    Returns:
        (height width) float32.
    """
    rows = (np.arange(height) - height // 2) % TILE
    columns = (np.arange(width) - width // 2) % TILE
    return np.ascontiguousarray(tile[np.ix_(rows, columns)])


def canonical_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a picture whose shorter side is scaled to SIDE pixels.

    Args:
        width: Pixels.
        height: Pixels.

    Returns:
        Width and height.
    """
    scale = SIDE / min(width, height)
    return round(width * scale), round(height * scale)
