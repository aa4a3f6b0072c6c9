"""Measure the picture quality of a tracked face from a few of its frames.

A burst is BURST_FRAMES frames within half a second; a track has one every BURST_SECONDS, and at least MIN_BURSTS.
Crops are uint8. B bursts, N = BURST_FRAMES * B frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.face.crop import crop_region, region_of_landmarks, transform_points, warp_square
from emo.face.landmarks import CHIN_POINT
from emo.face.tracking import Track
from emo.media.image import measure_sharpness
from emo.preparation.face_patches import FacePatches

BURST_FRAMES, STEP_FRAMES = 3, 6  # frames of a burst, and from one of them to the next
MIN_BURSTS, BURST_SECONDS = 8, 2.0
FACE_PIXELS = 128  # side of the square in which a face is measured
FACE_MASK = cv2.ellipse(np.zeros((FACE_PIXELS, FACE_PIXELS), np.uint8), (64, 62), (34, 46), 0, 0, 360, 1, -1) > 0
MOTION_BLOCK_PIXELS = 4  # motion is measured at this resolution: finer changes are compression noise
STROKE_PIXELS, STROKE_CONTRAST = 9, 45.0  # strokes of letters are thinner, and so much brighter than their surroundings
LINE_PIXELS = 5  # a line of writing is at least so high
LATTICE = np.stack(np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5), -1).reshape(-1, 2) / 16  # of a unit square
BLACK_LEVEL = 24  # gray levels of a black bar at most
LIT_RATIO = 0.3  # of the row beside a bar is brighter at some time
NOSE_BASE_POINT, CHEEK_POINTS = 33, slice(3, 14)


@dataclass
class TrackQuality:
    """Quality measures of a track; `filters.ClipLimits` says which values pass. NaN where the face was never seen.

    Attributes:
        sharpness: 1 / pixels^2, see `emo.media.image.measure_sharpness`; median.
        motion: Gray levels by which the moving tenth of the face varies, see `measure_motion`.
        bars_ratio: Share of the face's squares that black bars cover.
        letter_strokes: Strokes of letters in one line over the mouth, see `count_letter_strokes`; maximum.
        offscreen_ratio: Share of the face's squares that lies beyond the frame.
    """

    sharpness: float
    motion: float
    bars_ratio: float
    letter_strokes: float
    offscreen_ratio: float


NOT_MEASURED = TrackQuality(*[np.nan] * 5)


def measure_quality(track: Track, patches: FacePatches) -> TrackQuality:
    """Measure the frames of a track's bursts.

    Args:
        track: A face of one shot.
        patches: The pixels around the faces of that shot.

    Returns:
        The measures; `NOT_MEASURED` for a track without bursts.
    """
    bursts = choose_bursts(track)
    if not bursts:
        return NOT_MEASURED
    numbers = sorted({number for burst in bursts for number in burst})
    faces, points, brightest = {}, [], None
    for number in numbers:
        region = region_of_landmarks(track.landmarks[number])
        frame = patches.get_square(track.first_frame + number, region.matrix(1))
        faces[number] = crop_region(frame, region, FACE_PIXELS)
        points.append(transform_points(region.matrix(1), LATTICE) / frame.shape[1::-1])
        overview = patches.get_overview(track.first_frame + number)
        brightest = overview if brightest is None else np.maximum(brightest, overview)
    crops = [faces[number] for burst in bursts for number in burst]
    strokes = [count_letter_strokes(boxes) for boxes in (cut_mouths(track, burst, patches) for burst in bursts)]
    points = np.concatenate(points)
    assert brightest is not None  # each burst has frames
    return TrackQuality(
        sharpness=float(np.median([measure_sharpness(to_gray(face), FACE_MASK) for face in crops])),
        motion=measure_motion(crops),
        bars_ratio=measure_bars(brightest, points * brightest.shape[::-1]),
        letter_strokes=max(strokes),
        offscreen_ratio=float(((points < 0) | (points > 1)).any(1).mean()),
    )


def choose_bursts(track: Track) -> list[list[int]]:
    """Choose the frames of each burst, numbered from the track's first, among those in which the face was seen."""
    seen = np.flatnonzero(np.isfinite(track.landmarks[:, 0, 0]))
    if len(seen) == 0:
        return []
    count = max(MIN_BURSTS, round(len(track.landmarks) / FPS / BURST_SECONDS))
    last = len(seen) - 1
    starts = np.linspace(0, max(0, last - STEP_FRAMES * (BURST_FRAMES - 1)), count).round().astype(int)
    return [[int(seen[min(last, start + STEP_FRAMES * k)]) for k in range(BURST_FRAMES)] for start in starts]


