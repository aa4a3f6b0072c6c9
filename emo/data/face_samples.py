"""Training samples of the face networks.

Training samples of the face networks: labelled faces on made-up backgrounds, in any style of picture.

Images are (H W 3) uint8 RGB; landmarks (68 2) float in pixels of the image or in the unit square of a crop.

Training samples of the networks that look at the mouth and the eyes: crops as the landmarker may place them, in any
style of picture, some with something in front.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from emo.core.config import DataConfig
from emo.core.errors import InputError
from emo.data.augmentation import cover
from emo.data.clip import list_clips, load_clip, read_clip_frames, read_hold_out
from emo.data.sampling import SUFFIXES
from emo.data.styles import background, disturb
from emo.face.crop import Region, crop, cut, region_of_landmarks, transform
from emo.face.landmarks import IBUG, opening
from emo.face.networks import CELL, CROP_MARGIN, CROP_SIZE, MIRRORED, POINTS
from emo.face.refinement import LIPS, MOUTH, PART_SIZE, Part
from emo.media.image import read_image
from emo.media.video import read_video

CANVAS = 128  # pixels, of the finder's samples
STORED_SIDE = 360  # pixels of the largest region kept in memory
SURROUNDINGS = 2.0  # of a video's frame, in sides of the region: others in the frame have no labels
FRAMES_PER_CLIP, CLIPS_PER_PERSON = 3, 8


Look = Callable[[np.ndarray], np.ndarray]  # crops (N CROP_SIZE CROP_SIZE 3) uint8 -> points (N 68 2) in them


@dataclass
class Face:
    """A picture and the landmarks of the face in it, or None where it shows nobody."""

    image: np.ndarray
    landmarks: np.ndarray | None
    irises: np.ndarray = field(default_factory=lambda: np.full((2, 2), np.nan))  # centres; NaN where not known

    @property
    def region(self) -> Region:
        return region_of_landmarks(self.landmarks)


@dataclass
class FaceBatch:
    """N samples of either network; G = CANVAS / CELL."""

    canvases: np.ndarray  # (N CANVAS CANVAS 3) uint8
    heat: np.ndarray  # (N G G) float32 in 0..1, 1 in the cells of the regions' centres
    geometry: np.ndarray  # (N 3 G G) float32: the way to the centre and log of the side, in cells
    near: np.ndarray  # (N G G) bool: where the geometry holds
    crops: np.ndarray  # (N CROP_SIZE CROP_SIZE 3) uint8
    points: np.ndarray  # (N 68 2) float32 in the unit square of the crop
    is_face: np.ndarray  # (N,) bool


def load_faces(
    folders: list[str], labels: str, hold_out: str | None = None, frames_per_clip: int = FRAMES_PER_CLIP
) -> list[Face]:
    """The labelled faces of folders of pictures and videos; those of FOLDER/NAME.jpg lie in
    LABELS/FOLDER/NAME.safetensors, and beside it where emo.synthetic.drawn_footage
    has drawn it. Held out are files, or all files of a person (PERSON_sentence.mp4).

    Raises InputError when a folder has no labels."""
    faces, people, clips = [], read_hold_out(hold_out), Counter()
    for folder in map(Path, folders):
        pairs = labelled(folder, Path(labels) / folder.name)
        for path, label in pairs.items():
            drawn, still = label.parent == folder, path.suffix.lower() in SUFFIXES
            person = path.stem if drawn else path.stem.split("_")[0]
            if people & {person, path.stem} or clips[person] == CLIPS_PER_PERSON:
                continue
            clips[person] += not still
            faces += [read_picture(path, label)] if still else read_clip(path, label, frames_per_clip)
    return [face for face in faces if face is not None]


def labelled(folder: Path, labels: Path) -> dict[Path, Path]:
    """The files of a folder that have labels, and these. Raises InputError where there are none."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix not in (".safetensors", ".csv")]
    homes = {path: [home / f"{path.stem}.safetensors" for home in (folder, labels)] for path in files}
    pairs = {path: label for path, both in homes.items() for label in both if label.exists()}
    if not pairs:
        raise InputError(f"{labels} has no labels of {folder}: make them with emo.preparation.labels")
    return pairs


def read_picture(path: Path, label: Path) -> Face | None:
    """The face of a picture, None where no mesh was found."""
    mesh, irises = read_label(label)
    return stored(read_image(path), mesh[0], irises[0], np.inf) if np.isfinite(mesh).all() else None


