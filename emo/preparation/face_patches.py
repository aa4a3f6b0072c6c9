"""Store the pixels around the faces of one shot until it is clear what to cut from them.

What is cut for a clip depends on the whole track: its path is smoothed, and its length decides where it is split and
which frames are measured. Frames of a whole shot do not fit into memory, but the surroundings of its faces do; beyond a
bound they go to a temporary file (in `tempfile.gettempdir()`, so set TMPDIR to move it). Pixels are those of the
decoded frames, so what is cut from them is bit for bit what the whole frame gives.
"""

import tempfile
from collections import deque
from collections.abc import Hashable, Mapping
from typing import IO

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.face.crop import Region, transform_points

WINDOW_FRAMES = 14  # each way: the reach of the smoothing (8 frames), and the longest gap that is filled (5)
REACH = 0.78  # radius around a face that is stored, in sides of its region: half the diagonal, and a tenth more
SYNCNET_REACH = 1.1  # SyncNet's crop shows more below the chin
SLACK = 0.5  # sides by which a face may move away from its place within the window
OVERVIEW_PIXELS = 320  # width of the gray, small copy of each frame
MEMORY_BYTES = 256_000_000
MARGIN_PIXELS = 3  # that interpolation reads beyond a crop

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 exclusive


class ArrayStore:
    """Arrays by number, in memory up to a bound and in a temporary file beyond it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES):
        self.free_bytes = memory_bytes
        self.file: IO[bytes] | None = None
        self.items: list[np.ndarray | tuple[int, tuple[int, ...]]] = []  # arrays, or their place in the file and shape

    def add(self, array: np.ndarray) -> int:
        """Store an array (...) of uint8 and return its number. Raises OSError on a full disk."""
        if array.nbytes <= self.free_bytes:
            self.free_bytes -= array.nbytes
            self.items.append(np.array(array))
        else:
            self.file = self.file or tempfile.TemporaryFile(prefix="emo-prepare-")
            self.items.append((self.file.seek(0, 2), array.shape))
            self.file.write(np.ascontiguousarray(array).data)
        return len(self.items) - 1

    def get(self, number: int) -> np.ndarray:
        """Return the array (...) uint8 of a number."""
        item = self.items[number]
        if isinstance(item, np.ndarray):
            return item
        place, shape = item
        assert self.file is not None  # `add` made it for the first item that did not fit into memory
        self.file.seek(place)
        return np.frombuffer(self.file.read(int(np.prod(shape))), np.uint8).reshape(shape)

    def close(self) -> None:
        """Forget all arrays and remove the file."""
        self.items.clear()
        if self.file is not None:
            self.file.close()


class FacePatches:
    """The surroundings of all faces of one shot.

    Around each face its neighborhood is copied as the frame comes by. WINDOW_FRAMES later it is clear where the
    smoothed path can lie; the copy is trimmed to that and stored.
    """

    def __init__(self, reach: float = REACH, memory_bytes: int = MEMORY_BYTES):
        """Make an empty store.

        Args:
            reach: Radius around each face that can be cut, in sides of its region.
            memory_bytes: What is stored beyond goes to a temporary file.
        """
        self.reach, self.store = reach, ArrayStore(memory_bytes)
        self.patches: dict[int, list[tuple[Box, int]]] = {}  # frame -> boxes and numbers in the store
        self.overviews: dict[int, int] = {}  # frame -> number in the store
        self.recent = deque(maxlen=2 * WINDOW_FRAMES + 1)  # regions of the newest frames
        self.waiting = deque()  # number and rough patches of frames that are not trimmed
        self.canvas: np.ndarray | None = None
        self.size = (0, 0)

    def add(self, number: int, frame: np.ndarray, regions: Mapping[Hashable, Region]) -> None:
        """Take the next frame.

        Args:
            number: Number of the frame in the video.
            frame: (H W 3) uint8 RGB.
            regions: For each face that is tracked, by any key that stays its own, where it is in this frame.
        """
        if self.canvas is None:
            self.canvas, self.size = np.zeros_like(frame), (frame.shape[1], frame.shape[0])
        rough = {}
        for face, region in regions.items():
            box = self._box_around([region], self.reach + SLACK)
            rough[face] = box, frame[box[1] : box[3], box[0] : box[2]].copy()
        if regions:
            width, height = self.size
            size = OVERVIEW_PIXELS, max(1, round(height * OVERVIEW_PIXELS / width))
            overview = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            self.overviews[number] = self.store.add(overview)
        self.recent.append(regions)
        self.waiting.append((number, rough))
        if len(self.waiting) > WINDOW_FRAMES:
            self._trim_oldest()

    def finish(self) -> None:
        """Trim and store what waits; call it after the shot's last frame."""
        while self.waiting:
            self._trim_oldest()

    def close(self) -> None:
        """Free the memory and the temporary file."""
        self.store.close()

    def get_frame(self, number: int, box: Box) -> np.ndarray:
        """Return a frame (H W 3) in which only the pixels within a box are right; the next call overwrites it.

        Args:
            number: Number of the frame in the video.
            box: (x0, y0, x1, y1) pixels that are needed.

        Returns:
            (H W 3) uint8; valid until the next call.

        Raises:
            InputError: The box is not stored: the face was elsewhere in this frame.
        """
        for stored, index in self.patches.get(number, ()):
            if stored[0] <= box[0] and stored[1] <= box[1] and box[2] <= stored[2] and box[3] <= stored[3]:
                assert self.canvas is not None  # `add` made it with the first frame
                self.canvas[stored[1] : stored[3], stored[0] : stored[2]] = self.store.get(index)
                return self.canvas
        raise InputError("the head moves too fast for tracking")

    def get_square(self, number: int, matrix: np.ndarray) -> np.ndarray:
        """Return a frame for a cut by an affine map, see `get_frame`.

        Args:
            number: Number of the frame in the video.
            matrix: (2 3) affine map of the unit square into the frame.

        Returns:
            (H W 3) uint8; valid until the next call.
        """
        return self.get_frame(number, self.box_of_square(matrix))

    def get_overview(self, number: int) -> np.ndarray:
        """Return a frame, gray and OVERVIEW_PIXELS wide, (h OVERVIEW_PIXELS) uint8."""
        return self.store.get(self.overviews[number])

    def box_of_square(self, matrix: np.ndarray) -> Box:
        """Return the pixels that a cut by an affine map (2 3) of the unit square reads."""
        corners = transform_points(matrix, np.array([[0.0, 0.0], [1, 0], [0, 1], [1, 1]]))
        return self.clamp(*(corners.min(0) - MARGIN_PIXELS), *(corners.max(0) + MARGIN_PIXELS))

    def clamp(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        """Limit a box to whole pixels within the frame, at least one pixel large.

        Args:
            x0: Left side, pixels.
            y0: Upper side, pixels.
            x1: Right side, pixels.
            y1: Lower side, pixels.

        Returns:
            (x0, y0, x1, y1) whole pixels; beyond the frame its border pixels are repeated.
        """
        width, height = self.size
        left, top = int(np.clip(np.floor(x0), 0, width - 1)), int(np.clip(np.floor(y0), 0, height - 1))
        right, bottom = int(np.clip(np.ceil(x1), left + 1, width)), int(np.clip(np.ceil(y1), top + 1, height))
        return left, top, right, bottom

    def _box_around(self, regions: list[Region], reach: float) -> Box:
        """The box around circles about regions; `reach` is their radius in sides."""
        centers = np.array([region.center for region in regions])
        radii = np.array([[reach * region.side + MARGIN_PIXELS] for region in regions])
        return self.clamp(*(centers - radii).min(0), *(centers + radii).max(0))

    def _trim_oldest(self) -> None:
        number, rough = self.waiting.popleft()
        around = list(self.recent)[-len(self.waiting) - 1 - WINDOW_FRAMES :] if self.recent else []
        trimmed = []
        for face, (box, pixels) in rough.items():
            x0, y0, x1, y1 = self._box_around([r[face] for r in around if face in r], self.reach)
            x0, y0, x1, y1 = max(x0, box[0]), max(y0, box[1]), min(x1, box[2]), min(y1, box[3])
            index = self.store.add(pixels[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]])
            trimmed.append(((x0, y0, x1, y1), index))
        self.patches[number] = trimmed
