"""Square face regions: fit them to landmarks, cut them out, smooth them over time; the crop for SyncNet.

Landmarks are (68 2) or (T 68 2) float, x and y in pixels of the picture. Coordinates are continuous: the first pixel
covers 0..1, its center is 0.5. Images are (H W 3) uint8 RGB, boxes (x0, y0, x1, y1) pixels, crops (size size 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from emo.face.landmarks import RIGID_POINTS

# Where RIGID_POINTS lie in the unit square: the symmetric mean of 171 frontal faces of GRID and SFHQ-T2I, scaled so
# that the face from forehead to chin is 1 / 1.35 of the side, with room below the chin for an open mouth.
RIGID_TEMPLATE = np.array(
    [
        [0.2951, 0.3422],
        [0.4212, 0.3503],
        [0.5788, 0.3503],
        [0.7049, 0.3422],
        [0.5000, 0.3283],
        [0.5000, 0.5107],
        [0.5000, 0.5675],
        [0.4211, 0.5557],
        [0.5789, 0.5557],
    ]
)
FOREHEAD_Y, CHIN_Y = 0.11, 0.11 + 1 / 1.35  # where a face begins and ends in the unit square
PATH_SMOOTHING_FRAMES = 2.0  # sigma of the Gaussian over a head's path
SYNCNET_PIXELS, SYNCNET_MEDIAN_FRAMES, SYNCNET_PADDING_LEVEL = 224, 13, 110  # of syncnet_python's run_pipeline.py
SYNCNET_CROP_SCALE = 0.4


@dataclass(frozen=True)
class Region:
    """A square on the picture; it may be rotated and may reach beyond the picture's borders."""

    center: tuple[float, float]  # pixels
    side: float  # pixels
    angle_radians: float = 0.0  # clockwise on the screen: the roll of the head

    def matrix(self, size: int) -> np.ndarray:
        """Return the affine map (2 3) float64 from pixels of the (size size) crop to pixels of the picture."""
        scale = self.side / size
        cos, sin = scale * np.cos(self.angle_radians), scale * np.sin(self.angle_radians)
        rotation = np.array([[cos, -sin], [sin, cos]])
        shift = np.array(self.center) - rotation @ [size / 2, size / 2]
        return np.column_stack([rotation, shift])


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine map to points.

    Args:
        matrix: (2 3) affine map.
        points: (... 2).

    Returns:
        (... 2) mapped points.
    """
    return points @ matrix[:, :2].T + matrix[:, 2]


def covered_box(matrix: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Compute the box of whole pixels that a mapped unit square touches, within a picture.

    Args:
        matrix: (2 3) affine map of the unit square into the picture.
        width: Width of the picture, pixels.
        height: Height of the picture, pixels.

    Returns:
        (x0, y0, x1, y1) pixels; of no size where the square lies outside.
    """
    corners = transform_points(matrix, np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]))
    limit = np.array([width, height])
    low = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0)), low, limit).astype(int)
    return (*low.tolist(), *high.tolist())


def region_of_landmarks(landmarks: np.ndarray) -> Region:
    """Return the square in which the rigid points of a face (68 2) lie closest to RIGID_TEMPLATE.

    A similarity by least squares (Umeyama 1991) over complex numbers, which can't mirror. Neither size nor place
    depends on the mouth.
    """
    points, template = landmarks[RIGID_POINTS, :2].astype(np.float64) @ [1, 1j], RIGID_TEMPLATE @ [1, 1j]
    point_mean, template_mean = points.mean(), template.mean()
    points, template = points - point_mean, template - template_mean
    factor = (np.abs(points) ** 2).sum() / (points.conj() * template).sum()  # picture pixels per side
    center = point_mean + factor * (0.5 + 0.5j - template_mean)
    return Region((float(center.real), float(center.imag)), float(abs(factor)), float(np.angle(factor)))


def region_of_box(box: tuple[float, float, float, float]) -> Region:
    """Return the square around a face.

    Args:
        box: (x0, y0, x1, y1) pixels, from forehead to chin.

    Returns:
        The upright square.
    """
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0) / (CHIN_Y - FOREHEAD_Y)
    return Region(((x0 + x1) / 2, (y0 + y1) / 2 + side * (0.5 - (FOREHEAD_Y + CHIN_Y) / 2)), side)


def full_region(height: int, width: int) -> Region:
    """Return the square around the whole picture.

    Args:
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.

    Returns:
        The square; its side is the picture's longer side.
    """
    return Region((width / 2, height / 2), float(max(height, width)))


