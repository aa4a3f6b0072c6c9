"""Draw training samples of the face detector and the landmark network.

The detector sees whole canvases with any number of faces; the landmark network sees crops around faces and beside them.
Both come in any style of picture, on drawn backgrounds. Images are (H W 3) uint8 RGB.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from emo.data.image_augmentation import augment_picture, draw_background
from emo.data.labeled_faces import Face
from emo.face.crop import Region, crop_region, region_of_landmarks, transform_points, warp_square
from emo.face.landmarks import MIRRORED_POINTS, NUM_LANDMARKS
from emo.face.networks import CELL_PIXELS, CROP_MARGIN, CROP_PIXELS

CANVAS = 128  # pixels, side of the detector's samples

# Crops (N CROP_PIXELS CROP_PIXELS 3) uint8 -> points (N 68 2) in their unit squares.
LandmarkPredictor = Callable[[np.ndarray], np.ndarray]


@dataclass
class FaceBatch:
    """N samples of either network; G = CANVAS / CELL_PIXELS.

    Attributes:
        canvases: (N CANVAS CANVAS 3) uint8.
        heat: (N G G) float32, 1 in the cells of the regions' centers, falling to 0.
        geometry: (N 3 G G) float32: offset x and y to the center, and log of the side, in cells.
        geometry_mask: (N G G) bool: where the geometry is trained.
        crops: (N CROP_PIXELS CROP_PIXELS 3) uint8.
        points: (N 68 2) float32 in the unit square of the crop.
        is_face: (N,) bool.
    """

    canvases: np.ndarray
    heat: np.ndarray
    geometry: np.ndarray
    geometry_mask: np.ndarray
    crops: np.ndarray
    points: np.ndarray
    is_face: np.ndarray


def draw_face_batch(faces: list[Face], size: int, rng: np.random.Generator, predict: LandmarkPredictor) -> FaceBatch:
    """Draw `size` samples of either network.

    Args:
        faces: Labeled faces.
        size: N.
        rng: The same state draws the same samples.
        predict: The landmark network as it is now.

    Returns:
        The samples of the face finder and of the landmark network.
    """
    samples = zip(*(draw_finder_sample(faces, rng) for _ in range(size)), strict=True)
    canvases, heat, geometry, geometry_mask = map(np.stack, samples)
    crops, points, is_face = draw_landmarker_samples(faces, size, rng, predict)
    return FaceBatch(canvases, heat, geometry, geometry_mask, crops, points, is_face)


def draw_finder_sample(faces: list[Face], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draw a canvas with none to four faces, from tiny to larger than it, and its target maps.

    Args:
        faces: Labeled faces.
        rng: Source of the random choices.

    Returns:
        (CANVAS CANVAS 3) uint8 canvas, then the maps of `make_finder_maps`.
    """
    canvas, regions = draw_face_free_background(faces, CANVAS, rng), []
    for _ in range(rng.choice(5, p=[0.25, 0.45, 0.14, 0.08, 0.08])):
        face = faces[rng.integers(len(faces))]
        side = np.exp(rng.uniform(np.log(16), np.log(170 if not regions else 60)))
        roll = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(-0.8, 0.8)
        region = Region(tuple(rng.uniform(0, CANVAS, 2)), side, roll)
        if side > CANVAS / 2:
            region = Region(tuple(CANVAS / 2 + rng.uniform(-0.25, 0.25, 2) * side), side, roll)
        hidden = paste_face(canvas, face, region)
        regions = [r for r in regions if not hidden[_cell(r, 1)]] + [region]
    canvas = augment_picture(canvas, rng)
    if rng.random() < 0.5:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
        regions = [Region((CANVAS - r.center[0], r.center[1]), r.side) for r in regions]
    return canvas, *make_finder_maps(regions)


