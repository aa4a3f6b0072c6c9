"""Compare a video with the portrait that it was made from: sharpness at the portrait's own resolution, and distance.

Sharpness is measured on the frames' own pixels, or on frames enlarged to the portrait's scale, never on crops that are
scaled down: detail that the portrait has and the video lost is missing in the figure. That of the head is compared cell
by cell, so that crisp hair does not hide a soft face.

Shapes: T frames; a picture is (H W 3) uint8 RGB, landmarks (68 2) pixels; C = GRID² cells of the head.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.core.files import save_arrays
from emo.face.crop import region_of_landmarks, transform_points
from emo.face.landmarks import mouth_opening
from emo.face.pose import head_angles, head_rotations
from emo.face.refinement import MOUTH, load_landmark_refiner
from emo.face.selection import load_face_detector
from emo.media.image import IMAGE_SUFFIXES, edge_energies, read_image
from emo.metrics.sync import opening_amplitude
from emo.metrics.tracks import LandmarkSource, SavedObserver

MARGIN_PIXELS = 4  # around the measured part, for the filters
SAME_SCALE = 0.15  # a video whose face is so close to its share of the portrait shows the whole portrait
OPEN_RATIO = 0.5  # of the video's opening amplitude, from which on a mouth counts as open
MIN_AMPLITUDE = 0.01  # face heights; a mouth that opens less has no sharpness when open


def make_ellipse(center: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Return the outline of an ellipse.

    Args:
        center: x and y.
        radii: To the right and down.

    Returns:
        (64 2) points.
    """
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.array(center) + np.stack([np.cos(turn), np.sin(turn)], -1) * radii


GRID = 10  # cells along each side of the square around face and hair
HEAD_CENTER, HEAD_RADII = (0.5, 0.45), (0.46, 0.54)  # of the ellipse of face and hair, in the face's square
HEAD_OUTLINE = make_ellipse(HEAD_CENTER, HEAD_RADII)
LIP_OUTLINE = make_ellipse((0.5, 0.5), (0.4, 0.3))  # in the mouth's square


@dataclass(frozen=True)
class Portrait:
    """What is measured of a portrait.

    Attributes:
        shape: Height and width in pixels.
        side: Side of the face's square, pixels.
        pose: (4,) yaw, pitch and roll of the head in that square, and the square's own angle, radians.
        head: (C 2) energies of the head's cells, see `measure_head`.
        mouth: Sharpness of the mouth, 1 / pixels².
    """

    shape: tuple[int, int]
    side: float
    pose: np.ndarray
    head: np.ndarray
    mouth: float

    def scale_of(self, frame: np.ndarray, landmarks: np.ndarray) -> float:
        """Compute how many pixels of the portrait a pixel of a video is wide.

        Args:
            frame: (H W 3) uint8, one of the video's frames.
            landmarks: (68 2) pixels of its face.

        Returns:
            The ratio of widths where the video shows the whole portrait, else the ratio of the faces' sides.
        """
        by_width = self.shape[1] / frame.shape[1]
        by_face = self.side / region_of_landmarks(landmarks).side
        return by_width if abs(by_face / by_width - 1) < SAME_SCALE else by_face

    def compare(self, frame: np.ndarray, landmarks: np.ndarray, scale: float) -> np.ndarray:
        """Compare a frame with the portrait.

        Args:
            frame: (H W 3) uint8.
            landmarks: (68 2) pixels of the frame, NaN where the face is not visible.
            scale: Of `scale_of`.

        Returns:
            (3,) sharpness of head and of mouth over the portrait's, and the head's distance from the camera over the
            portrait's; NaN without a face.
        """
        if not np.isfinite(landmarks).all():
            return np.full(3, np.nan)
        distance = self.side / (scale * region_of_landmarks(landmarks).side)
        cells, mouth = measure_head(frame, landmarks, scale)
        return np.array([compare_cells(cells, self.head), mouth / self.mouth, distance])


class PortraitObserver(SavedObserver):
    """The comparison of a video's frames with its portrait."""

    def __init__(self, source: LandmarkSource, portrait: Portrait, path: Path):
        """Start before the first frame.

        Args:
            source: Where the landmarks of each frame come from.
            portrait: The portrait.
            path: The file to write.
        """
        self.source, self.portrait, self.path = source, portrait, path
        self._scale: float | None = None
        self._rows: list[np.ndarray] = []

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Compare the next frame.

        Args:
            number: Index of the frame.
            frame: (H W 3) uint8.
        """
        points = self.source.visible_landmarks(number)
        if self._scale is None and np.isfinite(points).all():
            self._scale = self.portrait.scale_of(frame, points)
        self._rows.append(self.portrait.compare(frame, points, self._scale or 1.0))

    def save(self) -> None:
        """Write the comparison (T 3) and the portrait's pose (4,). Raises OutputError."""
        save_arrays(self.path, {"portrait": np.stack(self._rows), "portrait_pose": self.portrait.pose})