def box_of_landmarks(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Compute the box of a face from forehead to chin; the template adds the forehead above the brows' landmarks.

    Args:
        landmarks: (68 2) pixels.

    Returns:
        (x0, y0, x1, y1) pixels.
    """
    forehead = transform_points(region_of_landmarks(landmarks).matrix(1), np.array([[0.5, FOREHEAD_Y]]))
    points = np.concatenate([landmarks[:, :2], forehead])
    return (*points.min(0).tolist(), *points.max(0).tolist())


def locator_mask(box: tuple[float, float, float, float], region: Region, size: int) -> np.ndarray:
    """Return the mask that tells a model where the face may be (EMO's face locator).

    Args:
        box: Box of the face, pixels of the picture.
        region: The square that is cut out.
        size: Side of the mask.

    Returns:
        (size size) float32 in 0..1: how much of each cell of the crop lies in the box, of 4 x 4 samples.
    """
    fine = 4 * size
    centers = np.stack(np.meshgrid(np.arange(fine) + 0.5, np.arange(fine) + 0.5), -1)
    x, y = np.moveaxis(transform_points(region.matrix(fine), centers), -1, 0)
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return inside.reshape(size, 4, size, 4).mean((1, 3), dtype=np.float32)


def crop_region(image: np.ndarray, region: Region, size: int) -> np.ndarray:
    """Cut out a region; beyond the picture its border pixels are repeated.

    Args:
        image: (H W 3) uint8.
        region: The region, pixels of the image.
        size: Side of the crop, pixels.

    Returns:
        (size size 3) uint8.
    """
    return warp_square(image, region.matrix(1), size)


def warp_square(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cut out what an affine map (2 3) of the unit square into the picture shows.

    Where that shrinks, it is sampled at the picture's own resolution first and then averaged, so nothing aliases.

    Args:
        image: (H W 3) uint8.
        matrix: (2 3) affine map of the unit square into the image.
        size: Side of the crop, pixels.

    Returns:
        (size size 3) uint8.
    """
    side = np.linalg.norm(matrix[:, :2], axis=0).max()
    drawn = size * max(1, ceil(side / size))
    flags = (cv2.INTER_LINEAR if drawn > size else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    indices = to_pixel_indices(matrix / [drawn, drawn, 1])
    square = cv2.warpAffine(image, indices, (drawn, drawn), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def to_pixel_indices(matrix: np.ndarray) -> np.ndarray:
    """Return the same map (2 3) between pixel indices, as OpenCV counts: index i is the coordinate i + 0.5."""
    shift = matrix[:, :2] @ [0.5, 0.5] + matrix[:, 2] - 0.5
    return np.column_stack([matrix[:, :2], shift])


def smooth_gaussian(values: np.ndarray, sigma_frames: float) -> np.ndarray:
    """Smooth values over time with a Gaussian; the ends are repeated.

    Args:
        values: (T D).
        sigma_frames: Standard deviation of the Gaussian, frames.

    Returns:
        (T D) smoothed values.
    """
    radius = int(4 * sigma_frames)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_frames) ** 2)
    padded = np.pad(values, [(radius, radius), (0, 0)], mode="edge")
    columns = [np.convolve(c, weights / weights.sum(), mode="valid") for c in padded.T]
    return np.stack(columns, axis=-1)


def smooth_regions(landmarks: np.ndarray) -> list[Region]:
    """Return the square of each frame of a face (T 68 2), its path smoothed: a crop in which the head holds still."""
    regions = [region_of_landmarks(points) for points in landmarks]
    path = np.array([(*r.center, np.log(r.side), r.angle_radians) for r in regions])
    return [Region((x, y), float(np.exp(s)), a) for x, y, s, a in smooth_gaussian(path, PATH_SMOOTHING_FRAMES)]


def normalize_points(points: np.ndarray, region: Region) -> np.ndarray:
    """Convert pixels of the picture to coordinates in a region's unit square.

    Args:
        points: (N 2) pixels.
        region: The region, pixels.

    Returns:
        (N 2) in the unit square.
    """
    matrix = region.matrix(1)
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def normalize_landmarks(points: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """Convert the landmarks of each frame to coordinates in the unit square of that frame's region.

    Args:
        points: (T N 2) pixels.
        regions: T regions, pixels.

    Returns:
        (T N 2) in the unit squares.
    """
    return np.stack([normalize_points(p, r) for p, r in zip(points, regions, strict=True)])


def syncnet_squares(landmarks: np.ndarray) -> np.ndarray:
    """Return the squares of a face (T 68 2) that `crop_for_syncnet` takes: those of `box_of_landmarks`, smoothed.

    SyncNet was trained on crops of run_pipeline.py in https://github.com/joonson/syncnet_python. There a box of S3FD,
    which reaches from forehead to chin and from ear to ear, is followed through a shot; its center and half its longer
    side, h, are the medians of 13 frames. Our box is about the same.

    Returns:
        (T 3) x and y of the center, and half the longer side, pixels.
    """
    return smooth_squares(np.array([box_of_landmarks(points) for points in landmarks]))


def smooth_squares(boxes: np.ndarray) -> np.ndarray:
    """Smooth boxes (T 4) pixels to squares (T 3) of `syncnet_squares`, by medians of 13 frames.

    Beyond the ends there are zeros, as in the published code, so seven frames or more are needed.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    squares = np.column_stack([(low + high) / 2, (high - low).max(1) / 2])
    padded = np.pad(squares, [(SYNCNET_MEDIAN_FRAMES // 2, SYNCNET_MEDIAN_FRAMES // 2), (0, 0)])
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, SYNCNET_MEDIAN_FRAMES, axis=0), axis=-1)


def crop_for_syncnet(image: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Cut a face out as SyncNet's published pipeline does.

    The crop reaches 1.4 h to either side of the center, 1 h up and 1.8 h down (more of the chin), is not rotated
    upright, and is gray beyond the picture.

    Args:
        image: (H W 3) uint8 RGB.
        square: (3,) a row of `syncnet_squares`.

    Returns:
        (224 224 3) uint8 RGB.
    """
    x, y, half = square
    border = int(half * (1 + 2 * SYNCNET_CROP_SCALE))
    gray = [SYNCNET_PADDING_LEVEL] * 3
    padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT, value=gray)
    rows = slice(int(y + border - half), int(y + border + half * (1 + 2 * SYNCNET_CROP_SCALE)))
    columns = slice(
        int(x + border - half * (1 + SYNCNET_CROP_SCALE)), int(x + border + half * (1 + SYNCNET_CROP_SCALE))
    )
    return cv2.resize(padded[rows, columns], (SYNCNET_PIXELS, SYNCNET_PIXELS))
