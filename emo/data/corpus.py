"""A folder of footage -> a folder of clips; each that can't be used is named with the reason and passed over."""

import csv
from pathlib import Path

import numpy as np

from emo.data.animate import Driver, animate, make_driver
from emo.data.clip import Clip, ClipInfo, list_clips, load_clip, read_clip_frames, save_clip
from emo.data.pictures import list_pictures, read_hold_out
from emo.data.prepare import IBUG, into_square, load_mesh, prepare_video
from emo.errors import InputError
from emo.face.region import crop, region_of_landmarks
from emo.media.image import read_image

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


def prepare_videos(
    folder: Path, labels: Path, out: Path, size: int, hold_out: str | None, per_person: int | None
) -> int:
    """Returns how many clips `out` holds."""
    out.mkdir(parents=True, exist_ok=True)
    manifest, people, count = read_manifest(folder), read_hold_out(hold_out), {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in VIDEOS):
        info = origin(path, manifest)
        count[info.person] = count.get(info.person, 0) + 1
        if info.person in people or count[info.person] > (per_person or count[info.person]):
            continue
        if not (out / f"{info.name}.json").exists():
            try:
                clip, frames = prepare_video(path, labels / f"{path.stem}.safetensors", size, info)
                save_clip(out, clip, frames)
            except InputError as error:
                print(f"left out: {error}", flush=True)
    return len(list(out.glob("*.json")))


def load_driver(path: Path, num_frames: int, first: int) -> Driver:
    """Frames first .. first + num_frames - 1 of a clip as the motion for a still."""
    clip, frames = load_clip(path), list(read_clip_frames(path))
    rows = slice(first, first + num_frames)
    return make_driver(clip.mesh[rows], frames[rows])


def talking_still(picture: Path, mesh_path: Path, size: int, clip: Clip, driver: Driver, first: int):
    """The clip of a still that talks like the driver, and its frames. Raises InputError for a small face."""
    mesh = load_mesh(mesh_path)[0]
    region = region_of_landmarks(mesh[IBUG, :2])
    if region.side < SMALLEST_STILL_PIXELS:
        raise InputError(f"{picture.name}: the face is smaller than {SMALLEST_STILL_PIXELS} pixels")
    square, points = crop(read_image(picture), region, size), into_square(mesh[:, :2], region)
    pairs = list(animate(square, points, driver))
    rate = len(clip.wave) / clip.info.num_frames
    wave = clip.wave[round(first * rate) : round((first + len(pairs)) * rate)]
    meshes = np.stack([m for _, m in pairs]).astype(np.float32)
    info = ClipInfo(picture.stem, picture.stem, f"{picture.name} driven by {clip.info.name}", "", len(pairs))
    still = np.zeros(len(pairs), np.float32)
    return Clip(info, wave, meshes[:, IBUG], still, meshes), (f for f, _ in pairs)


def prepare_stills(
    folder: Path,
    labels: Path,
    out: Path,
    size: int,
    hold_out: str | None,
    drivers: list[Path],
    num_frames: int,
) -> int:
    """Returns how many clips `out` holds. Still k talks like clip k * 7 of the drivers, counted round."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder)
    groups = [list_clips([str(d)], hold_out) for d in drivers]
    for k, picture in enumerate(list_pictures([str(folder)], hold_out)):
        if (out / f"{picture.stem}.json").exists():
            continue
        group = groups[k % len(groups)]
        source = group[7 * (k // len(groups)) % len(group)]
        driven = load_clip(source)
        first = int(np.random.default_rng(k).integers(max(1, driven.info.num_frames - num_frames + 1)))
        try:
            mesh_path = labels / f"{picture.stem}.safetensors"
            driver = load_driver(source, num_frames, first)
            clip, frames = talking_still(picture, mesh_path, size, driven, driver, first)
        except InputError as error:
            print(f"left out: {error}", flush=True)
            continue
        clip.info.licence = manifest.get(picture.name, {}).get("licence", "")
        save_clip(out, clip, frames)
    return len(list(out.glob("*.json")))
