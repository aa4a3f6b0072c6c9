"""Draw training samples of the networks that refine the landmarks of mouth and eyes.

Samples are crops as the landmark network may place them, in any style of picture, some of them occluded.
"""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from emo.core.config import DataConfig
from emo.data.clip import list_clips, load_clip, read_clip_frames
from emo.data.image_augmentation import augment_picture
from emo.data.labeled_faces import Face, load_faces
from emo.data.occlusion import occlude_with_object
from emo.face.crop import transform_points, warp_square
from emo.face.landmarks import LIP_POINTS, MIRRORED_POINTS, mouth_opening
from emo.face.refinement import MOUTH, PART_PIXELS, FacePart

FRAMES_PER_VIDEO, FRAMES_PER_CLIP, CLIP_STEP = 12, 4, 9  # of prepared clips every CLIP_STEP-th is used
STYLIZED_RATE = 0.5  # share of the samples that are recolored, degraded or stylized
OCCLUDED_RATE = 0.45  # share of the samples with something in front, of whatever it hides
OCCLUDED_RATIO = 1 / 3  # of a part that is hidden, from which on it counts as occluded
MIRRORED_LIPS = [k - LIP_POINTS.start for k in MIRRORED_POINTS[LIP_POINTS]]


@dataclass
class PartBatch:
    """N samples of one part with K points.

    Attributes:
        crops: (N PART_PIXELS PART_PIXELS 3) uint8.
        points: (N K 2) float32 in the unit square of the crop.
        valid: (N K) bool, which points are known: an iris need not be.
        occluded: (N,) bool.
    """

    crops: np.ndarray
    points: np.ndarray
    valid: np.ndarray
    occluded: np.ndarray


def load_part_faces(data: DataConfig) -> list[Face]:
    """Load the labeled faces of pictures, videos and prepared clips, sorted by how wide the mouth is open.

    Raises:
        InputError: A folder has none.
    """
    faces = load_faces(data.images, data.labels, data.hold_out, FRAMES_PER_VIDEO)
    for path in list_clips(list(data.clips), data.hold_out)[::CLIP_STEP]:
        frames, points = list(read_clip_frames(path)), load_clip(path).landmarks
        chosen = np.linspace(0, len(frames) - 1, FRAMES_PER_CLIP).astype(int)
        faces += [Face(frames[k], points[k] * len(frames[k])) for k in chosen]
    return sorted(faces, key=lambda face: mouth_opening(cast(np.ndarray, face.landmarks)[None])[0])


def draw_part_batch(faces: list[Face], part: FacePart, size: int, rng: np.random.Generator) -> PartBatch:
    """Draw `size` samples; the later a face stands in the list, the more likely it is drawn.

    Args:
        faces: Labeled faces.
        part: Mouth or eye.
        size: N.
        rng: The same state draws the same samples.

    Returns:
        The samples.
    """
    chosen = [faces[int(len(faces) * share**0.5)] for share in rng.random(size)]
    samples = [draw_part_sample(face, part, rng) for face in chosen]
    return PartBatch(*map(np.stack, zip(*samples, strict=True)))


def draw_part_sample(
    face: Face, part: FacePart, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Draw a sample of a face.

    Args:
        face: The labeled face.
        part: Mouth or eye.
        rng: Source of the random choices.

    Returns:
        The crop, its points (K 2), which of them are known (K,), and whether the part is occluded.
    """
    place = int(rng.integers(len(part.points)))
    landmarks = cast(np.ndarray, face.landmarks)  # None only in pictures without a face
    matrix = jitter_square(part.squares(landmarks)[place], rng)
    points = landmarks[list(part.points[place])]
    points = np.concatenate([points, face.irises[place : place + 1]]) if part.has_iris else points
    points = transform_points(cv2.invertAffineTransform(matrix), points)
    image, occluded = warp_square(face.image, matrix, PART_PIXELS), False
    if part is MOUTH and rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        points = (points * [-1, 1] + [1, 0])[MIRRORED_LIPS]
    if rng.random() < OCCLUDED_RATE:
        image, mask = occlude_with_object(image, rng)
        occluded = occluded_ratio(points, mask) >= OCCLUDED_RATIO
    valid = np.asarray(np.isfinite(points).all(1))
    image = augment_picture(image, rng) if rng.random() < STYLIZED_RATE else image
    return image, np.where(valid[:, None], points, 0).astype(np.float32), valid, occluded


def occluded_ratio(points: np.ndarray, mask: np.ndarray) -> float:
    """Measure how much of the hull of points lies under a mask.

    Args:
        points: (K 2) in the unit square, NaN where unknown.
        mask: (S S) float, 0 .. 1.

    Returns:
        Mean of the mask inside the hull, 0 .. 1.
    """
    inside = np.zeros(mask.shape, np.uint8)
    corners = points[np.isfinite(points).all(1)] * len(mask)
    cv2.fillConvexPoly(inside, cv2.convexHull(corners.round().astype(np.int32)), 1)
    return float(mask[inside > 0].mean())


def jitter_square(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Misplace the square of a face part as errors of the landmark network do: shift, rotation, scale, squeeze.

    Args:
        matrix: (2 3) affine map of the unit square into the image.
        rng: Source of the random choices.

    Returns:
        (2 3) the misplaced map.
    """
    center = matrix @ [*(0.5 + np.clip(rng.normal(0, 0.04, 2), -0.12, 0.12)), 1]
    roll, scale = rng.normal(0, 0.08), np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.04, 2))
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    linear = matrix[:, :2] @ turn * scale
    return np.column_stack([linear, center - linear @ [0.5, 0.5]])
