"""One pass over a video: everything that the measures without external weights need, cached by content.

What a video shows and sounds like, frame by frame: one pass over it, from which all measures without weights of
their own are taken.

T frames at FPS, whatever the video's own rate; frame (H W 3) uint8 RGB.

Do the lips say what is heard? The word of the small ear that ships with the package, and SyncNet's, LSE-C and LSE-D
(Prajwal et al., "A Lip Sync Expert Is All You Need", 2020), with the published weights, on the crops that it was
trained on: a second look at a video whose face is known.

Video files -> their tracks, each computed once: what was seen is kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import cv2
import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.files import content_name, load_arrays, save_arrays
from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import (
    MEDIAN_FRAMES,
    Region,
    crop,
    cut,
    held_still,
    region_of_landmarks,
    steady_regions,
    sync_crop,
    sync_squares,
)
from emo.face.refinement import MOUTH, Look, packaged_parts
from emo.face.selection import packaged_detector
from emo.face.tracking import Follower
from emo.media.audio import loudness, read_audio
from emo.media.decode import first_sound_seconds
from emo.media.image import sharpness
from emo.media.video import read_video
from emo.metrics.motion import LIPS
from emo.speech.lip_sync import REACH_FRAMES, compare_lips, heard_lips, packaged_ear
from emo.speech.syncnet import SyncNet, load_syncnet, syncnet_sync

FACE_PIXELS, MOUTH_PIXELS = 256, 160  # sides of the squares that are looked at; their pixels are about of one size
FACE_MASK = cv2.ellipse(np.zeros((FACE_PIXELS, FACE_PIXELS), np.uint8), (128, 124), (68, 92), 0, 0, 360, 1, -1)
LIP_MASK = cv2.ellipse(np.zeros((MOUTH_PIXELS, MOUTH_PIXELS), np.uint8), (80, 80), (64, 48), 0, 0, 360, 1, -1)
HEAD = 1.2  # sides of the face's square around it that are no background; nor is what lies under them
LEAST_BACKGROUND = 0.05  # of the picture, to be measured


@dataclass
class Tracks:
    """Where the face is out of sight, its tracks go straight from what was before to what comes after; of a video
    without any face they are NaN."""

    seen: np.ndarray  # (T,) bool, whether the face is
    landmarks: np.ndarray  # (T 68 2) pixels, iBUG
    gaze: np.ndarray  # (T 2) radians, of emo.face.landmarks
    face_sharpness: np.ndarray  # (T,) 1 / pixels² of a square of FACE_PIXELS
    mouth_sharpness: np.ndarray  # (T,)
    colour: np.ndarray  # (T 3) the face's mean colour in CIELAB: L* of 0..100, a*, b*
    change: np.ndarray  # (T,) mean absolute difference to the frame before, grey levels; the first is 0
    background: np.ndarray  # (T,) the same beside and above the head; NaN where there is too little of that
    level: np.ndarray  # (T,) dB, of emo.media.audio; NaN without sound
    heard: np.ndarray  # (T + 2 REACH_FRAMES 40) the lips that emo.speech.lip_sync hears; NaN without sound
    sync: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))  # of emo.metrics.tracks; NaN: not asked
    faces: np.ndarray = field(default_factory=lambda: np.full((1, 1), np.nan))  # (T 512) of emo.metrics.identity
    nearness: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))  # PSNR, SSIM, LPIPS to a true video

    @property
    def seen_landmarks(self) -> np.ndarray:
        """(T 68 2), NaN where the face is out of sight."""
        return np.where(self.seen[:, None, None], self.landmarks, np.nan)


def track_video(
    frames: Iterable[np.ndarray], wave: np.ndarray | None, follow: Callable[[np.ndarray], Look | None]
) -> Tracks:
    """frames at FPS, read once; wave (S,) at SAMPLE_RATE, None: no sound; follow: each frame -> how the face looks in
    it, None: out of sight."""
    rows, before, region = [], None, None
    for frame in frames:
        look = follow(frame)
        region = region_of_landmarks(look.landmarks) if look else region
        rows.append((look is not None, *seen_of(frame, look), *differences(frame, before, region)))
        before = frame
    seen, *columns = (np.array(column) for column in zip(*rows, strict=True))
    level, heard = np.full(len(seen), np.nan), np.full((len(seen) + 2 * REACH_FRAMES, 40), np.nan)
    if wave is not None:
        level = loudness(wave, SAMPLE_RATE, len(seen), FPS)
        heard = heard_lips(wave, len(seen), packaged_ear(), FPS)
    return Tracks(seen, *(without_gaps(values, seen) for values in columns[:5]), *columns[5:], level, heard)


def seen_of(frame: np.ndarray, look: Look | None) -> tuple:
    """Landmarks, gaze, sharpness of face and mouth, and colour; NaN where nothing is to be seen."""
    if look is None:
        return np.full((68, 2), np.nan), np.full(2, np.nan), np.nan, np.nan, np.full(3, np.nan)
    face = crop(frame, region_of_landmarks(look.landmarks), FACE_PIXELS)
    mouth = cut(frame, MOUTH.squares(look.landmarks)[0], MOUTH_PIXELS)
    sharp = [sharpness(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), i > 0) for c, i in ((face, FACE_MASK), (mouth, LIP_MASK))]
    mean = np.float32(cv2.mean(face, FACE_MASK)[:3]) / 255
    return look.landmarks, look.gaze, *sharp, cv2.cvtColor(mean[None, None], cv2.COLOR_RGB2LAB)[0, 0]


def differences(frame: np.ndarray, before: np.ndarray | None, region: Region | None) -> tuple[float, float]:
    """Mean absolute difference of two frames in the whole picture, and in its background; region: the face's."""
    change = np.zeros(frame.shape[:2]) if before is None else cv2.absdiff(frame, before).mean(-1)
    behind = np.ones(change.shape, bool)
    if region is not None:
        (x, y), half = region.center, region.side * HEAD / 2
        behind[max(0, round(y - half)) :, max(0, round(x - half)) : max(0, round(x + half))] = False
        behind[max(0, round(y + half)) :] = False
    return change.mean(), change[behind].mean() if behind.mean() >= LEAST_BACKGROUND else np.nan


