"""A folder of videos -> a folder of clips; what can't be used is named with the reason and passed over."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.parallel import each
from emo.core.storage import local_copy
from emo.core.timing import FPS
from emo.data.clip import ClipInfo, save_clip
from emo.face.crop import crop, region_of_landmarks
from emo.face.detector import FaceDetector
from emo.face.landmarks import IBUG
from emo.face.refinement import PartReader
from emo.face.tracking import Track, follow_faces, look_along
from emo.media.video import damaged_spans, probe_video, read_video
from emo.preparation.clips import Job, Watch, at_clip_rate, pick, pieces, prepare_track, read_mesh
from emo.preparation.filters import check_video
from emo.preparation.processing_log import Ledger, Piece
from emo.preparation.quality import look
from emo.preparation.shots import find_shots
from emo.preparation.sound import Listener
from emo.preparation.sources import Source
from emo.speech.syncnet import load_syncnet
from emo.speech.voice_activity import packaged_voice

THUMB_PIXELS = 96


def prepare_videos(
    sources: Sequence[Source], job: Job, people: set[str], per_person: int | None, workers: int, address: str | None
) -> int:
    """Each face of each shot of each video becomes a clip; returns how many clips the job's folder holds.

    people: those held out. What met trouble that may pass is said at the end, and is done by the next run. Raises
    OutputError, and InputError where a package is missing or weights are.
    """
    packaged_voice()
    if job.syncnet is not None:
        load_syncnet(job.syncnet)
    job.out.mkdir(parents=True, exist_ok=True)
    count, ledger, waiting, put_off = Counter(), Ledger(job.out), [], []
    for source in sources:
        count[source.info.person] += 1
        left = source.info.person in people or count[source.info.person] > (per_person or len(sources))
        if not left and source.key not in ledger.done:
            waiting.append(source)
    waiting.sort(key=lambda source: -source.size)  # the longest first, so that none is left alone at the end
    for source, found in each(partial(prepare_source, job=job), waiting, workers, address, job.separate is not None):
        if isinstance(found, str):
            put_off.append(f"{source.key}: {found}")
        else:
            ledger.add(source.key, found)
    if put_off:
        print(f"put off, run the same again for them: {len(put_off)}", *put_off, sep="\n  ", flush=True)
    return len(list(job.out.glob("*.json")))


def prepare_source(source: Source, job: Job) -> list[Piece] | str:
    """What became of a video, or the trouble that may pass. Raises OutputError; whatever else is wrong with the video
    is its reason."""
    info = replace(source.info)
    try:
        with local_copy(source.url) as path:
            return prepare_video(path, source.spans, info, job)
    except OutputError:
        raise
    except InputError as error:
        return [Piece(info.name, 0.0, str(error).removeprefix(f"{info.name}: "))]
    except (OSError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # one video in ten thousand must not end the run
        return [Piece(info.name, 0.0, f"{type(error).__name__}: {error}")]


def prepare_video(path: Path, spans: Sequence[tuple[float, float]], info: ClipInfo, job: Job) -> list[Piece]:
    """What became of the spans (seconds) of a video. Raises InputError for one of which nothing can be used."""
    try:
        check_video(info.name, probe_video(path), job.limits)
        mesh = None if job.labels is None else read_labels(job.labels, path)
        tracks = [t for track in find_tracks(path, spans, mesh) for t in pieces(track, job.limits.longest_seconds)]
        if not tracks:
            raise InputError(f"{info.name}: no face is seen")
        return save_tracks(path, tracks, mesh, info, job)
    except OutputError:
        raise
    except InputError as error:
        raise InputError(str(error).replace(str(path), "the file")) from error


def read_labels(labels: Path, video: Path) -> np.ndarray:
    """(T 468 3) of the frames at FPS. Raises InputError for missing labels or a video that can't be read."""
    return at_clip_rate(read_mesh(labels / f"{video.stem}.safetensors"), probe_video(video).fps)


def find_tracks(video: Path, spans: Sequence[tuple[float, float]], mesh: np.ndarray | None) -> list[Track]:
    """The faces of all shots within the spans (seconds), each with its frames; with a mesh (T 468 3) that one's face
    in each."""
    frames, tracks, passed = read_video(video, FPS), [], 0
    detector, parts = FaceDetector(), PartReader()
    for first, end in within(find_shots(read_video(video, FPS)), spans):
        shot = itertools.islice(frames, first - passed, end - passed)
        if mesh is None:
            tracks += [replace(track, first=first + track.first) for track in follow_faces(shot, detector, parts)]
        elif first < len(mesh):
            tracks.append(look_along(first, mesh[first:end, IBUG, :2], shot, parts))
        passed = end
    return tracks


def within(shots: list[tuple[int, int]], spans: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """The parts of the shots (frames) that lie in a span (seconds), in order; where spans overlap the first has it."""
    parts, passed = [], 0
    for start, end in sorted(spans):
        for first, last in shots:
            part = max(first, passed, round(start * FPS)), int(min(last, end * FPS))
            if part[1] > part[0]:
                parts.append(part)
        passed = max([passed, *(last for _, last in parts)])
    return sorted(parts)


def save_tracks(video: Path, tracks: list[Track], mesh: np.ndarray | None, info: ClipInfo, job: Job) -> list[Piece]:
    """Each track as a clip: NAME where there is one, else NAME__0, NAME__1, ..."""
    names = [info.name] if len(tracks) == 1 else [f"{info.name}__{k}" for k in range(len(tracks))]
    waiting, done = list(zip(tracks, names, look(read_video(video, FPS), tracks), strict=True)), []
    watch = None if job.syncnet is None else Watch(load_syncnet(job.syncnet), video)
    listener = Listener(video, job.separate, job.limits.least_music)
    damaged = damaged_spans(video)
    while waiting:  # faces seen at the same time are cut in passes of their own
        numbered, passed, later = enumerate(read_video(video, FPS)), 0, []
        for track, name, sight in waiting:
            if track.first < passed:
                later.append((track, name, sight))
                continue
            piece, passed = Piece(name, len(track.landmarks) / FPS), track.end
            try:
                check_whole(name, track, damaged)
                given = track, sight, mesh, numbered, listener, replace(info, name=name), job, watch
                save_clip(job.out, *prepare_track(*given))
            except OutputError:
                raise
            except InputError as error:
                piece.reason = str(error).removeprefix(f"{name}: ").replace(str(video), "the file")
                passed = track.first + 1
                save_thumb(job.out / "dropped" / f"{name}.jpg", track, numbered)
            done.append(piece)
        waiting = later
    return done


def check_whole(name: str, track: Track, damaged: list[tuple[float, float]]) -> None:
    """Raises InputError for a track with a picture in one of the spans (seconds)."""
    if any(start * FPS < track.end and track.first < end * FPS for start, end in damaged):
        raise InputError(f"{name}: the picture is damaged")


def save_thumb(path: Path, track: Track, numbered: Iterator[tuple[int, np.ndarray]]) -> None:
    """The face of the track's first frame, where it was seen."""
    if np.isfinite(track.landmarks[0]).all():
        path.parent.mkdir(exist_ok=True)
        frame = next(pick(numbered, range(track.first, track.first + 1)))
        cv2.imwrite(str(path), crop(frame, region_of_landmarks(track.landmarks[0]), THUMB_PIXELS)[..., ::-1])
