"""Put the motion of one video on another portrait, through the encoder of a motion autoencoder.

The driving face is tracked; its most neutral frame becomes its own portrait. Every frame is encoded as motion from
that portrait and decoded on the user's, so identity stays with the user's picture and pose and expression are
relative, as in FOMM's and LivePortrait's relative motion transfer (arXiv 2003.00196, 2407.03168). The crop follows
the head as in prepared clips: turns and nods are kept, its way across the picture, its tilt and its distance are left
out. (A crop that stays behind gave motion unlike that of the training clips: driven mouths were half as wide, and
turns went astray.)

Shapes: T frames, H W pixels, s pixels along a side of the crop, C h w latents.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from emo.core.errors import InputError
from emo.core.timing import FPS, count_frames
from emo.face.crop import PATH_SMOOTHING_FRAMES, Region, crop_region, region_of_landmarks, smooth_gaussian
from emo.face.landmarks import eye_opening, mouth_opening
from emo.face.pose import head_angles, head_rotations
from emo.face.refinement import load_landmark_refiner
from emo.face.selection import load_face_detector
from emo.face.tracking import Track, track_faces
from emo.media.audio import AudioBuffer
from emo.media.image import images_to_tensor
from emo.media.video import read_video
from emo.models.contracts import VideoAutoencoder

FOLLOW_SECONDS = PATH_SMOOTHING_FRAMES / FPS  # sigma of the Gaussian over the path of the crop, as of prepared clips
HOLD_SECONDS = 0.5  # by which the sound may be longer than the video: its last motion is held
LOST_SECONDS = 0.5  # at the start and the end for which the face may be missing
ENCODE_BATCH_FRAMES = 8
MOUTH_UNIT, EYE_UNIT, TURN_UNIT = 0.02, 0.05, 0.1  # openings and radians that are equally far from neutral


@dataclass(frozen=True)
class DrivingVideo:
    """The part of a video whose motion is used."""

    frames: str | Path | np.ndarray  # a file, or (T H W 3) uint8 at the rate of the call
    start_seconds: float = 0.0
    duration_seconds: float = inf

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.frames) if isinstance(self.frames, str | Path) else "drive"

    def read(self, fps: float) -> Iterator[np.ndarray]:
        """Yield the frames (H W 3) uint8 at `fps`. Raises InputError for a file that can't be read."""
        frames = read_video(self.frames, fps) if isinstance(self.frames, str | Path) else iter(self.frames)
        first, seconds = count_frames(self.start_seconds, fps), self.duration_seconds
        return islice(frames, first, None if seconds == inf else first + count_frames(seconds, fps))


Drive = DrivingVideo | str | Path | np.ndarray


@dataclass(frozen=True)
class DrivingFace:
    """A tracked face.

    Attributes:
        regions: T squares, pixels of the video.
        neutral: Number of the frame that serves as its portrait.
    """

    regions: list[Region]
    neutral: int


def track_driving_face(video: DrivingVideo, fps: float) -> DrivingFace:
    """Track the face of a video that is visible longest.

    Args:
        video: The video.
        fps: Frames per second.

    Returns:
        The face.

    Raises:
        InputError: There is no face, or it is not visible to the end.
    """
    frames = CountedFrames(video.read(fps))
    tracks = track_faces(frames, load_face_detector(), load_landmark_refiner())
    if frames.count == 0:
        raise InputError(f"{video.name} has no frames from {video.start_seconds:g} s on")
    if not tracks:
        raise InputError(f"no face found in {video.name}: give a video of one person, seen from the front")
    track, allowed = max(tracks, key=lambda one: len(one.landmarks)), LOST_SECONDS * fps
    if track.first_frame > allowed or frames.count - track.end > allowed:
        first, end = (round(video.start_seconds + number / fps, 2) for number in (track.first_frame, track.end))
        raise InputError(f"{video.name} shows the same face only from {first:g} to {end:g} s: give that part of it")
    return DrivingFace(follow_head(track, frames.count, fps), track.first_frame + find_neutral_frame(track))


class CountedFrames:
    """Frames, and how many of them went by."""

    def __init__(self, frames: Iterator[np.ndarray]):
        self.frames, self.count = frames, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.frames:
            self.count += 1
            yield frame


def follow_head(track: Track, num_frames: int, fps: float) -> list[Region]:
    """Return the square of each frame of the video, which follows the head.

    Args:
        track: Landmarks of the face; where it is not visible its square is interpolated.
        num_frames: T, frames of the video.
        fps: Frames per second.

    Returns:
        T squares, pixels.
    """
    visible = np.flatnonzero(np.isfinite(track.landmarks).all((1, 2)))
    regions = [region_of_landmarks(track.landmarks[k]) for k in visible]
    path = np.array([(*r.center, np.log(r.side), r.angle_radians) for r in regions])
    frames = np.arange(num_frames)
    path = np.stack([np.interp(frames, visible + track.first_frame, column) for column in path.T], axis=-1)
    smoothed = smooth_gaussian(path, FOLLOW_SECONDS * fps)
    return [Region((x, y), float(np.exp(side)), angle) for x, y, side, angle in smoothed.tolist()]