def without_gaps(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """values (T ...) with what lies between frames that are seen (T,) taken from the straight line."""
    if not seen.any():
        return values
    frames, flat = np.arange(len(seen)), values.reshape(len(values), -1)
    filled = [np.interp(frames, frames[seen], column[seen]) for column in flat.T]
    return np.stack(filled, -1).reshape(values.shape)


def ear_sync(tracks: Tracks) -> tuple[float, float]:
    """By the lips that the ear reads from the sound: its confidence (how much better r is at the best of the offsets
    than at most), and how many frames that lies from 0. NaN without sound; lips that rest have a confidence of 0, and
    no offset."""
    if np.isnan(tracks.heard).any():
        return np.nan, np.nan
    landmarks = tracks.landmarks.astype(np.float64)
    lips = held_still(landmarks[:, LIPS], steady_regions(landmarks))
    found = compare_lips(lips, tracks.heard)
    return found.confidence, abs(found.offset_frames) if found.confidence > 0 else np.nan


def sync_of(video: Path, tracks: Tracks, wave: np.ndarray | None, net: SyncNet) -> np.ndarray:
    """wave (S,) at 16 kHz -> (3,) confidence (LSE-C), distance (LSE-D), and the offset in frames, positive where the
    sound is late. NaN without sound or face, or in fewer than MEDIAN_FRAMES frames."""
    if wave is None or not tracks.seen.any() or len(tracks.seen) < MEDIAN_FRAMES:
        return np.full(3, np.nan)
    pairs = zip(read_video(video, FPS), sync_squares(tracks.landmarks), strict=True)
    found = syncnet_sync(net, (sync_crop(frame, square) for frame, square in pairs), wave)
    return np.array([found.confidence, found.distance, found.offset_frames])


VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def list_videos(folder: Path) -> list[Path]:
    """The videos of a folder, by name. Raises InputError where there is none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in VIDEOS)
    if not found:
        what = "holds no videos" if folder.is_dir() else "is no folder"
        raise InputError(f"{folder} {what}: give one with {', '.join(VIDEOS)} files")
    return found


def make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} can't be made ({error.strerror}): choose another -o") from error
    return folder


@dataclass(frozen=True)
class Watch:
    """A video -> the file of its tracks."""

    folder: Path  # where they are kept
    syncnet: Path | None = None  # its weights, where it is asked too

    def __call__(self, video: Path) -> Path:
        """Raises InputError for a video that can't be read."""
        path = self.folder / f"{content_name(*filter(None, (video, self.syncnet)))}.safetensors"
        if not path.exists():
            save_tracks(path, watch(video, self.syncnet))
        return path


def watch(video: Path, syncnet: Path | None = None) -> Tracks:
    """The tracks of a file; the face is the one that is in sight for the longest. Raises InputError."""
    wave = None if first_sound_seconds(video) is None else read_audio(video, SAMPLE_RATE)
    tracks = track_video(read_video(video, FPS), wave, follower())
    return replace(tracks, sync=sync_of(video, tracks, wave, load_syncnet(syncnet))) if syncnet else tracks


def follower() -> Callable[[np.ndarray], Look | None]:
    """Each frame of a video in turn -> how the face that is in sight for the longest looks in it."""
    faces = Follower(packaged_detector(), packaged_parts())

    def follow(frame: np.ndarray) -> Look | None:
        following = faces.step(frame)
        return following[0].look if following else None

    return follow


def save_tracks(path: Path, tracks: Tracks) -> None:
    """The file comes whole or not at all. Raises OutputError."""
    save_arrays(path, {field.name: getattr(tracks, field.name) for field in fields(Tracks)})


def load_tracks(path: Path) -> Tracks:
    """What `save_tracks` wrote. Raises InputError for a broken file."""
    try:
        return Tracks(**load_arrays(path))
    except TypeError as error:
        raise InputError(f"{path} is broken ({error}): remove it, it is made again") from error
