"""Detect shot boundaries: the frames at which a video cuts from one camera view to another.

The rule is the one of PySceneDetect's adaptive detector (its package depends on an OpenCV build that needs libGL): a
cut is a frame that differs much from the frame before, and several times more than its neighbors do, so that a fast pan
is no cut.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

WIDTH_PIXELS = 96  # frames are compared at this width
MIN_CHANGE = 15.0  # 0 .. 255, mean over hue, saturation and value: PySceneDetect's min_content_val
MIN_RATIO = 3.0  # to the mean change of the neighbors: its adaptive_threshold
NEIGHBORS = 2  # frames on each side


def measure_changes(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
    """Yield each frame with its mean difference from the frame before.

    Args:
        frames: (H W 3) uint8 RGB.

    Yields:
        The frame, and the mean absolute difference in HSV, 0 .. 255; 0 for the first frame.
    """
    before = None
    for frame in frames:
        height = max(1, round(frame.shape[0] * WIDTH_PIXELS / frame.shape[1]))
        small = cv2.resize(frame, (WIDTH_PIXELS, height), interpolation=cv2.INTER_AREA)
        now = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.float32)
        yield frame, 0.0 if before is None else float(np.abs(now - before).mean())
        before = now


def mark_shots(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield each frame with whether it is the first of a shot, NEIGHBORS frames behind the input.

    Args:
        frames: (H W 3) uint8 RGB.

    Yields:
        The frame, and True where a shot starts; the first frame always starts one.
    """
    waiting, changes, first = deque(), deque([0.0] * NEIGHBORS, 2 * NEIGHBORS + 1), True
    for frame, change in measure_changes(frames):
        waiting.append(frame)
        changes.append(change)
        if len(waiting) > NEIGHBORS:
            yield waiting.popleft(), first or is_cut(changes)
            first = False
    while waiting:
        changes.append(0.0)
        if len(changes) > 2 * NEIGHBORS:
            yield waiting.popleft(), first or is_cut(changes)
            first = False


def is_cut(changes: deque[float]) -> bool:
    """Check whether the middle one of 2 * NEIGHBORS + 1 changes is a cut."""
    middle = changes[NEIGHBORS]
    around = [changes[NEIGHBORS - shift] for shift in range(-NEIGHBORS, NEIGHBORS + 1) if shift]
    return middle >= MIN_CHANGE and middle >= MIN_RATIO * (sum(around) / len(around))


def find_shots(frames: Iterable[np.ndarray]) -> list[tuple[int, int]]:
    """Find all shots of a video.

    Args:
        frames: (H W 3) uint8 RGB, in order.

    Returns:
        For each shot the number of its first frame and of the frame after its last.
    """
    starts, count = [], 0
    for number, (_, starts_shot) in enumerate(mark_shots(frames)):
        starts += [number] if starts_shot else []
        count = number + 1
    return list(zip(starts, [*starts[1:], count], strict=False))
