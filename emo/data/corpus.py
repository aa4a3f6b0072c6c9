"""A folder of footage -> a folder of clips; each that can't be used is named with the reason and passed over."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from emo.data.animate import animate, make_driver, reshape
from emo.data.clip import (
    FPS,
    SAMPLE_RATE,
    Clip,
    ClipInfo,
    list_clips,
    load_clip,
    load_info,
    read_clip_frames,
    save_clip,
)
from emo.data.pictures import list_pictures, read_hold_out
from emo.data.prepare import IBUG, at_clip_rate, into_square, load_mesh, pieces, prepare_track, read_mesh
from emo.data.screen import MOST_UNSTEADY, Limits, unsteadiness
from emo.data.shots import find_shots
from emo.data.styles import disturb
from emo.errors import InputError
from emo.face.detector import FaceDetector
from emo.face.region import crop, region_of_landmarks
from emo.face.track import Track, follow_faces
from emo.media.image import read_image
from emo.media.video import probe_video, read_video

VIDEOS = {".mp4", ".mov", ".webm", ".mkv"}
SMALLEST_STILL_PIXELS = 140  # side of a still's square


def read_manifest(folder: Path) -> dict[str, dict[str, str]]:
    """manifest.csv by file name, or nothing."""
    path = folder / "manifest.csv"
    return {row["file"]: row for row in csv.DictReader(path.open())} if path.exists() else {}


def origin(path: Path, manifest: dict[str, dict[str, str]]) -> ClipInfo:
    """What the manifest knows of a file; without a speaker it is a person of its own."""
    row = manifest.get(path.name, {})
    return ClipInfo(path.stem, row.get("speaker", path.stem), row.get("source", path.name), row.get("licence", ""), 0)


class Dropped:
    """What was left out, and why: said at once, and kept in dropped.csv of the folder."""

    def __init__(self, folder: Path):
        self.path, self.rows = folder / "dropped.csv", []
        self.path.unlink(missing_ok=True)  # of the run before: what is still wrong is found again

    def add(self, name: str, error: InputError) -> None:
        print(f"left out: {error}", flush=True)
        self.rows.append((name, str(error)))
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerows([("name", "reason"), *self.rows])


def prepare_videos(
    folder: Path,
    labels: Path | None,
    out: Path,
    size: int,
    hold_out: str | None,
    per_person: int | None,
    limits: Limits,
) -> int:
    """Each face of each shot of each video becomes a clip; returns how many clips `out` holds."""
    out.mkdir(parents=True, exist_ok=True)
    manifest, people, count, dropped = read_manifest(folder), read_hold_out(hold_out), {}, Dropped(out)
    detector = FaceDetector()
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS):
        info = origin(path, manifest)
        count[info.person] = count.get(info.person, 0) + 1
        if info.person in people or count[info.person] > (per_person or count[info.person]):
            continue
        if (out / f"{info.name}.json").exists():  # of one face, and done
            continue
        try:
            mesh = None if labels is None else read_labels(labels, path)
            tracks = [t for track in find_tracks(path, mesh, detector) for t in pieces(track, limits.longest_seconds)]
            if not tracks:
                raise InputError(f"{info.name}: no face is seen")
            save_tracks(path, tracks, mesh, out, info, size, limits, dropped)
        except InputError as error:
            dropped.add(info.name, error)
    return len(list(out.glob("*.json")))


def read_labels(labels: Path, video: Path) -> np.ndarray:
    """(T 468 3) of the frames at FPS. Raises InputError for missing labels or a video that can't be read."""
    return at_clip_rate(read_mesh(labels / f"{video.stem}.safetensors"), probe_video(video).fps)


def find_tracks(video: Path, mesh: np.ndarray | None, detector: FaceDetector) -> list[Track]:
    """The faces of all shots, each with its frames; with a mesh (T 468 3) that one's face in each shot."""
    shots = find_shots(read_video(video, FPS))
    if mesh is not None:
        return [Track(first, mesh[first:end, IBUG, :2]) for first, end in shots if first < len(mesh)]
    frames, tracks = read_video(video, FPS), []
    for first, end in shots:
        found = follow_faces(itertools.islice(frames, end - first), detector)
        tracks += [replace(track, first=first + track.first) for track in found]
    return tracks