def paste_face(canvas: np.ndarray, face: Face, region: Region) -> np.ndarray:
    """Draw the whole picture of a face into a canvas, so that its face region falls on `region`.

    Args:
        canvas: (H W 3) uint8, changed in place.
        face: The labeled face.
        region: Region of the canvas, pixels.

    Returns:
        (H W) bool, True where the picture was drawn.
    """
    to_face, to_canvas = face.region.matrix(1), region.matrix(1)
    shrink = max(1.0, face.region.side / region.side)
    image = cv2.resize(face.image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    exact = [face.image.shape[1] / image.shape[1], face.image.shape[0] / image.shape[0]]
    matrix = to_canvas[:, :2] @ np.linalg.inv(to_face[:, :2])
    shift = to_canvas[:, 2] - matrix @ to_face[:, 2]
    matrix = np.column_stack([matrix * exact, shift])
    drawn = cv2.warpAffine(image, matrix, canvas.shape[1::-1], flags=cv2.INTER_LINEAR)
    ones = np.full(image.shape[:2], 255, np.uint8)
    covered = cv2.warpAffine(ones, matrix, canvas.shape[1::-1], flags=cv2.INTER_NEAREST) > 0
    canvas[covered] = drawn[covered]
    return covered


def make_finder_maps(regions: list[Region]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make heat (G G), geometry (3 G G) and geometry mask (G G) of a canvas with these regions, see `FaceBatch`."""
    grid = CANVAS // CELL_PIXELS
    heat, near = np.zeros((grid, grid), np.float32), np.zeros((grid, grid), bool)
    geometry, closest = np.zeros((3, grid, grid), np.float32), np.full((grid, grid), np.inf)
    rows, columns = np.mgrid[:grid, :grid] + 0.5
    for region in sorted(regions, key=lambda r: -r.side):
        x, y, side = *(np.array(region.center) / CELL_PIXELS), region.side / CELL_PIXELS
        distance = np.hypot(columns - x, rows - y)
        heat = np.maximum(heat, np.exp(-0.5 * (distance / max(0.7, 0.08 * side)) ** 2))
        mine = (distance < max(1.0, 0.15 * side)) & (distance < closest)
        closest[mine], near[mine] = distance[mine], True
        geometry[:, mine] = np.stack([x - columns, y - rows, np.full_like(rows, np.log(side))])[:, mine]
    for region in regions:
        heat[_cell(region, CELL_PIXELS)] = 1
    return heat.astype(np.float32), geometry, near


def draw_landmarker_samples(
    faces: list[Face], size: int, rng: np.random.Generator, predict: LandmarkPredictor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw crops, their points, and whether they show a face where one should be.

    Crops that miss the face continue to where the landmark network itself would look next: what it then takes for a
    face is what it must learn.

    Args:
        faces: Labeled faces.
        size: N.
        rng: Source of all choices.
        predict: The landmark network as it is now.

    Returns:
        Crops (N CROP_PIXELS CROP_PIXELS 3) uint8, points (N 68 2) and (N,) bool.
    """
    chosen = [faces[i] for i in rng.integers(len(faces), size=size)]
    kinds = rng.choice(3, size=size, p=[0.55, 0.3, 0.15])  # around the face, beside it, a picture without a face
    chosen = [
        Face(draw_background(2 * CROP_PIXELS, rng), None) if k == 2 else f for f, k in zip(chosen, kinds, strict=True)
    ]
    matrices = [
        draw_square_around(f.region, rng) if k == 0 else draw_square_beside(f, rng)
        for f, k in zip(chosen, kinds, strict=True)
    ]
    missed = [i for i in range(size) if kinds[i] > 0 or rng.random() < 0.2]
    for _ in range(rng.integers(3)):
        found = predict(np.stack([warp_square(chosen[i].image, matrices[i], CROP_PIXELS) for i in missed]))
        for i, points in zip(missed, found, strict=True):
            matrices[i] = find_next_square(transform_points(matrices[i], points), matrices[i], chosen[i].image)
    samples = [draw_landmarker_sample(face, matrix, rng) for face, matrix in zip(chosen, matrices, strict=True)]
    crops, points, is_face = map(np.stack, zip(*samples, strict=True))
    return crops, points, is_face


def find_next_square(landmarks: np.ndarray, before: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Compute the crop of landmarks; implausible landmarks keep the previous one.

    Args:
        landmarks: (68 2) pixels.
        before: (2 3) affine map of the previous crop.
        image: (H W 3) uint8.

    Returns:
        (2 3) affine map of the unit square into the image.
    """
    region = region_of_landmarks(landmarks)
    if 8 < region.side < 2 * max(image.shape):
        return Region(region.center, region.side * CROP_MARGIN, region.angle_radians).matrix(1)
    return before


def draw_landmarker_sample(
    face: Face, matrix: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cut a sample of the landmark network.

    Args:
        face: The labeled face.
        matrix: (2 3) affine map of the unit square into the face's image.
        rng: Source of the random choices.

    Returns:
        The crop (CROP_PIXELS CROP_PIXELS 3) uint8, its points (68 2) in the unit square, and whether it shows the
        face.
    """
    square, points = warp_square(face.image, matrix, CROP_PIXELS), np.zeros((NUM_LANDMARKS, 2))
    is_face = face.landmarks is not None and is_near(matrix, face.region)
    if is_face:
        points = transform_points(cv2.invertAffineTransform(matrix), face.landmarks)
    if rng.random() < 0.5:
        square = np.ascontiguousarray(square[:, ::-1])
        points = (points * [-1, 1] + [1, 0])[MIRRORED_POINTS]
    return augment_picture(square, rng, occlude=is_face), points.astype(np.float32), is_face


def is_near(matrix: np.ndarray, region: Region) -> bool:
    """Check whether a crop of the landmark network lies about a region.

    Args:
        matrix: (2 3) affine map of the unit square into the image.
        region: The region, pixels.

    Returns:
        True where center and size are close to the region's.
    """
    side, center = np.linalg.norm(matrix[:, 1]) / CROP_MARGIN, transform_points(matrix, np.array([0.5, 0.5]))
    near = np.abs(center - region.center).max() < 0.35 * max(side, region.side)
    return bool(near and 0.5 < side / region.side < 2.0)


def draw_square_around(region: Region, rng: np.random.Generator) -> np.ndarray:
    """Draw a crop about a region as the detector, or the network's own first pass, may place it.

    Args:
        region: Region of a face, pixels.
        rng: Source of the random choices.

    Returns:
        (2 3) affine map of the unit square into the image.
    """
    rough = rng.random() < 0.5
    shift = np.clip(rng.normal(0, 0.09 if rough else 0.03, 2), -0.2, 0.2)
    center = np.array(region.center) + region.side * shift
    side = region.side * CROP_MARGIN * np.exp(rng.normal(0, 0.15 if rough else 0.06))
    roll = rng.uniform(-0.85, 0.85) if rough else rng.normal(0, 0.1)
    matrix = Region(tuple(center), side, region.angle_radians + roll).matrix(1)
    squeeze = np.exp(rng.normal(0, 0.06)), 1.0
    linear = matrix[:, :2] * squeeze
    return np.column_stack([linear, center - linear @ [0.5, 0.5]])


def draw_square_beside(face: Face, rng: np.random.Generator) -> np.ndarray:
    """Draw a crop that misses the face: next to it, on a part of it, or much too large.

    Args:
        face: The labeled face.
        rng: Source of the random choices.

    Returns:
        (2 3) affine map of the unit square into the image.
    """
    height, width = face.image.shape[:2]
    region = Region((width / 2, height / 2), width / 2) if face.landmarks is None else face.region
    while True:
        side = region.side * CROP_MARGIN * np.exp(rng.uniform(np.log(0.06), np.log(3.5)))
        near = region.center + rng.uniform(-1, 1, 2) * region.side
        center = near if rng.random() < 0.5 else rng.uniform([0, 0], [width, height])
        matrix = Region(tuple(center), side, rng.normal(0, 0.3)).matrix(1)
        if face.landmarks is None or not is_near(matrix, region):
            return matrix


def draw_face_free_background(faces: list[Face], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a background (size size 3) without a complete face.

    It is drawn, or lies beside the face of a picture, or is a detail of one, perhaps of the face.

    Args:
        faces: Labeled faces.
        size: Side of the background, pixels.
        rng: Source of the random choices.

    Returns:
        (size size 3) uint8.
    """
    face = faces[rng.integers(len(faces))]
    height, width = face.image.shape[:2]
    region, kind = face.region, rng.random()
    if kind < 0.3:
        side = region.side * np.exp(rng.uniform(np.log(0.08), np.log(0.4)))
        return crop_region(face.image, Region(tuple(rng.uniform([0, 0], [width, height])), side), size)
    for _ in range(8 if kind < 0.65 else 0):
        side = min(height, width) * rng.uniform(0.15, 0.5)
        center = rng.uniform([side / 2, side / 2], [width - side / 2, height - side / 2])
        if np.abs(center - region.center).max() > side / 2 + region.side * 0.42:
            return crop_region(face.image, Region(tuple(center), side), size)
    return draw_background(size, rng)


def _cell(region: Region, cell: int) -> tuple[int, int]:
    """Row and column of the region's center."""
    limit = CANVAS // cell - 1
    return min(int(region.center[1] // cell), limit), min(int(region.center[0] // cell), limit)