def to_gray(image: np.ndarray) -> np.ndarray:
    """Convert a picture (H W 3) uint8 RGB to gray (H W)."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def measure_motion(faces: Sequence[np.ndarray]) -> float:
    """Measure how much a face changes beyond its rigid motion; a photograph does not, however the camera moves.

    Args:
        faces: N crops (FACE_PIXELS FACE_PIXELS 3), each upright in its square.

    Returns:
        Gray levels by which the tenth of the face that changes most deviates from its mean over time.
    """
    size, middle = FACE_PIXELS // MOTION_BLOCK_PIXELS, MOTION_BLOCK_PIXELS // 2
    small = [cv2.resize(to_gray(face), (size, size), interpolation=cv2.INTER_AREA) for face in faces]
    mask = FACE_MASK[middle::MOTION_BLOCK_PIXELS, middle::MOTION_BLOCK_PIXELS]
    inside = np.stack(small).astype(np.float32)[:, mask]
    return float(np.quantile((inside - inside.mean(1, keepdims=True)).std(0), 0.9))


def find_content_box(brightest: np.ndarray) -> tuple[int, int, int, int]:
    """Find the picture inside of black bars. A dark room is not a bar: beside a bar, much of the edge is lit.

    Args:
        brightest: (H W), the maximum of each pixel over time.

    Returns:
        The box (x0, y0, x1, y1) in pixels.
    """
    ends = []
    for lit in (brightest.T > BLACK_LEVEL, brightest > BLACK_LEVEL):
        share = lit.mean(1)
        rows = np.flatnonzero(share > 0.02)
        first, last = (rows[0], rows[-1]) if len(rows) else (0, len(lit) - 1)
        ends += [first if share[first : first + 3].max() > LIT_RATIO else 0]
        ends += [last + 1 if share[max(0, last - 2) : last + 1].max() > LIT_RATIO else len(lit)]
    x0, x1, y0, y1 = map(int, ends)
    return x0, y0, x1, y1


def measure_bars(brightest: np.ndarray, points: np.ndarray) -> float:
    """Measure which share of the face's squares is hidden by black bars; beyond the frame a bar continues.

    Args:
        brightest: (H W), the maximum of each pixel over time.
        points: (M 2) points of the squares, in pixels of it.

    Returns:
        Share, 0 .. 1.
    """
    height, width = brightest.shape
    x0, y0, x1, y1 = find_content_box(brightest)
    x, y = points.T
    left, right = (x0 > 0) & (x < x0), (x1 < width) & (x >= x1)
    return float((left | right | ((y0 > 0) & (y < y0)) | ((y1 < height) & (y >= y1))).mean())


def cut_mouths(track: Track, burst: list[int], patches: FacePatches) -> np.ndarray | None:
    """Cut one place of the frame, the mouth in the middle of a burst, from all frames of the burst.

    Args:
        track: A face of one shot.
        burst: Frame numbers in the track.
        patches: The pixels around the faces of that shot.

    Returns:
        (BURST_FRAMES 64 128) uint8, gray; None where the face moves so fast that nothing can stand still over it.
    """
    matrix = fit_mouth_box(track.landmarks[burst[BURST_FRAMES // 2]])
    boxes = []
    for number in burst:
        try:
            frame = patches.get_square(track.first_frame + number, matrix)
        except InputError:
            return None
        box = to_gray(warp_square(frame, matrix, FACE_PIXELS))
        boxes.append(cv2.resize(box, (FACE_PIXELS, FACE_PIXELS // 2), interpolation=cv2.INTER_AREA))
    return np.stack(boxes)


def fit_mouth_box(points: np.ndarray) -> np.ndarray:
    """Fit a box from nose to chin, upright in the frame: points (68 2) pixels -> map (2 3) of the unit square to
    it.
    """
    x0, x1 = points[CHEEK_POINTS, 0].min(), points[CHEEK_POINTS, 0].max()
    y0, y1 = points[NOSE_BASE_POINT, 1], points[CHIN_POINT, 1]
    return np.array([[max(1.0, x1 - x0), 0, x0], [0, max(1.0, y1 - y0), y0]])


def count_letter_strokes(boxes: np.ndarray | None) -> float:
    """Count the bright, thin strokes that stand side by side in one line and do not move.

    Args:
        boxes: (BURST_FRAMES 64 128) uint8, one place of the frame at several times; None counts as none.

    Returns:
        Strokes that start in the fullest line of the box.
    """
    if boxes is None:
        return 0.0
    kernel = np.ones((STROKE_PIXELS, STROKE_PIXELS), np.uint8)
    low, high = boxes.min(0), boxes.max(0)
    strokes = (cv2.morphologyEx(low, cv2.MORPH_TOPHAT, kernel) > STROKE_CONTRAST) & (high - low < STROKE_CONTRAST)
    starts = strokes & ~np.pad(strokes, [(0, 0), (1, 0)])[:, :-1]
    lines = np.lib.stride_tricks.sliding_window_view(starts, LINE_PIXELS, axis=0).mean(-1)
    return float(lines.sum(1).max())
