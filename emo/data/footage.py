"""A folder of videos -> a folder of clips; what can't be used is named with the reason and passed over."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from emo.data.clip import FPS, ClipInfo, save_clip
from emo.data.ledger import Ledger, Piece
from emo.data.pictures import read_hold_out
from emo.data.prepare import IBUG, at_clip_rate, pick, pieces, prepare_track, read_mesh
from emo.data.screen import Limits
from emo.data.shots import find_shots
from emo.data.sources import origin, read_manifest
from emo.errors import InputError, OutputError
from emo.face.detector import FaceDetector
from emo.face.region import crop, region_of_landmarks
from emo.face.track import Track, follow_faces
from emo.media.video import probe_video, read_video

VIDEOS = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"}
THUMB_PIXELS = 96


@dataclass
class Job:
    """How all videos of a folder are prepared."""

    out: Path  # the clips' folder
    labels: Path | None  # of emo.data.label; None: the packaged detector follows the faces
    size: int  # pixels of the square crop
    limits: Limits


def prepare_videos(folder: Path, job: Job, hold_out: str | None, per_person: int | None) -> int:
    """Each face of each shot of each video becomes a clip; returns how many clips the job's folder holds."""
    job.out.mkdir(parents=True, exist_ok=True)
    manifest, people, count, ledger = read_manifest(folder), read_hold_out(hold_out), {}, Ledger(job.out)
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS):
        info = origin(path, manifest)
        count[info.person] = count.get(info.person, 0) + 1
        left = info.person in people or count[info.person] > (per_person or count[info.person])
        if not left and path.name not in ledger.done:
            ledger.add(path.name, prepare_video(path, info, job))
    return len(list(job.out.glob("*.json")))


def prepare_video(path: Path, info: ClipInfo, job: Job) -> list[Piece]:
    """What became of a video. Raises OutputError; whatever else is wrong with the video is its reason."""
    try:
        mesh = None if job.labels is None else read_labels(job.labels, path)
        tracks = [t for track in find_tracks(path, mesh) for t in pieces(track, job.limits.longest_seconds)]
        if not tracks:
            raise InputError(f"{info.name}: no face is seen")
        return save_tracks(path, tracks, mesh, info, job)
    except OutputError:
        raise
    except InputError as error:
        return [Piece(info.name, 0.0, str(error).removeprefix(f"{info.name}: ").replace(str(path), "the file"))]
    except Exception as error:  # one video in ten thousand must not end the run
        return [Piece(info.name, 0.0, f"{type(error).__name__}: {error}")]


def read_labels(labels: Path, video: Path) -> np.ndarray:
    """(T 468 3) of the frames at FPS. Raises InputError for missing labels or a video that can't be read."""
    return at_clip_rate(read_mesh(labels / f"{video.stem}.safetensors"), probe_video(video).fps)


def find_tracks(video: Path, mesh: np.ndarray | None) -> list[Track]:
    """The faces of all shots, each with its frames; with a mesh (T 468 3) that one's face in each shot."""
    shots = find_shots(read_video(video, FPS))
    if mesh is not None:
        return [Track(first, mesh[first:end, IBUG, :2]) for first, end in shots if first < len(mesh)]
    frames, detector, tracks = read_video(video, FPS), FaceDetector(), []
    for first, end in shots:
        found = follow_faces(itertools.islice(frames, end - first), detector)
        tracks += [replace(track, first=first + track.first) for track in found]
    return tracks


def save_tracks(video: Path, tracks: list[Track], mesh: np.ndarray | None, info: ClipInfo, job: Job) -> list[Piece]:
    """Each track as a clip: NAME where there is one, else NAME_0, NAME_1, ..."""
    names = [info.name] if len(tracks) == 1 else [f"{info.name}_{k}" for k in range(len(tracks))]
    waiting, done = list(zip(tracks, names, strict=True)), []
    while waiting:  # faces seen at the same time are cut in passes of their own
        numbered, passed, later = enumerate(read_video(video, FPS)), 0, []
        for track, name in waiting:
            if track.first < passed:
                later.append((track, name))
                continue
            piece, passed = Piece(name, len(track.landmarks) / FPS), track.end
            try:
                named = replace(info, name=name)
                save_clip(job.out, *prepare_track(video, track, mesh, numbered, named, job.size, job.limits))
            except OutputError:
                raise
            except InputError as error:
                piece.reason, passed = str(error).removeprefix(f"{name}: "), track.first + 1
                save_thumb(job.out / "dropped" / f"{name}.jpg", track, numbered)
            done.append(piece)
        waiting = later
    return done


def save_thumb(path: Path, track: Track, numbered: Iterator[tuple[int, np.ndarray]]) -> None:
    """The face of the track's first frame, where it was seen."""
    if np.isfinite(track.landmarks[0]).all():
        path.parent.mkdir(exist_ok=True)
        frame = next(pick(numbered, range(track.first, track.first + 1)))
        cv2.imwrite(str(path), crop(frame, region_of_landmarks(track.landmarks[0]), THUMB_PIXELS)[..., ::-1])