def measure_head(picture: np.ndarray, landmarks: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, float]:
    """Measure the edges of a head with its hair, and the sharpness of its mouth.

    Args:
        picture: (H W 3) uint8.
        landmarks: (68 2) pixels.
        scale: The picture is enlarged by this factor before it is measured.

    Returns:
        (C 2) mean squared Laplacian and mean squared gradient of each cell of the head, NaN for a cell outside of the
        head or the picture; and the mouth's ratio of the two, as of `measure_sharpness`, NaN outside of the picture.
    """
    to_picture = region_of_landmarks(landmarks).matrix(1)
    lips = transform_points(MOUTH.squares(landmarks)[0], LIP_OUTLINE)
    points = np.concatenate([transform_points(to_picture, HEAD_OUTLINE), lips])
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - MARGIN_PIXELS, 0)
    x1, y1 = np.ceil(points.max(0)).astype(int) + MARGIN_PIXELS
    part = picture[y0:y1, x0:x1]
    if not part.size:
        return np.full((GRID**2, 2), np.nan), np.nan
    gray = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    if scale != 1:
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    energies = edge_energies(gray)
    drawn = np.round((lips - [x0, y0]) * scale).astype(np.int32)
    mouth = cv2.fillPoly(np.zeros(gray.shape, np.uint8), [drawn], 1) > 0
    sharpness = energies[0][mouth].mean() / max(1e-6, energies[1][mouth].mean()) if mouth.any() else np.nan

    columns, rows = np.meshgrid(*((np.arange(n, dtype=np.float32) + 0.5) / scale for n in gray.shape[::-1]))
    from_picture = cv2.invertAffineTransform(to_picture)
    x, y = (a * (columns + x0) + b * (rows + y0) + c for a, b, c in from_picture.tolist())
    across, down = (x - HEAD_CENTER[0]) / HEAD_RADII[0], (y - HEAD_CENTER[1]) / HEAD_RADII[1]  # -1 to 1
    inside = across**2 + down**2 < 1
    cell = ((down[inside] + 1) * GRID / 2).astype(int) * GRID + ((across[inside] + 1) * GRID / 2).astype(int)
    counts = np.bincount(cell, minlength=GRID**2)
    sums = [np.bincount(cell, energy[inside], GRID**2) for energy in energies]
    return np.stack(sums, -1) / np.where(counts > 0, counts, np.nan)[:, None], float(sharpness)


def compare_cells(cells: np.ndarray, portrait: np.ndarray) -> float:
    """Compare the sharpness of a head with the portrait's.

    Args:
        cells: (C 2) of `measure_head`.
        portrait: (C 2) of the portrait.

    Returns:
        Median ratio of their sharpness over the cells that have most structure in the portrait, half of all.
    """
    known = np.isfinite(cells).all(1) & np.isfinite(portrait).all(1)
    if not known.any():
        return np.nan
    structure = portrait[known, 1]
    chosen = structure >= np.median(structure)
    ratios = [energy[known][chosen] for energy in (cells, portrait)]
    mine, theirs = (pair[:, 0] / np.maximum(pair[:, 1], 1e-6) for pair in ratios)
    return float(np.median(mine / np.maximum(theirs, 1e-9)))


def read_portrait(path: Path) -> Portrait:
    """Measure the largest face of a picture file. Raises InputError where the file can't be read or shows no face."""
    picture = read_image(path)
    faces = load_face_detector().detect(picture)
    if not faces:
        raise InputError(f"no face found in {path}: remove it from the portraits")
    landmarks = np.asarray(faces[0].landmarks, np.float64)
    (details,) = load_landmark_refiner().refine(picture, landmarks[None])
    return measure_portrait(picture, details.landmarks)


def measure_portrait(picture: np.ndarray, landmarks: np.ndarray) -> Portrait:
    """Measure a portrait.

    Args:
        picture: (H W 3) uint8.
        landmarks: (68 2) pixels of its face.

    Returns:
        The measurements.
    """
    region = region_of_landmarks(landmarks)
    angles = head_angles(head_rotations(landmarks[None]))[0] - [0, 0, region.angle_radians]
    pose = np.append(angles, region.angle_radians)
    return Portrait(picture.shape[:2], region.side, pose, *measure_head(picture, landmarks))


def match_portraits(folder: Path, videos: Iterable[Path]) -> dict[Path, Path]:
    """Find the portrait that each video was made from, by its name: PORTRAIT.mp4, or PORTRAIT_ANYTHING.mp4.

    Args:
        folder: Folder of pictures.
        videos: Videos.

    Returns:
        Video -> picture, for the videos that have one; of several the longest name.

    Raises:
        InputError: No video has the name of a picture.
    """
    pictures = sorted((p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES), key=lambda p: len(p.stem))
    matches = {}
    for video in videos:
        named = [p for p in pictures if video.stem == p.stem or video.stem.startswith(f"{p.stem}_")]
        if named:
            matches[video] = named[-1]
    if not matches:
        raise InputError(f"no video is named after a picture of {folder}: name them PORTRAIT.mp4 or PORTRAIT_SOUND.mp4")
    return matches


def head_sharpness(comparison: np.ndarray) -> float:
    """Return the median sharpness of face and hair over the portrait's, of `Portrait.compare` by frame (T 3)."""
    return median_finite(comparison[:, 0])


def open_mouth_sharpness(comparison: np.ndarray, landmarks: np.ndarray) -> float:
    """Measure how sharp the mouth is when it is open.

    Args:
        comparison: (T 3) of `Portrait.compare`; (1 3) NaN without a portrait.
        landmarks: (T 68 2) pixels.

    Returns:
        Median sharpness of the mouth, over that of the portrait's mouth, of the frames in which it is open by
        OPEN_RATIO of its amplitude or more; NaN where that amplitude is below MIN_AMPLITUDE.
    """
    opening = mouth_opening(landmarks)
    amplitude = opening_amplitude(opening)
    if len(comparison) != len(opening) or not amplitude >= MIN_AMPLITUDE:
        return np.nan
    return median_finite(comparison[opening >= OPEN_RATIO * amplitude, 1])


def median_finite(values: np.ndarray) -> float:
    """Return the median of the finite values of (T,); NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan
