"""Turn a tracked face into a prepared clip: the head is stabilized, only the face moves.

Each frame is brought to the square of its own face by a similarity fitted to rigid points and smoothed over time, so
that a small network need not spend its capacity on head motion. All frames are those of the video at FPS.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.clip import Clip, ClipInfo
from emo.face.crop import (
    SYNCNET_CROP_SCALE,
    Region,
    crop_for_syncnet,
    crop_region,
    normalize_landmarks,
    smooth_regions,
    syncnet_squares,
)
from emo.face.landmarks import LIP_POINTS, MEDIAPIPE_TO_IBUG, eye_opening
from emo.face.pose import head_angles, head_rotations, head_speed
from emo.face.tracking import Track
from emo.preparation.face_patches import MARGIN_PIXELS, FacePatches
from emo.preparation.filters import (
    ClipLimits,
    check_picture,
    check_sound,
    check_sync,
    head_rotation_degrees,
    occluded_ratio,
)
from emo.preparation.quality import measure_quality
from emo.preparation.sound import VideoAudio
from emo.speech.lip_sync import load_lip_sync_scorer, score_lip_sync
from emo.speech.separation import SeparateVocals
from emo.speech.syncnet import load_syncnet, score_syncnet

MAX_GAP_FRAMES = 5  # a face that is not detected for so long is interpolated


@dataclass
class PreparationJob:
    """How all videos of a folder are prepared.

    Attributes:
        out: Folder of the clips.
        labels: Folder of landmarks from `emo.preparation.labels`; None: the packaged detector tracks the faces.
        size: Side of the square crop in pixels.
        limits: Which clips pass.
        separate: Separates voices from music; None: sounds stay as they are.
        syncnet: Weights of SyncNet; None: the packaged lip-sync scorer measures the offset of the sound.
    """

    out: Path
    labels: Path | None
    size: int
    limits: ClipLimits
    separate: SeparateVocals | None = None
    syncnet: Path | None = None


def read_mesh(path: Path) -> np.ndarray:
    """Read the landmarks of a video or picture as `emo.preparation.labels` wrote them.

    Returns:
        (T 468 3) pixels, NaN where no face was found.

    Raises:
        InputError: The file is missing.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: make it with python -m emo.preparation.labels")
    return load_file(path)["landmarks"]


def fill_gaps(points: np.ndarray, name: str) -> np.ndarray:
    """Interpolate points linearly over gaps of up to MAX_GAP_FRAMES frames.

    Args:
        points: (T N D), NaN where the face was not found.
        name: Name of the clip, for the message.

    Returns:
        (T N D) float32 without NaN.

    Raises:
        InputError: A gap is longer.
    """
    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    if len(seen) == 0 or np.diff(seen, prepend=-1, append=len(points)).max() > MAX_GAP_FRAMES + 1:
        raise InputError(
            f"{name}: no face for more than {MAX_GAP_FRAMES} frames: trim the video to where it is visible"
        )
    flat, rows = points.reshape(len(points), -1), np.arange(len(points))
    filled = np.stack([np.interp(rows, seen, column[seen]) for column in flat.T], axis=-1)
    return filled.reshape(points.shape).astype(np.float32)


def load_mesh(path: Path) -> np.ndarray:
    """Read landmarks as `read_mesh` does, with gaps filled.

    Raises:
        InputError: The file is missing, or the face is missing for more than MAX_GAP_FRAMES.
    """
    return fill_gaps(read_mesh(path), path.stem)


def resample_mesh(mesh: np.ndarray, fps: float) -> np.ndarray:
    """Select the frames of a mesh that are shown at FPS.

    Args:
        mesh: (T ...) mesh of a video.
        fps: Frames per second of that video.

    Returns:
        (T' ...) mesh at FPS.
    """
    index = (np.arange(round(len(mesh) / fps * FPS)) / FPS * fps + 1e-6).astype(int)
    return mesh[index.clip(max=len(mesh) - 1)]


def split_track(track: Track, max_seconds: float) -> list[Track]:
    """Split a track into as few parts of about equal length as stay within `max_seconds`.

    Args:
        track: The track of a face.
        max_seconds: Largest length of a part.

    Returns:
        The parts in order.
    """
    count = max(1, ceil(len(track.landmarks) / (max_seconds * FPS)))
    edges = np.linspace(0, len(track.landmarks), count + 1).round().astype(int)
    return [track.slice_frames(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def prepare_track(
    track: Track, mesh: np.ndarray | None, patches: FacePatches, audio: VideoAudio, info: ClipInfo, job: PreparationJob
) -> tuple[Clip, Iterator[np.ndarray]]:
    """Check a track and make its clip.

    Args:
        track: A face of one shot.
        mesh: (T 468 3) pixels, of the whole video; None without labels.
        patches: The pixels around the faces of that shot.
        audio: The sound of the video.
        info: Where the clip comes from; what is measured is written into it.
        job: Settings.

    Returns:
        The clip and its frames (job.size job.size 3) uint8, which are cut as they are asked for.

    Raises:
        InputError: The clip is outside of a limit; the message names the reason.
    """
    info.num_frames = len(track.landmarks)
    landmarks = fill_gaps(track.landmarks, info.name)
    regions = smooth_regions(landmarks)
    points = landmarks if mesh is None else fill_gaps(mesh[track.first_frame : track.end, :, :2], info.name)
    square = normalize_landmarks(points, regions).astype(np.float32)
    marks, square = (square, square[:, :0]) if mesh is None else (square[:, MEDIAPIPE_TO_IBUG], square)
    info.face_pixels = min(region.side for region in regions)
    info.rotation_degrees = float(np.quantile(head_rotation_degrees(landmarks), 0.9))
    for name, value in vars(measure_quality(track, patches)).items():
        setattr(info, name, value)
    info.occluded_ratio = occluded_ratio(track.mouth_occlusion)
    check_picture(info, job.limits)
    sound = audio.read(track.first_frame, info.num_frames)
    info.speech_ratio, info.music_ratio = sound.speech_ratio, sound.music_ratio
    check_sound(info, sound.voice, job.limits)
    if job.syncnet is None:
        info.sync_scorer, sync = (
            "lip_sync",
            score_lip_sync(marks[:, LIP_POINTS], sound.voice, load_lip_sync_scorer(), FPS),
        )
    else:
        faces = cut_for_syncnet(track.first_frame, landmarks, patches)
        info.sync_scorer, sync = "syncnet", score_syncnet(load_syncnet(job.syncnet), faces, sound.voice)
        if sync.offset_frames:
            sound = audio.read(track.first_frame + sync.offset_frames, info.num_frames)
    info.sync_offset_frames, info.sync_confidence = sync.offset_frames, sync.confidence
    check_sync(info, job.limits)
    clip = Clip(
        info,
        wave=sound.wave,
        landmarks=marks,
        head_speed=head_speed(landmarks, FPS),
        mesh=square,
        squares=np.array([(*region.center, region.side, region.angle_radians) for region in regions]),
        head_angles=head_angles(head_rotations(landmarks)),
        eye_opening=eye_opening(landmarks),
        gaze=fill_gaps(track.gaze[:, None], info.name)[:, 0] if len(track.gaze) else track.gaze,
        vocals=sound.vocals,
    )
    return clip, cut_regions(track.first_frame, regions, patches, job.size)


def cut_regions(first: int, regions: list[Region], patches: FacePatches, size: int) -> Iterator[np.ndarray]:
    """Yield the regions of consecutive frames.

    Args:
        first: Number of the first frame in the video.
        regions: Region of each frame, pixels.
        patches: The pixels around the faces.
        size: Side of the crops, pixels.

    Yields:
        (size size 3) uint8 crops.
    """
    for number, region in enumerate(regions, first):
        yield crop_region(patches.get_square(number, region.matrix(1)), region, size)


def cut_for_syncnet(first: int, landmarks: np.ndarray, patches: FacePatches) -> Iterator[np.ndarray]:
    """Yield the crops that SyncNet expects, of consecutive frames.

    Args:
        first: Number of the first frame in the video.
        landmarks: (T 68 2) pixels.
        patches: The pixels around the faces.

    Yields:
        (224 224 3) uint8 crops.
    """
    for number, square in enumerate(syncnet_squares(landmarks), first):
        x, y, half = square
        side, below = half * (1 + SYNCNET_CROP_SCALE) + MARGIN_PIXELS, half * (1 + 2 * SYNCNET_CROP_SCALE)
        box = patches.clamp(x - side, y - half - MARGIN_PIXELS, x + side, y + below + MARGIN_PIXELS)
        yield crop_for_syncnet(patches.get_frame(number, box), square)
