"""Square face regions: fit to landmarks, cut, smooth over time.

The square of a picture that is animated, and the way of its frames back into the whole picture.

Landmarks are 68 points in iBUG order, (68 2) float, x and y in pixels of the picture. Coordinates are
continuous: the first pixel covers 0..1, its centre is 0.5. Images are (H W 3) uint8 RGB, boxes
(x0, y0, x1, y1) pixels, a crop is (size size 3).

A head that is held still: the square of its face, smoothly followed. T frames.

The crop of a face that SyncNet was trained on, cut as the published pipeline cuts it.

In run_pipeline.py of https://github.com/joonson/syncnet_python a box of S3FD, which reaches from forehead to chin and
from ear to ear as WIDER FACE draws it, is followed through a shot. Its centre and half its longer side, h, are the
medians of 13 frames; what is shown reaches 1.4 h to either side, 1 h up and 1.8 h down (crop_scale 0.4: more of the
chin), is not turned upright, and is grey beyond the picture. Ours is the same, with the box of `box_of_landmarks`.
T frames; images (H W 3) uint8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

# Points that neither speech nor a smile moves: eye corners and nose.
RIGID = [36, 39, 42, 45, 27, 30, 33, 31, 35]
# Where they lie in the unit square: the symmetric mean of 171 frontal faces of GRID and SFHQ-T2I, scaled so
# that the face from forehead to chin is 1 / 1.35 of the side, with room under the chin for an open mouth.
TEMPLATE = np.array(
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
FOREHEAD, CHIN = 0.11, 0.11 + 1 / 1.35  # heights of a face's ends in the unit square


@dataclass(frozen=True)
class Region:
    """A square on the picture, perhaps rotated, perhaps reaching beyond the picture's borders."""

    center: tuple[float, float]  # pixels
    side: float  # pixels
    angle_radians: float = 0.0  # clockwise on the screen: the roll of the head

    def matrix(self, size: int) -> np.ndarray:
        """(2 3) float64: affine map from pixels of the (size size) crop to pixels of the picture."""
        scale = self.side / size
        cos, sin = scale * np.cos(self.angle_radians), scale * np.sin(self.angle_radians)
        rotation = np.array([[cos, -sin], [sin, cos]])
        shift = np.array(self.center) - rotation @ [size / 2, size / 2]
        return np.column_stack([rotation, shift])


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (... 2) through an affine matrix (2 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def region_of_landmarks(landmarks: np.ndarray) -> Region:
    """The square whose TEMPLATE the rigid points fit best: a similarity by least squares (Umeyama 1991), in
    which the complex factor has no way to mirror. Neither size nor place depends on the mouth."""
    points, template = landmarks[RIGID, :2].astype(np.float64) @ [1, 1j], TEMPLATE @ [1, 1j]
    point_mean, template_mean = points.mean(), template.mean()
    points, template = points - point_mean, template - template_mean
    factor = (np.abs(points) ** 2).sum() / (points.conj() * template).sum()  # picture pixels per side
    center = point_mean + factor * (0.5 + 0.5j - template_mean)
    return Region((float(center.real), float(center.imag)), float(abs(factor)), float(np.angle(factor)))


def region_of_box(box: tuple[float, float, float, float]) -> Region:
    """The square around a face box that reaches from forehead to chin."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0) / (CHIN - FOREHEAD)
    return Region(((x0 + x1) / 2, (y0 + y1) / 2 + side * (0.5 - (FOREHEAD + CHIN) / 2)), side)


def full_region(height: int, width: int) -> Region:
    """The square that holds the whole picture."""
    return Region((width / 2, height / 2), float(max(height, width)))


def box_of_landmarks(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """The face box, forehead to chin; the 68 points end at the brows, so the template adds the forehead."""
    forehead = transform(region_of_landmarks(landmarks).matrix(1), np.array([[0.5, FOREHEAD]]))
    points = np.concatenate([landmarks[:, :2], forehead])
    return (*points.min(0).tolist(), *points.max(0).tolist())


def locator_mask(box: tuple[float, float, float, float], region: Region, size: int) -> np.ndarray:
    """(size size) float32 in 0..1: how much of each cell of the crop lies in the face box of the picture."""
    fine = 4 * size
    centres = np.stack(np.meshgrid(np.arange(fine) + 0.5, np.arange(fine) + 0.5), -1)
    x, y = np.moveaxis(transform(region.matrix(fine), centres), -1, 0)
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return inside.reshape(size, 4, size, 4).mean((1, 3), dtype=np.float32)


def crop(image: np.ndarray, region: Region, size: int) -> np.ndarray:
    """The region's pixels as (size size 3) uint8; beyond the picture its border goes on."""
    return cut(image, region.matrix(1), size)


def cut(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """What an affine map (2 3) of the unit square into the picture shows, as (size size 3) uint8. One that
    shrinks is drawn at the picture's own resolution first and then averaged, so nothing aliases."""
    side = np.linalg.norm(matrix[:, :2], axis=0).max()
    drawn = size * max(1, ceil(side / size))
    flags = (cv2.INTER_LINEAR if drawn > size else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP
    indices = _of_indices(matrix / [drawn, drawn, 1])
    square = cv2.warpAffine(image, indices, (drawn, drawn), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def _of_indices(matrix: np.ndarray) -> np.ndarray:
    """The same map between pixel indices, as OpenCV counts: index i is the coordinate i + 0.5."""
    shift = matrix[:, :2] @ [0.5, 0.5] + matrix[:, 2] - 0.5
    return np.column_stack([matrix[:, :2], shift])


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


MORE = 0.4  # crop_scale
SIDE, MEDIAN_FRAMES, GREY = 224, 13, 110


def sync_squares(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) pixels -> (T 3) x, y of the box's centre and half its longer side, pixels."""
    return squares_of_boxes(np.array([box_of_landmarks(points) for points in landmarks]))


def squares_of_boxes(boxes: np.ndarray) -> np.ndarray:
    """boxes (T 4) pixels, of seven frames or more, -> (T 3). Beyond the ends of the median stand zeros, as in the
    published code."""
    low, high = boxes[:, :2], boxes[:, 2:]
    rough = np.column_stack([(low + high) / 2, (high - low).max(1) / 2])
    padded = np.pad(rough, [(MEDIAN_FRAMES // 2, MEDIAN_FRAMES // 2), (0, 0)])
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_FRAMES, axis=0), axis=-1)


def sync_crop(image: np.ndarray, square: np.ndarray) -> np.ndarray:
    """What a row of `sync_squares` shows of a picture, (SIDE SIDE 3) uint8."""
    x, y, half = square
    border = int(half * (1 + 2 * MORE))
    padded = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_CONSTANT, value=[GREY] * 3)
    rows = slice(int(y + border - half), int(y + border + half * (1 + 2 * MORE)))
    columns = slice(int(x + border - half * (1 + MORE)), int(x + border + half * (1 + MORE)))
    return cv2.resize(padded[rows, columns], (SIDE, SIDE))
