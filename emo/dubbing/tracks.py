"""Find the faces of a film: one decode, shot by shot, with a file of landmarks for each track.

`choose_references` and `choose_probes` choose frames of a track with a closed mouth, to which the face's own motion is
measured, and with an open one. T frames of a track. Landmarks are pixels of the upright picture at its full size.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emo.core.files import atomic_file
from emo.dubbing.film import Film, FilmReader, Part
from emo.face.crop import Region, crop_region, region_of_landmarks, smooth_gaussian
from emo.face.detector import TRACKING_THRESHOLDS
from emo.face.landmarks import mouth_opening
from emo.face.pose import head_angles, head_rotations
from emo.face.refinement import load_landmark_refiner
from emo.face.selection import load_face_detector
from emo.face.tracking import FaceTracker, Track
from emo.media.color import to_upright_rgb
from emo.media.shots import mark_shots

ANALYSIS_PIXELS = 1280  # faces are searched for in frames of this long side
MIN_TRACK_SECONDS = 0.4  # a shorter one is a mistake or nobody's turn
THUMBNAIL_PIXELS, THUMBNAIL_EVERY_FRAMES = 96, 10
THUMBNAIL_MARGIN = 1.15  # side of the thumbnail over that of the face's square
KEY_BYTES = 16  # of a track's first landmarks, which tell it from others
PATH_SMOOTHING_SECONDS = 0.08  # sigma, as of `emo.face.crop.smooth_regions` at 25 frames per second
SPACING_SECONDS = 0.8  # about one reference in so much time
CLOSED_PERCENTILE = 30.0  # of a face's openings: below it, a mouth counts as closed
VISIBLE_OCCLUSION = 0.5
MAX_PROBES, PROBE_OPENING = 4, 0.03  # how many, and from which opening on, in heights of the face


@dataclass
class FaceTrack:
    """One face from first_frame on.

    Attributes:
        first_frame: Number of its first frame in the film.
        landmarks: (T 68 2) float32; gaps of a few frames are bridged.
        mouth_occlusion: (T,) probability that something covers the mouth.
        thumbnail: (96 96 3) uint8 RGB.
    """

    first_frame: int
    landmarks: np.ndarray
    mouth_occlusion: np.ndarray
    thumbnail: np.ndarray

    @property
    def end_frame(self) -> int:
        """The frame after its last."""
        return self.first_frame + len(self.landmarks)

    @property
    def openings(self) -> np.ndarray:
        """(T,) how far the mouth is open, see `emo.face.landmarks.mouth_opening`."""
        return mouth_opening(self.landmarks)

    def regions(self, fps: float) -> list[Region]:
        """Return the square of each frame, its path smoothed."""
        squares = [region_of_landmarks(points) for points in self.landmarks]
        path = np.array([(*r.center, np.log(r.side), r.angle_radians) for r in squares])
        path[:, 3] = np.unwrap(path[:, 3])
        smooth = smooth_gaussian(path, max(0.5, PATH_SMOOTHING_SECONDS * fps))
        return [Region((x, y), float(np.exp(s)), a) for x, y, s, a in smooth]

    def save(self, path: Path) -> None:
        """Write the track to an .npz file."""
        with atomic_file(path) as partial, open(partial, "wb") as file:
            np.savez(
                file,
                first_frame=self.first_frame,
                landmarks=self.landmarks.astype(np.float32),
                mouth_occlusion=self.mouth_occlusion.astype(np.float32),
                thumbnail=self.thumbnail,
            )


def load_track(path: Path) -> FaceTrack:
    """Read a track of `FaceTrack.save`."""
    with np.load(path) as values:
        names = "landmarks", "mouth_occlusion", "thumbnail"
        return FaceTrack(int(values["first_frame"]), *(values[name] for name in names))


def find_tracks(
    film: Film, parts: Sequence[Part], on_frame: Callable[[int], None] = lambda number: None
) -> Iterator[FaceTrack]:
    """Track all faces; memory is that of one shot's landmarks.

    Args:
        film: The film.
        parts: What is decoded, in order.
        on_frame: Called with the number of each frame.

    Yields:
        The tracks, shot by shot.
    """
    numbers: deque[int] = deque()
    shot: _Shot | None = None
    with FilmReader(film) as reader:
        for frame, starts_shot in mark_shots(_analysis_frames(film, reader, parts, numbers)):
            number = numbers.popleft()
            if shot is None or starts_shot or number != shot.next_frame:
                yield from shot.finish() if shot is not None else ()
                shot = _Shot(film, number)
            shot.add(frame)
            on_frame(number)
    yield from shot.finish() if shot is not None else ()


def _analysis_frames(
    film: Film, reader: FilmReader, parts: Sequence[Part], numbers: deque[int]
) -> Iterator[np.ndarray]:
    for part in parts:
        for number, frame in reader.decode(part):
            numbers.append(number)
            yield to_upright_rgb(frame, film.aspect, ANALYSIS_PIXELS)


class _Shot:
    """The faces of the shot that is read."""

    def __init__(self, film: Film, first_frame: int):
        self.film, self.first_frame, self.next_frame = film, first_frame, first_frame
        self.tracker = FaceTracker(load_face_detector(), load_landmark_refiner())
        self.thumbnails: dict[tuple[int, bytes], tuple[float, np.ndarray]] = {}  # by where a track starts
        self.scale = max(film.upright_size) / min(ANALYSIS_PIXELS, max(film.upright_size))

    def add(self, frame: np.ndarray) -> None:
        """Track the faces of the next frame."""
        active = self.tracker.step(frame)
        if (self.next_frame - self.first_frame) % THUMBNAIL_EVERY_FRAMES == 0:
            for track in active:
                if track.details is not None:
                    key = track.first_frame, bytes(track.rows[:KEY_BYTES])
                    square = Region(track.region.center, track.region.side * THUMBNAIL_MARGIN)
                    if track.region.side > self.thumbnails.get(key, (0.0,))[0]:
                        self.thumbnails[key] = track.region.side, crop_region(frame, square, THUMBNAIL_PIXELS)
        self.next_frame += 1

    def finish(self) -> list[FaceTrack]:
        """Return the shot's tracks."""
        least = MIN_TRACK_SECONDS * self.film.fps
        return [self._convert(track) for track in self.tracker.tracks() if len(track.landmarks) >= least]

    def _convert(self, track: Track) -> FaceTrack:
        landmarks = bridge_gaps(track.landmarks.reshape(len(track.landmarks), -1)).reshape(track.landmarks.shape)
        occlusion = np.nan_to_num(track.mouth_occlusion, nan=1.0)
        key = track.first_frame, np.ascontiguousarray(track.landmarks[0]).tobytes()[:KEY_BYTES]
        blank = np.zeros((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS, 3), np.uint8)
        _, thumbnail = self.thumbnails.get(key, (0.0, blank))
        return FaceTrack(self.first_frame + track.first_frame, landmarks * self.scale, occlusion, thumbnail)