def find_neutral_frame(track: Track) -> int:
    """Find the frame with a closed mouth, open eyes and the head as it usually is.

    Args:
        track: Landmarks of the face.

    Returns:
        Number of the frame, counted from the track's first.
    """
    visible = np.flatnonzero(np.isfinite(track.landmarks).all((1, 2)))
    landmarks = track.landmarks[visible]
    angles, eyes = head_angles(head_rotations(landmarks)), eye_opening(landmarks)
    turned = np.abs(angles - np.median(angles, axis=0)).sum(1)
    closed = np.maximum(np.median(eyes) - eyes, 0)
    cost = mouth_opening(landmarks) / MOUTH_UNIT + closed / EYE_UNIT + turned / TURN_UNIT
    return int(visible[np.argmin(cost)])


def encode_driving_motion(
    codec: VideoAutoencoder, video: DrivingVideo, face: DrivingFace, fps: float, square: Tensor
) -> Iterator[Tensor]:
    """Encode the motion of a video from its own neutral frame. The video is not held in memory.

    Args:
        codec: A motion autoencoder.
        video: The video.
        face: The face in it.
        fps: Frames per second.
        square: (1 3 s s), whose size, device and data type the crops get.

    Yields:
        Latents (N C h w) of N frames.
    """

    def crop(frame: np.ndarray, number: int) -> np.ndarray:
        return crop_region(frame, face.regions[number], square.shape[-1])

    (neutral,) = islice(video.read(fps), face.neutral, face.neutral + 1)
    portrait = images_to_tensor(crop(neutral, face.neutral)[None], square.device, square.dtype)
    frames = enumerate(video.read(fps))
    while batch := [crop(frame, number) for number, frame in islice(frames, ENCODE_BATCH_FRAMES)]:
        yield codec.encode(images_to_tensor(np.stack(batch), square.device, square.dtype), portrait)


def fit_to_audio(motion: Iterator[Tensor], buffer: AudioBuffer, fps: float) -> Iterator[Tensor]:
    """Make motion as long as the sound: cut it, or hold its last frame.

    Args:
        motion: Latents (N C h w), N frames at a time.
        buffer: The sound; it is read as far as the frames need it.
        fps: Frames per second.

    Yields:
        Latents (N C h w).
    """
    count, last = 0, None
    for latents in motion:
        end = count + len(latents)
        buffer.read_until(end / fps)
        left = count_frames(buffer.seconds, fps) - count if buffer.ended else len(latents)
        if left <= 0:
            return
        yield latents[:left]
        count, last = count + len(latents[:left]), latents[-1:]
        buffer.trim(count / fps)
    while last is not None:
        buffer.read_until((count + 1) / fps)
        if buffer.ended and count >= count_frames(buffer.seconds, fps):
            return
        yield last
        count += 1
        buffer.trim(count / fps)


def check_drive(drive: Drive | None, model: Mapping[str, Any], **others: object) -> None:
    """Check that a model can be driven by a video.

    Args:
        drive: What the caller gives; None: nothing is checked.
        model: Config of the model.
        others: Further arguments of the call that say how to move.

    Raises:
        InputError: The model has no motion latents, frames have another shape or type, or another argument is given.
    """
    if drive is None:
        return
    if model.get("reference_channels") is None:
        raise InputError("drive= needs a model with motion latents (reference_channels); this one has none")
    if given := [name for name, value in others.items() if value is not None and value is not False]:
        raise InputError(f"drive= takes all motion from the video: leave {given[0]}= out")
    frames = drive.frames if isinstance(drive, DrivingVideo) else drive
    if isinstance(frames, np.ndarray) and (frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8):
        raise InputError(f"drive of shape {frames.shape} and type {frames.dtype}: give a file, or (T, H, W, 3) uint8")


def drive_portrait(
    codec: VideoAutoencoder, drive: Drive, buffer: AudioBuffer, fps: float, square: Tensor, num_frames: int | None
) -> Iterator[Tensor]:
    """Track the driving face, and return latents of its motion, as many as the sound needs.

    Args:
        codec: A motion autoencoder.
        drive: A file, frames (T H W 3) uint8, or a DrivingVideo.
        buffer: The sound.
        fps: Frames per second.
        square: (1 3 s s), the square of the portrait: crops of the video have its size, device and data type.
        num_frames: Frames of the sound; None: unknown.

    Returns:
        Latents (N C h w), N frames at a time, encoded as they are asked for.

    Raises:
        InputError: There is no face in the video, or it is shorter than the sound.
    """
    video = drive if isinstance(drive, DrivingVideo) else DrivingVideo(drive)
    if num_frames is not None and video.duration_seconds == inf:
        video = replace(video, duration_seconds=num_frames / fps)
    face = track_driving_face(video, fps)
    seconds, wanted = len(face.regions) / fps, video.duration_seconds
    if wanted != inf and wanted - seconds > HOLD_SECONDS:
        problem = f"{video.name} moves for {seconds:.2f} s, and the sound lasts {wanted:.2f} s"
        raise InputError(f"{problem}: use a part of the sound (duration_seconds={seconds:.2f}) or a longer video")
    return fit_to_audio(encode_driving_motion(codec, video, face, fps, square), buffer, fps)