def read_clip(path: Path, label: Path, count: int) -> list[Face]:
    """Up to `count` faces of a video."""
    meshes, irises = read_label(label)
    known = np.flatnonzero(np.isfinite(meshes).all((1, 2)))
    wanted = set(known[:: max(1, len(known) // count)][:count].tolist())
    frames = enumerate(read_video(path))
    return [stored(frame, meshes[index], irises[index], SURROUNDINGS) for index, frame in frames if index in wanted]


def read_label(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (T 68 2) and the irises' centres (T 2 2), NaN where they are not known."""
    tensors = load_file(path)
    points = tensors["landmarks"][:, IBUG, :2]
    return points, tensors.get("irises", np.full((len(points), 2, 2), np.nan, np.float32))


def stored(image: np.ndarray, landmarks: np.ndarray, irises: np.ndarray, surroundings: float) -> Face:
    """A face with its surroundings, in sides of the region, shrunk to what training needs."""
    region, size = region_of_landmarks(landmarks), image.shape[1::-1]
    reach = surroundings / 2 * region.side
    low = np.clip(np.array(region.center) - reach, 0, size).astype(int)
    high = np.clip(np.array(region.center) + reach, 0, size).astype(int)
    scale = min(1.0, STORED_SIDE / region.side)
    part = image[low[1] : high[1], low[0] : high[0]]
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Face(part, (landmarks - low) * scale, (irises - low) * scale)


def sample_batch(faces: list[Face], size: int, rng: np.random.Generator, look: Look) -> FaceBatch:
    """`size` samples of either network; the same rng and the same look give the same ones."""
    canvases = zip(*(finder_sample(faces, rng) for _ in range(size)), strict=True)
    return FaceBatch(*map(np.stack, canvases), *landmarker_samples(faces, size, rng, look))


def finder_sample(faces: list[Face], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A canvas with none to four faces, from tiny to larger than it, and its maps: heat, geometry, near."""
    canvas, regions = background_of(faces, CANVAS, rng), []
    for _ in range(rng.choice(5, p=[0.25, 0.45, 0.14, 0.08, 0.08])):
        face = faces[rng.integers(len(faces))]
        side = np.exp(rng.uniform(np.log(16), np.log(170 if not regions else 60)))
        roll = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(-0.8, 0.8)
        region = Region(tuple(rng.uniform(0, CANVAS, 2)), side, roll)
        if side > CANVAS / 2:
            region = Region(tuple(CANVAS / 2 + rng.uniform(-0.25, 0.25, 2) * side), side, roll)
        covered = paste(canvas, face, region)
        regions = [r for r in regions if not covered[_cell(r, 1)]] + [region]
    canvas = disturb(canvas, rng)
    if rng.random() < 0.5:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
        regions = [Region((CANVAS - r.center[0], r.center[1]), r.side) for r in regions]
    return canvas, *finder_maps(regions)


def paste(canvas: np.ndarray, face: Face, region: Region) -> np.ndarray:
    """Draws the whole picture of a face so that its region falls on `region`; returns (H W) bool, where."""
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


def finder_maps(regions: list[Region]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """heat (G G), geometry (3 G G) and near (G G) of a canvas with these regions."""
    grid = CANVAS // CELL
    heat, near = np.zeros((grid, grid), np.float32), np.zeros((grid, grid), bool)
    geometry, closest = np.zeros((3, grid, grid), np.float32), np.full((grid, grid), np.inf)
    rows, columns = np.mgrid[:grid, :grid] + 0.5
    for region in sorted(regions, key=lambda r: -r.side):
        x, y, side = *(np.array(region.center) / CELL), region.side / CELL
        distance = np.hypot(columns - x, rows - y)
        heat = np.maximum(heat, np.exp(-0.5 * (distance / max(0.7, 0.08 * side)) ** 2))
        mine = (distance < max(1.0, 0.15 * side)) & (distance < closest)
        closest[mine], near[mine] = distance[mine], True
        geometry[:, mine] = np.stack([x - columns, y - rows, np.full_like(rows, np.log(side))])[:, mine]
    for region in regions:
        heat[_cell(region, CELL)] = 1
    return heat.astype(np.float32), geometry, near


def landmarker_samples(
    faces: list[Face], size: int, rng: np.random.Generator, look: Look
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops, their points, and whether they show a face where one should be. Those that missed the face go on
    to where the landmarker itself would look next: what it then takes for a face is what it must learn."""
    chosen = [faces[i] for i in rng.integers(len(faces), size=size)]
    kinds = rng.choice(3, size=size, p=[0.55, 0.3, 0.15])  # around the face, beside it, nobody's picture
    chosen = [Face(background(2 * CROP_SIZE, rng), None) if k == 2 else f for f, k in zip(chosen, kinds, strict=True)]
    matrices = [around(f.region, rng) if k == 0 else beside(f, rng) for f, k in zip(chosen, kinds, strict=True)]
    wanderers = [i for i in range(size) if kinds[i] > 0 or rng.random() < 0.2]
    for _ in range(rng.integers(3)):
        seen = look(np.stack([cut(chosen[i].image, matrices[i], CROP_SIZE) for i in wanderers]))
        for i, points in zip(wanderers, seen, strict=True):
            matrices[i] = next_square(transform(matrices[i], points), matrices[i], chosen[i].image)
    samples = [landmarker_sample(face, matrix, rng) for face, matrix in zip(chosen, matrices, strict=True)]
    return tuple(map(np.stack, zip(*samples, strict=True)))


def next_square(landmarks: np.ndarray, before: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(2 3): the square of these landmarks; the one before where they make no sense."""
    region = region_of_landmarks(landmarks)
    if 8 < region.side < 2 * max(image.shape):
        return Region(region.center, region.side * CROP_MARGIN, region.angle_radians).matrix(1)
    return before


def landmarker_sample(face: Face, matrix: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """What the square `matrix` (2 3) shows, its points, and whether it is a face."""
    square, points = cut(face.image, matrix, CROP_SIZE), np.zeros((POINTS, 2))
    is_face = face.landmarks is not None and fits(matrix, face.region)
    if is_face:
        points = transform(cv2.invertAffineTransform(matrix), face.landmarks)
    if rng.random() < 0.5:
        square = np.ascontiguousarray(square[:, ::-1])
        points = (points * [-1, 1] + [1, 0])[MIRRORED]
    return disturb(square, rng, occlude=is_face), points.astype(np.float32), is_face


def fits(matrix: np.ndarray, region: Region) -> bool:
    """Whether the landmarker's square lies about this region."""
    side, center = np.linalg.norm(matrix[:, 1]) / CROP_MARGIN, transform(matrix, np.array([0.5, 0.5]))
    near = np.abs(center - region.center).max() < 0.35 * max(side, region.side)
    return bool(near and 0.5 < side / region.side < 2.0)


def around(region: Region, rng: np.random.Generator) -> np.ndarray:
    """(2 3): the landmarker's square as a finder, or its own first look, may put it; a little squeezed."""
    rough = rng.random() < 0.5
    shift = np.clip(rng.normal(0, 0.09 if rough else 0.03, 2), -0.2, 0.2)
    center = np.array(region.center) + region.side * shift
    side = region.side * CROP_MARGIN * np.exp(rng.normal(0, 0.15 if rough else 0.06))
    roll = rng.uniform(-0.85, 0.85) if rough else rng.normal(0, 0.1)
    matrix = Region(tuple(center), side, region.angle_radians + roll).matrix(1)
    squeeze = np.exp(rng.normal(0, 0.06)), 1.0
    linear = matrix[:, :2] * squeeze
    return np.column_stack([linear, center - linear @ [0.5, 0.5]])


def beside(face: Face, rng: np.random.Generator) -> np.ndarray:
    """(2 3): a square of the picture that misses the face: next to it, on a part of it, or much too large."""
    height, width = face.image.shape[:2]
    region = Region((width / 2, height / 2), width / 2) if face.landmarks is None else face.region
    while True:
        side = region.side * CROP_MARGIN * np.exp(rng.uniform(np.log(0.06), np.log(3.5)))
        near = region.center + rng.uniform(-1, 1, 2) * region.side
        center = near if rng.random() < 0.5 else rng.uniform([0, 0], [width, height])
        matrix = Region(tuple(center), side, rng.normal(0, 0.3)).matrix(1)
        if face.landmarks is None or not fits(matrix, region):
            return matrix


def background_of(faces: list[Face], size: int, rng: np.random.Generator) -> np.ndarray:
    """(size size 3) without a whole face: something drawn, what lies beside the face of a picture, or a detail
    of it, perhaps of the face."""
    face = faces[rng.integers(len(faces))]
    height, width = face.image.shape[:2]
    region, kind = face.region, rng.random()
    if kind < 0.3:
        side = region.side * np.exp(rng.uniform(np.log(0.08), np.log(0.4)))
        return crop(face.image, Region(tuple(rng.uniform([0, 0], [width, height])), side), size)
    for _ in range(8 if kind < 0.65 else 0):
        side = min(height, width) * rng.uniform(0.15, 0.5)
        center = rng.uniform([side / 2, side / 2], [width - side / 2, height - side / 2])
        if np.abs(center - region.center).max() > side / 2 + region.side * 0.42:
            return crop(face.image, Region(tuple(center), side), size)
    return background(size, rng)


def _cell(region: Region, cell: int) -> tuple[int, int]:
    """Row and column of the region's centre."""
    limit = CANVAS // cell - 1
    return min(int(region.center[1] // cell), limit), min(int(region.center[0] // cell), limit)


PART_FRAMES_PER_CLIP, FRAMES_PER_STILL, EVERY_STILL = 12, 4, 9
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
    faces = load_faces(data.pictures, data.labels, data.hold_out, PART_FRAMES_PER_CLIP)
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
