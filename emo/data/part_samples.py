"""Draw training samples of the networks that refine the landmarks of mouth and eyes.

Samples are crops as the landmark network may place them, in any style of picture, some of them occluded by fingers, a
hand, a microphone, a bar or a piece of something. Images are (S S 3) uint8 RGB, masks (S S) float32 in 0..1; all
choices come from the rng.
"""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from emo.core.config import DataConfig
from emo.data.clip import list_clips, load_clip, read_clip_frames
from emo.data.image_augmentation import augment_picture, draw_background
from emo.data.labeled_faces import Face, load_faces
from emo.face.crop import transform_points, warp_square
from emo.face.landmarks import LIP_POINTS, MIRRORED_POINTS, mouth_opening
from emo.face.refinement import MOUTH, PART_PIXELS, FacePart

FRAMES_PER_VIDEO, FRAMES_PER_CLIP, CLIP_STEP = 12, 4, 9  # of prepared clips every CLIP_STEP-th is used
STYLIZED_RATE = 0.5  # share of the samples that are recolored, degraded or stylized
OCCLUDED_RATE = 0.45  # share of the samples with something in front, of whatever it hides
OCCLUDED_RATIO = 1 / 3  # of a part that is hidden, from which on it counts as occluded
MIRRORED_LIPS = [k - LIP_POINTS.start for k in MIRRORED_POINTS[LIP_POINTS]]
SUPERSAMPLING = 2  # outlines are drawn at this multiple of the image's resolution


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


def occlude_with_object(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an object over an image, more often than not over its middle.

    Args:
        image: (S S 3) uint8.
        rng: Source of all choices.

    Returns:
        The image with the object and its shadow, and the mask of what it hides.
    """
    size = len(image)
    reach = 0.12 if rng.random() < 0.7 else 0.4
    center = size * (0.5 + rng.uniform(-reach, reach, 2))
    shape, colors = OCCLUDERS[rng.integers(len(OCCLUDERS))](image, center, rng)
    mask = cv2.resize(shape, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shadow = cv2.GaussianBlur(mask, (0, 0), size * rng.uniform(0.02, 0.08)) * np.float32(rng.uniform(0, 0.5))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.0))[..., None]
    behind = image * (1 - shadow[..., None])
    return np.clip(behind * (1 - soft) + colors * soft, 0, 255).astype(np.uint8), mask


def draw_skin_color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose a skin color like that of the image's rim, or another.

    Args:
        image: (H W 3) uint8 RGB.
        rng: Source of the random choices.

    Returns:
        (3,) RGB, 0 .. 255.
    """
    rim = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3)])
    tone = np.median(rim, 0) if rng.random() < 0.8 else np.array([225, 180, 150]) * rng.uniform(0.25, 1.05)
    return tone * rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)


