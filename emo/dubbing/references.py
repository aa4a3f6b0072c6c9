"""Frames with a closed mouth, to which a face's own motion is measured, and frames with an open one.

T frames of a face.
"""

import numpy as np

from emo.dubbing.tracks import FaceTrack
from emo.face.crop import Region
from emo.face.detector import TRACKING_THRESHOLDS
from emo.face.landmarks import mouth_opening
from emo.face.pose import head_angles, head_rotations
from emo.face.refinement import load_landmark_refiner
from emo.face.selection import load_face_detector

SPACING_SECONDS = 0.8  # about one reference in so much time
CLOSED_PERCENTILE = 30.0  # of a face's openings: below it, a mouth counts as closed
VISIBLE_OCCLUSION = 0.5
MAX_PROBES, PROBE_OPENING = 4, 0.03  # how many, and from which opening on, in heights of the face


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


def choose_probes(track: FaceTrack) -> np.ndarray:
    """Choose up to MAX_PROBES frames in which the mouth is wide open and not covered: (K,), ascending."""
    openings = np.where(track.mouth_occlusion > VISIBLE_OCCLUSION, -1.0, track.openings)
    frames = np.argsort(openings)[::-1][: 4 * MAX_PROBES : 4]
    return np.sort(frames[openings[frames] > PROBE_OPENING])


def measure_opening(square: np.ndarray) -> float | None:
    """Measure how far the mouth of an aligned square (s s 3) uint8 is open; None: no face is found."""
    size = len(square)
    found = load_face_detector().locate_landmarks(
        square, [Region((size / 2,) * 2, float(size))], 2, TRACKING_THRESHOLDS
    )
    if not found.accepted[0]:
        return None
    (details,) = load_landmark_refiner().refine(square, found.landmarks)
    return float(mouth_opening(details.landmarks[None])[0])


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
