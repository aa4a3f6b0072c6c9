"""Does a video jump where one window ends and the next begins?"""

from collections.abc import Iterable, Mapping

import numpy as np


def frame_differences(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Frames (H W 3) uint8 -> (T - 1,) mean absolute difference of each to the one before, in grey levels."""
    differences, before = [], None
    for frame in frames:
        frame = frame.astype(np.int16)
        if before is not None:
            differences.append(np.abs(frame - before).mean())
        before = frame
    return np.array(differences)


def border_ratio(runs: Mapping[int, np.ndarray], window: int) -> float:
    """The median frame difference across borders over the median one inside windows, of the same moments.

    runs: `frame_differences` of one portrait and one sound, each by how many frames later the sound was begun: a moment
    lies at a border in one run and inside in the others, so what the sound does just then cancels out. One run alone is
    compared with its other moments. window: frames from one window's start to the next's. 1 is no jump; NaN where
    nothing moves or no border lies within.
    """
    moments = np.arange(max(runs), min(late + len(run) for late, run in runs.items()))  # which all runs have
    values = np.stack([run[moments - late] for late, run in runs.items()])
    at_border = np.stack([(moments - late + 1) % window == 0 for late in runs])
    if len(runs) > 1:
        values, at_border = values[:, at_border.any(0)], at_border[:, at_border.any(0)]
    if not at_border.any() or at_border.all() or np.median(values[~at_border]) == 0:
        return np.nan
    return float(np.median(values[at_border]) / np.median(values[~at_border]))