def bridge_gaps(values: np.ndarray) -> np.ndarray:
    """Replace rows (T D) that are NaN by the line between their neighbors."""
    missing = np.isnan(values).any(1)
    if not missing.any():
        return values
    places = np.arange(len(values))
    known = places[~missing]
    return np.stack([np.interp(places, known, column[~missing]) for column in values.T], axis=1).astype(values.dtype)


def encode_thumbnail(picture: np.ndarray) -> bytes:
    """Return an image (H W 3) uint8 RGB as JPEG."""
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def choose_references(track: FaceTrack, fps: float) -> np.ndarray:
    """Choose frames in which the mouth is closed and not covered, spread over the track.

    Args:
        track: The face.
        fps: Frames per second.

    Returns:
        (N,) ascending numbers of frames, counted from the track's first; at least one.
    """
    openings = track.openings.astype(np.float64)
    openings[track.mouth_occlusion > VISIBLE_OCCLUSION] += 1
    limit = np.percentile(openings, CLOSED_PERCENTILE)
    step = max(1, round(SPACING_SECONDS * fps))
    chosen = []
    for start in range(0, len(openings), step):
        best = start + int(openings[start : start + step].argmin())
        if openings[best] <= limit:
            chosen.append(best)
    return np.array(chosen or [int(openings.argmin())])


def choose_probes(track: FaceTrack) -> np.ndarray:
    """Choose up to MAX_PROBES frames in which the mouth is wide open and not covered: (K,), ascending."""
    openings = np.where(track.mouth_occlusion > VISIBLE_OCCLUSION, -1.0, track.openings)
    frames = np.argsort(openings)[::-1][: 4 * MAX_PROBES : 4]
    return np.sort(frames[openings[frames] > PROBE_OPENING])


def measure_opening(square: np.ndarray) -> float | None:
    """Measure how far the mouth of an aligned square (s s 3) uint8 is open; None: no face is found."""
    size = len(square)
    found = load_face_detector().locate_landmarks(
        square, [Region((size / 2,) * 2, float(size))], 2, TRACKING_THRESHOLDS
    )
    if not found.accepted[0]:
        return None
    (details,) = load_landmark_refiner().refine(square, found.landmarks)
    return float(mouth_opening(details.landmarks[None])[0])


def choose_portrait(track: FaceTrack, references: np.ndarray) -> int:
    """Choose the most frontal one of some references.

    Args:
        track: The face.
        references: (N,) numbers of frames, counted from the track's first.

    Returns:
        Its place in `references`.
    """
    angles = head_angles(head_rotations(track.landmarks[references]))
    return int(np.abs(angles[:, :2]).sum(1).argmin())


def bracket(references: np.ndarray, frame: int) -> tuple[int, int, float]:
    """Find the references around a frame.

    Args:
        references: (N,) ascending.
        frame: Number of the frame.

    Returns:
        The places of the one before and the one after, and the share of the latter; both are the same at the ends.
    """
    after = int(np.searchsorted(references, frame))
    if after == len(references):
        return after - 1, after - 1, 0.0
    if after == 0 or references[after] == frame:
        return after, after, 0.0
    low, high = references[after - 1], references[after]
    return after - 1, after, float((frame - low) / (high - low))
