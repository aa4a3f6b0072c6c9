"""The square of a picture that is animated, and the way of its frames back into the whole picture.

Landmarks are 68 points in iBUG order, (68 2) float, x and y in pixels of the picture. Coordinates are
continuous: the first pixel covers 0..1, its centre is 0.5. Images are (H W 3) uint8 RGB, boxes
(x0, y0, x1, y1) pixels, a crop is (size size 3).
"""

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
BORDER, EDGE = 0.04, 0.12  # the soft mask is 0 outside BORDER and 1 inside EDGE, in sides
STILL, MOVED = 5.0, 20.0  # differences, in grey levels, that keep and that replace the picture's own detail


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


def soft_mask(size: int) -> np.ndarray:
    """(size size) float32: 0 in a ring along the border, 1 in the middle, smooth between."""
    position = (np.arange(size) + 0.5) / size
    depth = np.minimum(position, 1 - position)
    ramp = _smoothstep((depth - BORDER) / (EDGE - BORDER)).astype(np.float32)
    return ramp[:, None] * ramp[None, :]


class Paster:
    """Puts frames of a region back into the picture they were cut from.

    `reference` (size size 3) uint8 is the model's own reconstruction of the untouched crop. What is added to
    the picture is frame - reference, so a frame equal to the reference gives back the picture bit by bit;
    where the frame moves away from it by a share `a`, that share of the picture's own detail goes too:

        out = frame + (image - reference) * (1 - a) = image + (frame - reference) - (image - reference) * a
    """

    def __init__(self, image: np.ndarray, region: Region, reference: np.ndarray):
        self.image, self.reference = image, reference.astype(np.float32)
        self.drawn_size = max(1, ceil(region.side))
        x0, y0, x1, y1 = _bounds(region, image.shape[1], image.shape[0])
        self.window = slice(y0, y1), slice(x0, x1)
        to_window = region.matrix(self.drawn_size) - np.array([[0, 0, x0], [0, 0, y0]])
        self.matrix, self.shape = _of_indices(to_window), (x1 - x0, y1 - y0)
        self.portrait = image[self.window].astype(np.float32)
        if 0 not in self.shape:
            self.mask = cv2.merge([self._place(soft_mask(self.drawn_size))] * 3)
            self.detail = (self.portrait - self._place(self.reference)) * self.mask

    def paste(self, frame: np.ndarray) -> np.ndarray:
        """The whole picture (H W 3) uint8 with this frame (size size 3) uint8 in its square."""
        out = self.image.copy()
        if 0 in self.shape:
            return out
        difference = frame - self.reference
        change = cv2.multiply(self._place(difference), self.mask)
        lost = cv2.multiply(self.detail, cv2.merge([self._place(_moved(difference))] * 3))
        out[self.window] = cv2.subtract(cv2.add(self.portrait, change), lost, dtype=cv2.CV_8U)
        return out

    def _place(self, values: np.ndarray) -> np.ndarray:
        """Values of the crop (size size ...) float32 at the pixels of the window; 0 outside the square."""
        shrinks = self.drawn_size < len(values)
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        values = cv2.resize(values, (self.drawn_size, self.drawn_size), interpolation=interpolation)
        return cv2.warpAffine(values, self.matrix, self.shape, flags=cv2.INTER_LINEAR)


def _moved(difference: np.ndarray) -> np.ndarray:
    """(size size) in 0..1: where a frame has left the reference."""
    sigma = len(difference) / 64
    amount = cv2.GaussianBlur(np.maximum.reduce(cv2.split(np.abs(difference))), (0, 0), sigma)
    return cv2.GaussianBlur(_smoothstep((amount - STILL) / (MOVED - STILL)), (0, 0), sigma)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _bounds(region: Region, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels of the picture that the square touches."""
    corners = transform(region.matrix(1), np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]))
    limit = np.array([width, height])
    low = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0)), low, limit).astype(int)
    return (*low.tolist(), *high.tolist())


def _of_indices(matrix: np.ndarray) -> np.ndarray:
    """The same map between pixel indices, as OpenCV counts: index i is the coordinate i + 0.5."""
    shift = matrix[:, :2] @ [0.5, 0.5] + matrix[:, 2] - 0.5
    return np.column_stack([matrix[:, :2], shift])
