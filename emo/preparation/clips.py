"""SyncNet before the faces of one video.

SyncNet before the faces of one video.

A face through a shot of a video -> a prepared clip: the head is held still, only the face moves.

Every frame is brought to the square of its own face by a similarity over rigid points, smoothed in time, so that a
small network need not spend itself on head motion. All frames are those of `read_video(video, FPS)`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.clip import LIPS, Clip, ClipInfo
from emo.face.crop import crop, held_still, steady_regions, sync_crop, sync_squares
from emo.face.landmarks import IBUG, eye_opening
from emo.face.pose import head_angles, head_rotations, head_speed
from emo.face.tracking import Track
from emo.media.video import read_video
from emo.preparation.filters import Limits, check_picture, check_sound, check_sync, covered_share, turned_degrees
from emo.preparation.quality import Sight
from emo.preparation.sound import Listener
from emo.speech.lip_sync import lip_sync, packaged_ear
from emo.speech.separation import Separate
from emo.speech.syncnet import LipSync, SyncNet, syncnet_sync


class Watch:
    """Reads the video forwards, in step with the faces it is asked for; for one that has passed it starts anew."""

    def __init__(self, net: SyncNet, video: Path):
        self.net, self.video = net, video
        self.frames, self.passed = read_video(video, FPS), 0

    def sync(self, first: int, landmarks: np.ndarray, wave: np.ndarray) -> LipSync:
        """landmarks (T 68 2) pixels of the frames `first` and after, and the wave (S,) at 16 kHz of the same time."""
        if first < self.passed:
            self.frames, self.passed = read_video(self.video, FPS), 0
        frames = islice(self.frames, first - self.passed, first - self.passed + len(landmarks))
        self.passed = first + len(landmarks)
        squares = sync_squares(landmarks)
        return syncnet_sync(self.net, (sync_crop(f, s) for f, s in zip(frames, squares, strict=True)), wave)


LONGEST_GAP = 5  # frames without the face that are filled


@dataclass
class Job:
    """How all videos of a folder are prepared."""

    out: Path  # the clips' folder
    labels: Path | None  # of emo.preparation.labels; None: the packaged detector follows the faces
    size: int  # pixels of the square crop
    limits: Limits
    separate: Separate | None = None  # voices from music; None: sounds stay as they are
    syncnet: Path | None = None  # weights; None: the small ear


def read_mesh(path: Path) -> np.ndarray:
    """(T 468 3) landmarks in pixels, NaN where no face was seen. Raises InputError for a missing file."""
    if not path.exists():
        raise InputError(f"{path} is missing: make it with python -m emo.preparation.labels")
    return load_file(path)["landmarks"]


def without_gaps(points: np.ndarray, name: str) -> np.ndarray:
    """points (T N D), NaN where unseen, with gaps of up to LONGEST_GAP frames filled. Raises InputError on others."""
    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    if len(seen) == 0 or np.diff(seen, prepend=-1, append=len(points)).max() > LONGEST_GAP + 1:
        raise InputError(f"{name}: the face is out of sight; cut the video where it is seen")
    flat, rows = points.reshape(len(points), -1), np.arange(len(points))
    filled = np.stack([np.interp(rows, seen, column[seen]) for column in flat.T], axis=-1)
    return filled.reshape(points.shape).astype(np.float32)


def load_mesh(path: Path) -> np.ndarray:
    """(T 468 3) landmarks in pixels without gaps. Raises InputError for a missing file or a face out of sight."""
    return without_gaps(read_mesh(path), path.stem)


def at_clip_rate(mesh: np.ndarray, rate: float) -> np.ndarray:
    """mesh (T ...) of a video of `rate` frames per second -> of its frames at FPS."""
    index = (np.arange(round(len(mesh) / rate * FPS)) / FPS * rate + 1e-6).astype(int)
    return mesh[index.clip(max=len(mesh) - 1)]


def pieces(track: Track, longest_seconds: float) -> list[Track]:
    """The track cut into as few pieces of about one length as stay within `longest_seconds`."""
    count = max(1, ceil(len(track.landmarks) / (longest_seconds * FPS)))
    edges = np.linspace(0, len(track.landmarks), count + 1).round().astype(int)
    return [track.part(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def prepare_track(
    track: Track,
    sight: Sight,
    mesh: np.ndarray | None,
    numbered: Iterator[tuple[int, np.ndarray]],
    listener: Listener,
    info: ClipInfo,
    job: Job,
    watch: Watch | None = None,
) -> tuple[Clip, Iterator[np.ndarray]]:
    """A face of a video -> a clip and its frames (job.size job.size 3).

    sight: what `look` saw of the track; mesh: of the whole video, (T 468 3) pixels, where there is one; numbered: the
    video's frames, enumerated, from the track's first or before; listener: of the video; watch: SyncNet before it, or
    None for the small ear. What is measured stands in `info`. Raises InputError, with the reason, for what must
    not be learnt from.
    """
    info.num_frames = len(track.landmarks)
    landmarks = without_gaps(track.landmarks, info.name)
    regions = steady_regions(landmarks)
    points = landmarks if mesh is None else without_gaps(mesh[track.first : track.end, :, :2], info.name)
    square = held_still(points, regions).astype(np.float32)
    marks, square = (square, square[:, :0]) if mesh is None else (square[:, IBUG], square)
    info.face_pixels = min(region.side for region in regions)
    info.turned_degrees = float(np.quantile(turned_degrees(landmarks), 0.9))
    for name, value in vars(sight).items():
        setattr(info, name, value)
    info.covered = covered_share(track.covered)
    check_picture(info, job.limits)
    heard = listener.hear(track.first, info.num_frames)
    info.voice_share, info.music_share = heard.voice_share, heard.music_share
    check_sound(info, heard.voice, job.limits)
    if watch is None:
        info.sync_by, sync = "ear", lip_sync(marks[:, LIPS], heard.voice, packaged_ear(), FPS)
    else:
        info.sync_by, sync = "syncnet", watch.sync(track.first, landmarks, heard.voice)
        if sync.offset_frames:
            heard = listener.hear(track.first + sync.offset_frames, info.num_frames)
    info.sync_offset_frames, info.sync_confidence = sync.offset_frames, sync.confidence
    check_sync(info, job.limits)
    squares = np.array([(*region.center, region.side, region.angle_radians) for region in regions])
    angles = head_angles(head_rotations(landmarks))
    gaze = without_gaps(track.gaze[:, None], info.name)[:, 0] if len(track.gaze) else track.gaze
    speed, eyes = head_speed(landmarks, FPS), eye_opening(landmarks)
    clip = Clip(info, heard.wave, marks, speed, square, squares, angles, eyes, gaze, heard.vocals)
    return clip, (
        crop(f, r, job.size) for f, r in zip(pick(numbered, range(track.first, track.end)), regions, strict=True)
    )


def pick(numbered: Iterator[tuple[int, np.ndarray]], wanted: range) -> Iterator[np.ndarray]:
    """The frames with these numbers; takes none beyond the last."""
    for want in wanted:
        number, frame = next(numbered)
        while number < want:
            number, frame = next(numbered)
        yield frame