def save_tracks(
    video: Path,
    tracks: list[Track],
    mesh: np.ndarray | None,
    out: Path,
    info: ClipInfo,
    size: int,
    limits: Limits,
    dropped: Dropped,
) -> None:
    """Each track as a clip: NAME where there is one, else NAME_0, NAME_1, ..."""
    names = [info.name] if len(tracks) == 1 else [f"{info.name}_{k}" for k in range(len(tracks))]
    waiting = [(t, name) for t, name in zip(tracks, names, strict=True) if not (out / f"{name}.json").exists()]
    while waiting:  # faces seen at the same time are cut in passes of their own
        numbered, passed, later = enumerate(read_video(video, FPS)), 0, []
        for track, name in waiting:
            if track.first < passed:
                later.append((track, name))
                continue
            try:
                named = replace(info, name=name)
                save_clip(out, *prepare_track(video, track, mesh, numbered, named, size, limits))
                passed = track.end
            except InputError as error:
                dropped.add(name, error)
        waiting = later


def load_still(picture: Path, mesh_path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The square (size size 3) of a still's face and its mesh (468 2) in it. Raises InputError for a small face."""
    mesh = load_mesh(mesh_path)[0]
    region = region_of_landmarks(mesh[IBUG, :2])
    if region.side < SMALLEST_STILL_PIXELS:
        raise InputError(f"{picture.name}: the face is smaller than {SMALLEST_STILL_PIXELS} pixels")
    return crop(read_image(picture), region, size), into_square(mesh[:, :2], region)


def save_talking_still(
    out: Path, info: ClipInfo, square: np.ndarray, mesh: np.ndarray, driving: Path, num_frames: int, first: int
) -> None:
    """The clip of a still (its square and mesh) that talks like `num_frames` frames of a clip from `first` on.

    Raises InputError where the motion does not fit the face.
    """
    driver, rows = load_clip(driving), slice(first, first + num_frames)
    if driver.mesh.size == 0:
        raise InputError(f"{driving} has no face mesh to drive with: prepare it with --labels")
    motion = make_driver(driver.mesh[rows], list(read_clip_frames(driving))[rows])
    pictures, meshes = zip(*animate(square, mesh, motion), strict=True)
    if unsteadiness(pictures) > MOST_UNSTEADY:
        raise InputError(f"{info.name}: the motion of {driving.stem} tears the picture")
    info.num_frames, rate = len(pictures), SAMPLE_RATE / FPS
    wave = driver.wave[round(first * rate) : round((first + len(pictures)) * rate)]
    still, moved = np.zeros(len(pictures), np.float32), np.stack(meshes).astype(np.float32)
    save_clip(out, Clip(info, wave, moved[:, IBUG], still, moved), iter(pictures))


def prepare_stills(
    folder: Path,
    labels: Path,
    out: Path,
    size: int,
    hold_out: str | None,
    drivers: list[Path],
    num_frames: int,
    takes: int,
    styled: float,
    reshaped: float,
) -> int:
    """Returns how many clips `out` holds. Each still talks in `takes` clips, clip k of all like clip k * 7 of the
    drivers, counted round. A share `styled` of the clips show it painted, drawn, recoloured or worn, a share
    `reshaped` with other proportions."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder)
    drivers = [list_clips([str(d)], hold_out) for d in drivers]
    pictures = list_pictures([str(folder)], hold_out)
    dropped = Dropped(out)
    for k, (take, picture) in enumerate(itertools.product(range(takes), pictures)):
        name, rng = f"{picture.stem}_{take}", np.random.default_rng(k)
        if (out / f"{name}.json").exists():
            continue
        group = drivers[k % len(drivers)]
        driving = group[7 * (k // len(drivers)) % len(group)]
        first = int(rng.integers(max(1, load_info(driving).num_frames - num_frames + 1)))
        licence = manifest.get(picture.name, {}).get("licence", "")
        info = ClipInfo(name, picture.stem, f"{picture.name} driven by {driving.stem}", licence, 0)
        try:
            square, mesh = load_still(picture, labels / f"{picture.stem}.safetensors", size)
        except InputError as error:
            dropped.add(name, error)
            continue
        square = disturb(square, rng) if rng.random() < styled else square
        square, mesh = reshape(square, mesh, rng) if rng.random() < reshaped else (square, mesh)
        try:
            save_talking_still(out, info, square, mesh, driving, num_frames, first)
        except InputError as error:
            dropped.add(name, error)
    return len(list(out.glob("*.json")))
