"""Frames with a closed mouth, against which a face's own motion is measured.

T frames of a face.
"""

import numpy as np

from emo.dubbing.tracks import FaceTrack
from emo.face.pose import head_angles, head_rotations

SPACING_SECONDS = 0.8  # about one reference in so much time
CLOSED_PERCENTILE = 30.0  # of a face's openings: below it, a mouth counts as closed
VISIBLE_OCCLUSION = 0.5


def choose_references(track: FaceTrack, fps: float) -> np.ndarray:
    """Choose frames in which the mouth is closed and not covered, spread over the track.

    Args:
        track: The face.
        fps: Frames per second.

    Returns:
        (N,) ascending numbers of frames, counted from the track's first; at least one.
    """
    openings = track.openings.astype(np.float64)
    openings[track.mouth_occlusion > VISIBLE_OCCLUSION] += 1
    limit = np.percentile(openings, CLOSED_PERCENTILE)
    step = max(1, round(SPACING_SECONDS * fps))
    chosen = []
    for start in range(0, len(openings), step):
        best = start + int(openings[start : start + step].argmin())
        if openings[best] <= limit:
            chosen.append(best)
    return np.array(chosen or [int(openings.argmin())])


def choose_portrait(track: FaceTrack, references: np.ndarray) -> int:
    """Return the place in `references` of the most frontal one."""
    angles = head_angles(head_rotations(track.landmarks[references]))
    return int(np.abs(angles[:, :2]).sum(1).argmin())


def bracket(references: np.ndarray, frame: int) -> tuple[int, int, float]:
    """Find the references around a frame.

    Args:
        references: (N,) ascending.
        frame: Number of the frame.

    Returns:
        The places of the one before and the one after, and the share of the latter; both are the same at the ends.
    """
    after = int(np.searchsorted(references, frame))
    if after == len(references):
        return after - 1, after - 1, 0.0
    if after == 0 or references[after] == frame:
        return after, after, 0.0
    low, high = references[after - 1], references[after]
    return after - 1, after, float((frame - low) / (high - low))
