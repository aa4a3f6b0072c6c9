"""Training samples of the networks that look at the mouth and the eyes: crops as the landmarker may place them, in any
style of picture, some with something in front.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.config import DataConfig
from emo.data.clip import list_clips, load_clip, read_clip_frames
from emo.data.covers import cover
from emo.data.faces import Face, load_faces
from emo.data.styles import disturb
from emo.face.mouth import opening
from emo.face.network import MIRRORED
from emo.face.parts import LIPS, MOUTH, PART_SIZE, Part
from emo.face.region import cut, transform

FRAMES_PER_CLIP, FRAMES_PER_STILL, EVERY_STILL = 12, 4, 9
CHANGED_RATE = 0.5  # of the samples that are shown in another style
COVERED_RATE = 0.45  # of the samples with something in front, of whatever they show
COVERED_SHARE = 1 / 3  # of a part that is hidden, from which on it is covered
MIRRORED_LIPS = [MIRRORED[k] - LIPS[0] for k in LIPS]


@dataclass
class PartBatch:
    """N samples of one part with K points."""

    crops: np.ndarray  # (N PART_SIZE PART_SIZE 3) uint8
    points: np.ndarray  # (N K 2) float32 in the unit square of the crop
    known: np.ndarray  # (N K) bool: an iris need not be
    covered: np.ndarray  # (N,) bool


def load_looks(data: DataConfig) -> list[Face]:
    """The labelled faces of pictures, videos and prepared clips, those with the mouth wide open last. Raises InputError
    when a folder has none."""
    faces = load_faces(data.pictures, data.labels, data.hold_out, FRAMES_PER_CLIP)
    for path in list_clips(list(data.clips), data.hold_out)[::EVERY_STILL]:
        frames, points = list(read_clip_frames(path)), load_clip(path).landmarks
        chosen = np.linspace(0, len(frames) - 1, FRAMES_PER_STILL).astype(int)
        faces += [Face(frames[k], points[k] * len(frames[k])) for k in chosen]
    return sorted(faces, key=lambda face: opening(face.landmarks[None])[0])


def sample_parts(faces: list[Face], part: Part, size: int, rng: np.random.Generator) -> PartBatch:
    """`size` samples, the later a face stands the more likely of it; the same rng gives the same ones."""
    chosen = [faces[int(len(faces) * share**0.5)] for share in rng.random(size)]
    samples = [part_sample(face, part, rng) for face in chosen]
    return PartBatch(*map(np.stack, zip(*samples, strict=True)))


def part_sample(face: Face, part: Part, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """A crop, its points (K 2), which of them are known (K,), and whether it is covered."""
    place = int(rng.integers(len(part.points)))
    matrix = misplaced(part.squares(face.landmarks)[place], rng)
    points = face.landmarks[list(part.points[place])]
    points = np.concatenate([points, face.irises[place : place + 1]]) if part.iris else points
    points = transform(cv2.invertAffineTransform(matrix), points)
    image, covered = cut(face.image, matrix, PART_SIZE), False
    if part is MOUTH and rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        points = (points * [-1, 1] + [1, 0])[MIRRORED_LIPS]
    if rng.random() < COVERED_RATE:
        image, mask = cover(image, rng)
        covered = hidden_share(points, mask) >= COVERED_SHARE
    known = np.isfinite(points).all(1)
    image = disturb(image, rng) if rng.random() < CHANGED_RATE else image
    return image, np.where(known[:, None], points, 0).astype(np.float32), known, covered


def hidden_share(points: np.ndarray, mask: np.ndarray) -> float:
    """How much of what the points (K 2) enclose lies under the mask (S S) in 0..1."""
    inside = np.zeros(mask.shape, np.uint8)
    corners = points[np.isfinite(points).all(1)] * len(mask)
    cv2.fillConvexPoly(inside, cv2.convexHull(corners.round().astype(np.int32)), 1)
    return float(mask[inside > 0].mean())


def misplaced(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2 3): the part's square as the landmarker's errors put it: shifted, turned, larger or smaller, squeezed."""
    center = matrix @ [*(0.5 + np.clip(rng.normal(0, 0.04, 2), -0.12, 0.12)), 1]
    roll, scale = rng.normal(0, 0.08), np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.04, 2))
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    linear = matrix[:, :2] @ turn * scale
    return np.column_stack([linear, center - linear @ [0.5, 0.5]])
