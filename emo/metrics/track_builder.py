"""Build the tracks of a video while it is decoded: the face that is visible for the longest time, and the picture.

Shapes: T frames at FPS, whatever the video's own rate; a frame is (H W 3) uint8 RGB; S samples at SAMPLE_RATE.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import Region, crop_region, region_of_landmarks, warp_square
from emo.face.refinement import MOUTH, FaceDetails, load_landmark_refiner
from emo.face.selection import load_face_detector
from emo.face.tracking import FaceTracker
from emo.media.audio import loudness
from emo.media.image import measure_sharpness
from emo.media.video_pass import VideoObserver
from emo.metrics.stability import interpolate_gaps
from emo.metrics.tracks import FACE_PIXELS, MOUTH_PIXELS, VideoTracks
from emo.speech.lip_sync import REACH_FRAMES, load_lip_sync_scorer, predict_lips

FACE_MASK = cv2.ellipse(np.zeros((FACE_PIXELS, FACE_PIXELS), np.uint8), (128, 124), (68, 92), 0, 0, 360, 1, -1)
LIP_MASK = cv2.ellipse(np.zeros((MOUTH_PIXELS, MOUTH_PIXELS), np.uint8), (80, 80), (64, 48), 0, 0, 360, 1, -1)
HEAD_SIDES = 1.2  # width of the head and hair in sides of the face's square; the background lies beside and above
MIN_BACKGROUND_RATIO = 0.05  # of the picture; with less the background is not measured
LIP_COORDINATES = 40  # of the 20 points of the lips


class LandmarkSource(Protocol):
    """Where an observer finds the landmarks of frames that were decoded."""

    def visible_landmarks(self, number: int) -> np.ndarray:
        """Return (68 2) pixels of a frame, NaN where the face is not visible."""
        ...


@dataclass(frozen=True)
class CachedLandmarks:
    """Landmarks (T 68 2) of a video that was tracked before."""

    landmarks: np.ndarray

    def visible_landmarks(self, number: int) -> np.ndarray:
        """Return (68 2) pixels of a frame, NaN where the face is not visible."""
        return self.landmarks[number]


class SavedObserver(VideoObserver):
    """An observer whose result is written to a file."""

    def save(self) -> None:
        """Write the result, after the last frame. Raises OutputError."""
        raise NotImplementedError


class TrackBuilder(VideoObserver):
    """Builds the `VideoTracks` of a video from its frames."""

    def __init__(self, wave: np.ndarray | None, track_face: Callable[[np.ndarray], FaceDetails | None]):
        """Start before the first frame.

        Args:
            wave: (S,) mono at SAMPLE_RATE; None: the video has no sound.
            track_face: Called with each frame in turn; returns the face in it, or None where it is not visible.
        """
        self.wave, self.track_face = wave, track_face
        self._rows: list[tuple] = []
        self._previous: np.ndarray | None = None
        self._region: Region | None = None

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Add the next frame.

        Args:
            number: Index of the frame.
            frame: (H W 3) uint8 RGB.
        """
        face = self.track_face(frame)
        self._region = region_of_landmarks(face.landmarks) if face else self._region
        changes = measure_change(frame, self._previous, self._region)
        self._rows.append((face is not None, *measure_face(frame, face), *changes))
        self._previous = frame

    def visible_landmarks(self, number: int) -> np.ndarray:
        """Return (68 2) float64 pixels of a frame that was added, NaN where the face is not visible."""
        return np.asarray(self._rows[number][1], np.float64)

    def finish(self) -> VideoTracks:
        """Return the tracks of all frames that were added, at least one."""
        visible, *columns = (np.array(column) for column in zip(*self._rows, strict=True))
        landmarks, gaze, face_sharpness, mouth_sharpness, color = (
            interpolate_gaps(values, visible) for values in columns[:5]
        )
        frame_change, background_change = columns[5:]
        count = len(visible)
        if self.wave is None:
            levels = np.full(count, np.nan)
            lips = np.full((count + 2 * REACH_FRAMES, LIP_COORDINATES), np.nan)
        else:
            levels = loudness(self.wave, SAMPLE_RATE, count, FPS)
            lips = predict_lips(self.wave, count, load_lip_sync_scorer(), FPS)
        return VideoTracks(
            visible,
            landmarks,
            gaze,
            face_sharpness,
            mouth_sharpness,
            color,
            frame_change,
            background_change,
            levels,
            lips,
        )


def track_frames(
    frames: Iterable[np.ndarray], wave: np.ndarray | None, track_face: Callable[[np.ndarray], FaceDetails | None]
) -> VideoTracks:
    """Build the tracks of frames in memory.

    Args:
        frames: The frames (H W 3) uint8 RGB at FPS.
        wave: (S,) mono at SAMPLE_RATE; None: the video has no sound.
        track_face: Called with each frame in turn; returns the face in it, or None where it is not visible.

    Returns:
        The tracks of all frames.
    """
    builder = TrackBuilder(wave, track_face)
    for number, frame in enumerate(frames):
        builder.add_frame(number, frame)
    return builder.finish()


def make_face_tracker() -> Callable[[np.ndarray], FaceDetails | None]:
    """Return a function that takes the frames of a video in turn and returns the face that has been visible for the
    longest time, or None."""
    tracker = FaceTracker(load_face_detector(), load_landmark_refiner())

    def track_face(frame: np.ndarray) -> FaceDetails | None:
        active = tracker.step(frame)
        return active[0].details if active else None

    return track_face


def measure_face(frame: np.ndarray, face: FaceDetails | None) -> tuple:
    """Measure the face of one frame.

    Args:
        frame: (H W 3) uint8 RGB.
        face: The face with its landmarks; None: it is not visible.

    Returns:
        Landmarks (68 2) in pixels, gaze (2,) in radians, sharpness of face and mouth in 1 / pixels², and mean color
        (3,) in
        CIELAB; NaN without a face.
    """
    if face is None:
        return np.full((68, 2), np.nan), np.full(2, np.nan), np.nan, np.nan, np.full(3, np.nan)
    square = crop_region(frame, region_of_landmarks(face.landmarks), FACE_PIXELS)
    mouth = warp_square(frame, MOUTH.squares(face.landmarks)[0], MOUTH_PIXELS)
    sharpness = [
        measure_sharpness(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), mask > 0)
        for picture, mask in ((square, FACE_MASK), (mouth, LIP_MASK))
    ]
    mean = np.asarray(cv2.mean(square, FACE_MASK)[:3], np.float32) / 255
    color = cv2.cvtColor(mean[None, None], cv2.COLOR_RGB2LAB)[0, 0]
    return face.landmarks, face.gaze, *sharpness, color


def measure_change(frame: np.ndarray, previous: np.ndarray | None, region: Region | None) -> tuple[float, float]:
    """Return the mean absolute difference of two frames in gray levels, in the whole picture and in its background.

    Args:
        frame: (H W 3) uint8.
        previous: The frame before; None: there is none, and nothing changes.
        region: The square of the face; None: everything is background.

    Returns:
        The difference in the picture, and in the background; NaN where there is too little background.
    """
    change = np.zeros(frame.shape[:2]) if previous is None else cv2.absdiff(frame, previous).mean(-1)
    background = np.ones(change.shape, bool)
    if region is not None:
        (x, y), half = region.center, region.side * HEAD_SIDES / 2
        background[max(0, round(y - half)) :, max(0, round(x - half)) : max(0, round(x + half))] = False
        background[max(0, round(y + half)) :] = False
    enough = background.mean() >= MIN_BACKGROUND_RATIO
    return float(change.mean()), float(change[background].mean()) if enough else np.nan
