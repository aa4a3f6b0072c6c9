"""A head that is held still: the square of its face, smoothly followed. T frames."""

from collections.abc import Sequence

import numpy as np

from emo.face.region import Region, region_of_landmarks

SMOOTH_FRAMES = 2.0  # sigma of the head's path


def smooth(values: np.ndarray, sigma_frames: float) -> np.ndarray:
    """Gaussian smoothing of (T D) over T, the ends repeated."""
    reach = int(4 * sigma_frames)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    padded = np.pad(values, [(reach, reach), (0, 0)], mode="edge")
    columns = [np.convolve(c, weights / weights.sum(), mode="valid") for c in padded.T]
    return np.stack(columns, axis=-1)


def steady_regions(landmarks: np.ndarray) -> list[Region]:
    """landmarks (T 68 2) pixels -> the square of each frame, its path smoothed."""
    regions = [region_of_landmarks(points) for points in landmarks]
    path = np.array([(*r.center, np.log(r.side), r.angle_radians) for r in regions])
    return [Region((x, y), float(np.exp(s)), a) for x, y, s, a in smooth(path, SMOOTH_FRAMES)]


def into_square(points: np.ndarray, region: Region) -> np.ndarray:
    """Points (N 2) in pixels of the picture -> unit square of the region."""
    matrix = region.matrix(1)
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def held_still(points: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """points (T N 2) in pixels, and the square of each frame -> (T N 2) in the unit square."""
    return np.stack([into_square(p, r) for p, r in zip(points, regions, strict=True)])
