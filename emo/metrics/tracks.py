"""The tracks of a video: measurements of its picture and sound frame by frame, the input of all measures.

`emo.metrics.track_builder` makes them while the video is decoded; `save_tracks` and `load_tracks` store them.

Shapes: T frames at FPS, whatever the video's own rate.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import load_arrays, save_arrays
from emo.face.crop import normalize_landmarks, smooth_regions
from emo.face.landmarks import LIP_POINTS
from emo.speech.lip_sync import score_lips

FACE_PIXELS, MOUTH_PIXELS = 256, 160  # sides of the squares in which sharpness is measured, at about the same scale


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
