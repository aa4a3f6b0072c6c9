"""Where one shot of a video ends and the next begins.

The rule is that of PySceneDetect's adaptive detector (its package brings an OpenCV that needs libGL): the picture
changes much, and several times more than around it, so that a fast pan is no cut.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

WIDTH_PIXELS = 96  # cuts show in small pictures
LEAST_CHANGE = 15.0  # of 255, mean over hue, saturation and value: PySceneDetect's min_content_val
LEAST_RATIO = 3.0  # over the mean of the REACH changes on each side: its adaptive_threshold
REACH = 2


def changes(frames: Iterable[np.ndarray]) -> Iterator[float]:
    """Frames (H W 3) uint8 -> for each the mean difference from the one before, 0 .. 255; the first gives 0."""
    before = None
    for frame in frames:
        height = max(1, round(frame.shape[0] * WIDTH_PIXELS / frame.shape[1]))
        small = cv2.resize(frame, (WIDTH_PIXELS, height), interpolation=cv2.INTER_AREA)
        now = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.float32)
        yield 0.0 if before is None else float(np.abs(now - before).mean())
        before = now


def find_shots(frames: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """Frames (H W 3) uint8 -> the first frame of each shot and the one after its last."""
    change = np.array(list(changes(frames)))
    padded = np.pad(change, REACH)
    around = sum(np.roll(padded, shift)[REACH:-REACH] for shift in range(-REACH, REACH + 1) if shift) / (2 * REACH)
    starts = np.flatnonzero((change >= LEAST_CHANGE) & (change >= LEAST_RATIO * around))
    borders = [0, *starts.tolist(), len(change)]
    return [(first, end) for first, end in zip(borders, borders[1:], strict=False) if end > first]
