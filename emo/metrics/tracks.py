"""The tracks of a video: measurements of its picture and sound frame by frame, the input of all measures.

`TrackBuilder` makes them while the video is decoded, of the face that is visible for the longest time; `save_tracks`
and `load_tracks` store them.

Shapes: T frames at FPS, whatever the video's own rate; a frame is (H W 3) uint8 RGB; S samples at SAMPLE_RATE.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.core.files import load_arrays, save_arrays
from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import Region, crop_region, normalize_landmarks, region_of_landmarks, smooth_regions, warp_square
from emo.face.landmarks import LIP_POINTS
from emo.face.refinement import MOUTH, FaceDetails, load_landmark_refiner
from emo.face.selection import load_face_detector
from emo.face.tracking import FaceTracker
from emo.media.audio import loudness
from emo.media.image import measure_sharpness
from emo.media.video_pass import VideoObserver
from emo.metrics.stability import interpolate_gaps
from emo.speech.lip_sync import REACH_FRAMES, load_lip_sync_scorer, predict_lips, score_lips

FACE_PIXELS, MOUTH_PIXELS = 256, 160  # sides of the squares in which sharpness is measured, at about the same scale
FACE_MASK = cv2.ellipse(np.zeros((FACE_PIXELS, FACE_PIXELS), np.uint8), (128, 124), (68, 92), 0, 0, 360, 1, -1)
LIP_MASK = cv2.ellipse(np.zeros((MOUTH_PIXELS, MOUTH_PIXELS), np.uint8), (80, 80), (64, 48), 0, 0, 360, 1, -1)
HEAD_SIDES = 1.2  # width of the head and hair in sides of the face's square; the background lies beside and above
MIN_BACKGROUND_RATIO = 0.05  # of the picture; with less the background is not measured
LIP_COORDINATES = 40  # of the 20 points of the lips


@dataclass
class VideoTracks:
    """Measurements of one video, frame by frame.

    Where the face is not visible, its values are interpolated linearly between the frames around; in a video without
    any face they are NaN.

    Attributes:
        face_visible: (T,) bool.
        landmarks: (T 68 2) pixels, iBUG order.
        gaze: (T 2) radians, see `emo.face.landmarks.estimate_gaze`.
        face_sharpness: (T,) 1 / pixels², in a square of FACE_PIXELS.
        mouth_sharpness: (T,) 1 / pixels², in a square of MOUTH_PIXELS.
        color: (T 3) mean color of the face in CIELAB: L* in 0..100, a*, b*.
        frame_change: (T,) mean absolute difference to the frame before, in gray levels; the first is 0.
        background_change: (T,) the same beside and above the head; NaN where there is too little background.
        loudness_db: (T,) dB, see `emo.media.audio.loudness`; NaN without sound.
        predicted_lips: (T + 2 * REACH_FRAMES, 40) lip shapes that the lip-sync scorer predicts from the sound; NaN
            without sound.
        syncnet: (3,) confidence (LSE-C), distance (LSE-D) and offset in frames; NaN where SyncNet was not run.
        face_embeddings: (T 512) of `emo.metrics.identity`; (1 1) NaN where ArcFace was not run.
        reconstruction: (3,) PSNR, SSIM and LPIPS to the true video; NaN where there is none.
        portrait: (T 3) comparison with the portrait, see `emo.metrics.portrait`; (1 3) NaN where it is not given.
        portrait_pose: (4,) of `emo.metrics.portrait.Portrait`; NaN where the portrait is not given.
        asked: (T 7) what the video was asked to show, see `emo.metrics.controls`; (1 7) NaN where it is not known.
    """

    face_visible: np.ndarray
    landmarks: np.ndarray
    gaze: np.ndarray
    face_sharpness: np.ndarray
    mouth_sharpness: np.ndarray
    color: np.ndarray
    frame_change: np.ndarray
    background_change: np.ndarray
    loudness_db: np.ndarray
    predicted_lips: np.ndarray
    syncnet: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    face_embeddings: np.ndarray = field(default_factory=lambda: np.full((1, 1), np.nan))
    reconstruction: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    portrait: np.ndarray = field(default_factory=lambda: np.full((1, 3), np.nan))
    portrait_pose: np.ndarray = field(default_factory=lambda: np.full(4, np.nan))
    asked: np.ndarray = field(default_factory=lambda: np.full((1, 7), np.nan))

    @property
    def visible_landmarks(self) -> np.ndarray:
        """(T 68 2) pixels, NaN where the face is not visible."""
        return np.where(self.face_visible[:, None, None], self.landmarks, np.nan)


def measure_lip_sync(tracks: VideoTracks) -> tuple[float, float]:
    """Compare the lips with those that the packaged lip-sync scorer predicts from the sound.

    Returns:
        Confidence (the correlation at the best offset over the median of all offsets), and that offset in frames
        without its sign. NaN without sound; lips that do not move have confidence 0 and no offset.
    """
    if np.isnan(tracks.predicted_lips).any():
        return np.nan, np.nan
    landmarks = tracks.landmarks.astype(np.float64)
    lips = normalize_landmarks(landmarks[:, LIP_POINTS], smooth_regions(landmarks))
    score = score_lips(lips, tracks.predicted_lips)
    return score.confidence, abs(score.offset_frames) if score.confidence > 0 else np.nan


def save_tracks(path: Path, tracks: VideoTracks) -> None:
    """Write tracks as a .safetensors file, completely or not at all.

    Args:
        path: The file to write.
        tracks: Tracks of the video.

    Raises:
        OutputError: The file can't be written.
    """
    save_arrays(path, {field.name: getattr(tracks, field.name) for field in fields(VideoTracks)})


def load_tracks(path: Path) -> VideoTracks:
    """Read what `save_tracks` wrote. Raises InputError for another or a broken file."""
    try:
        return VideoTracks(**load_arrays(path))
    except TypeError as error:
        raise InputError(f"{path} is not a file of tracks ({error}): delete it; it will be recreated") from error


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
