"""Does a video jump where one window ends and the next begins?"""

from collections.abc import Iterable

import numpy as np


def border_ratio(frames: Iterable[np.ndarray], window: int) -> float:
    """Frames (H W 3) uint8 made in windows of `window` frames -> the median frame difference across borders over
    the median one inside windows: 1 is no jump; NaN where nothing moves or there is one window only. `window` counts
    the frames from one window's start to the next's."""
    differences, before = [], None
    for frame in frames:
        frame = frame.astype(np.int16)
        if before is not None:
            differences.append(np.abs(frame - before).mean())
        before = frame
    at_border = (np.arange(1, len(differences) + 1) % window) == 0
    differences = np.array(differences)
    inside = np.median(differences[~at_border]) if len(differences) else 0.0
    return float(np.median(differences[at_border]) / inside) if at_border.any() and inside > 0 else np.nan