def shade_shape(shape: np.ndarray, tone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Color a shape so that it looks round: darker to its edges and on one side, with grain.

    Args:
        shape: (SUPERSAMPLING * S, SUPERSAMPLING * S) uint8.
        tone: (3,) its color.
        rng: Source of light and grain.

    Returns:
        (S S 3) float32.
    """
    size = len(shape) // SUPERSAMPLING
    height = cv2.resize(cv2.distanceTransform(shape, cv2.DIST_L2, 3), (size, size), interpolation=cv2.INTER_AREA)
    bulge = np.sqrt(np.clip(height / max(1e-3, height.max() * rng.uniform(0.4, 1.0)), 0, 1))
    direction = rng.normal(0, 1, 2)
    slope = np.linspace(-1, 1, size) * direction[0] + np.linspace(-1, 1, size)[:, None] * direction[1]
    light = 1 - rng.uniform(0.15, 0.5) * (1 - bulge) + 0.08 * slope
    grain = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 0.8) * rng.uniform(0, 0.12)
    return np.asarray(tone * (light + grain)[..., None], np.float32)


def _make_blank(image):
    return np.zeros((SUPERSAMPLING * len(image),) * 2, np.uint8)


def _draw_line(shape, start, end, width):
    start, end = (tuple(np.int32(np.round(np.array(p) * SUPERSAMPLING)).tolist()) for p in (start, end))
    cv2.line(shape, start, end, 255, max(1, round(width * SUPERSAMPLING)), cv2.LINE_8)


def _draw_finger_lines(shape, tip, away, count, width, rng):
    """Draw `count` fingers side by side, their ends about `tip`, from the direction `away` (radians)."""
    direction = np.array([np.cos(away), np.sin(away)])
    beside = np.array([-direction[1], direction[0]])
    for k in range(count):
        end = tip + beside * width * 1.08 * (k - (count - 1) / 2) + direction * width * rng.uniform(-0.6, 0.6)
        _draw_line(shape, end, end + direction * len(shape), width * rng.uniform(0.85, 1.0))


def _draw_fingers(image, center, rng):
    shape, width, count = _make_blank(image), len(image) * rng.uniform(0.10, 0.20), int(rng.integers(1, 5))
    away = rng.uniform(0, 2 * np.pi)
    tip = center - np.array([np.cos(away), np.sin(away)]) * width * rng.uniform(0, 2)
    tone, colors, total = draw_skin_color(image, rng), np.zeros(image.shape, np.float32), _make_blank(image)
    beside = np.array([-np.sin(away), np.cos(away)])
    for k in range(count):
        shape[:] = 0
        _draw_finger_lines(shape, tip + beside * width * 1.05 * (k - (count - 1) / 2), away, 1, width, rng)
        here = cv2.resize(shape, image.shape[1::-1], interpolation=cv2.INTER_AREA)[..., None] > 127
        colors, total = np.where(here, shade_shape(shape, tone, rng), colors), np.maximum(total, shape)
    return total, np.where(colors > 0, colors, np.float32(tone * 0.6))


def _draw_hand(image, center, rng):
    size, shape, away = len(image), _make_blank(image), rng.uniform(0, 2 * np.pi)
    reach = (SUPERSAMPLING * size * rng.uniform([0.25, 0.2], [0.5, 0.4])).astype(int).tolist()
    cv2.ellipse(shape, (SUPERSAMPLING * center).astype(int).tolist(), reach, np.degrees(away), 0, 360, 255, -1)
    _draw_line(shape, center, center + 2 * size * np.array([np.cos(away), np.sin(away)]), size * rng.uniform(0.3, 0.5))
    if rng.random() < 0.6:
        _draw_finger_lines(shape, center, away + np.pi + rng.normal(0, 0.5), int(rng.integers(1, 5)), 0.14 * size, rng)
    return shape, shade_shape(shape, draw_skin_color(image, rng), rng)


def _draw_microphone(image, center, rng):
    size, shape, reach = len(image), _make_blank(image), len(image) * rng.uniform(0.12, 0.4)
    cv2.circle(shape, (SUPERSAMPLING * center).astype(int).tolist(), int(SUPERSAMPLING * reach), 255, -1)
    away = rng.uniform(0, np.pi)  # its stem comes from below
    _draw_line(shape, center, center + 2 * size * np.array([np.cos(away), np.sin(away)]), reach * rng.uniform(0.4, 1.2))
    colors = shade_shape(shape, rng.uniform(10, 150) * rng.uniform(0.9, 1.1, 3), rng)
    y, x = np.mgrid[:size, :size] * rng.uniform(0.8, 3.0)
    stripes = np.asarray(1 + rng.uniform(0, 0.4) * np.sin(x) * np.sin(y), np.float32)
    return shape, colors * stripes[..., None]


def _draw_bar(image, center, rng):
    size, shape = len(image), _make_blank(image)
    sides = SUPERSAMPLING * size * rng.uniform([0.25, 0.12], [2.0, 0.6])
    box = cv2.boxPoints(((SUPERSAMPLING * center).tolist(), sides.tolist(), float(rng.uniform(0, 180))))
    cv2.fillPoly(shape, [box.astype(np.int32)], 255)
    return shape, draw_background(size, rng).astype(np.float32)


def _draw_piece(image, center, rng):
    size, shape, count = len(image), _make_blank(image), int(rng.integers(4, 9))
    turns = np.sort(rng.uniform(0, 2 * np.pi, count))
    corners = center + size * rng.uniform(0.15, 0.5, (count, 1)) * np.stack([np.cos(turns), np.sin(turns)], -1)
    cv2.fillPoly(shape, [(SUPERSAMPLING * corners).astype(np.int32)], 255)
    if rng.random() < 0.5:
        return shape, draw_background(size, rng).astype(np.float32)
    return shape, shade_shape(shape, draw_skin_color(image, rng), rng)


OCCLUDERS = [_draw_fingers, _draw_fingers, _draw_hand, _draw_microphone, _draw_bar, _draw_piece]
