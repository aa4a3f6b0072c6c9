"""Video files -> their tracks, each computed once: what was seen is kept."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from emo.errors import InputError, OutputError
from emo.evaluation.kept import content_name, load_arrays, save_arrays
from emo.evaluation.lips import sync_of
from emo.evaluation.tracks import FPS, SAMPLE_RATE, Tracks, track_video
from emo.face.locate import packaged_detector
from emo.face.parts import Look, packaged_parts
from emo.face.track import Follower
from emo.media.audio import read_audio
from emo.media.decode import first_sound_seconds
from emo.media.video import read_video
from emo.models.syncnet import load_syncnet

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
