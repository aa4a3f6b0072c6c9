"""Move the pixels of a picture by a motion field, and lay painted patches on them.

The picture is sampled once, at its own resolution: it is not cut out, resized, moved and pasted back, each of which
would blur it. Pixels that do not move stay bit-equal.

Positions and displacements are in sides of the animated square, x before y. Images are (H W 3) uint8 RGB.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from emo.face.crop import Region, covered_box, to_pixel_indices

NO_MAP = np.empty(0, np.float32)  # for a map of both coordinates in one array, cv2.remap takes no second one
FINE = 2  # samples of the enlarged picture for a pixel, along a side


@dataclass(frozen=True)
class Patch:
    """What is painted over a part of a frame.

    Attributes:
        values: (h w 4) float32, colors in 0..255 times their share, and the share in 0..1.
        center: Middle of the patch.
        extent: Height and width.
    """

    values: np.ndarray
    center: tuple[float, float]
    extent: tuple[float, float]


class PictureMover:
    """Moves the pixels of a picture within a square.

    The picture is enlarged once by a bicubic filter that keeps its own pixels; frames are sampled from that bilinearly,
    which is about as sharp as a bicubic filter and several times faster. Only the window around the square is computed.

    Args:
        image: (H W 3) uint8, the whole picture.
        region: The square that is animated; motion is zero at its border.
    """

    def __init__(self, image: np.ndarray, region: Region):
        self.image = image
        x0, y0, x1, y1 = covered_box(region.matrix(1), image.shape[1], image.shape[0])
        self.window, self.shape = (slice(y0, y1), slice(x0, x1)), (x1 - x0, y1 - y0)
        self.to_window = region.matrix(1) - np.array([[0, 0, x0], [0, 0, y0]])
        self.drawn_size = max(1, ceil(region.side))
        if 0 in self.shape:
            return
        fine = (FINE * self.shape[0], FINE * self.shape[1])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        enlarge = np.array([[1 / FINE, 0, 0], [0, 1 / FINE, 0]])  # sample FINE k is pixel k
        self.fine = cv2.warpAffine(image[self.window], enlarge, fine, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        rest = np.meshgrid(*(np.arange(n, dtype=np.float32) * FINE for n in self.shape))
        self.rest = np.stack(rest, axis=-1)

    def move(self, flow: np.ndarray, patches: Iterable[Patch] = ()) -> np.ndarray:
        """Make a frame.

        Args:
            flow: (2 M M) float32; what is seen at p is the picture's at p + flow(p).
            patches: Painted one after the other.

        Returns:
            (H W 3) uint8.
        """
        out = self.image.copy()
        if 0 in self.shape:
            return out
        shift = (flow.transpose(1, 2, 0) @ (FINE * self.to_window[:, :2].T)).astype(np.float32)  # fine samples
        shift = cv2.resize(shift, (self.drawn_size, self.drawn_size), interpolation=cv2.INTER_CUBIC)
        matrix = to_pixel_indices(self.to_window / [self.drawn_size, self.drawn_size, 1])
        places = cv2.warpAffine(shift, matrix, self.shape, flags=cv2.INTER_LINEAR)
        cv2.add(places, self.rest, dst=places)
        moved = cv2.remap(self.fine, places, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for patch in patches:
            self._lay(moved, patch)
        out[self.window] = moved
        return out

    def _lay(self, moved: np.ndarray, patch: Patch) -> None:
        """Blend a patch into the pixels of the window (h w 3) uint8, in place."""
        size = np.array(patch.extent[::-1])
        turn, corner = self.to_window[:, :2], np.array(patch.center) - size / 2
        matrix = np.column_stack([turn * size, turn @ corner + self.to_window[:, 2]])  # from the patch's unit square
        x0, y0, x1, y1 = covered_box(matrix, *self.shape)
        if x0 == x1 or y0 == y1:
            return
        height, width = patch.values.shape[:2]
        indices = to_pixel_indices((matrix - np.array([[0, 0, x0], [0, 0, y0]])) / [width, height, 1])
        placed = cv2.warpAffine(patch.values, indices, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        colors, kept = placed[..., :3], 1 - placed[..., 3:]
        part = moved[y0:y1, x0:x1]
        part[:] = np.clip(np.rint(part * kept + colors), 0, 255)
