"""A folder of faces -> a folder of clips in which they talk like prepared clips."""

import itertools
from pathlib import Path

import numpy as np

from emo.data.animate import animate, make_driver, make_up, speak
from emo.data.clip import (
    FPS,
    SAMPLE_RATE,
    Clip,
    ClipInfo,
    list_clips,
    load_clip,
    read_clip_frames,
    save_clip,
)
from emo.data.heard import HeardMotion, fit_motion
from emo.data.ledger import Ledger, Piece
from emo.data.pictures import list_pictures
from emo.data.prepare import IBUG, into_square, load_mesh
from emo.data.screen import MOST_UNSTEADY, turned_degrees, unsteadiness
from emo.data.sound import vary
from emo.data.sources import read_manifest
from emo.data.styles import paint, wear
from emo.errors import InputError, OutputError
from emo.face.region import crop, region_of_landmarks
from emo.media.image import read_image
from emo.models.pretrained import load_part

SMALLEST_STILL_PIXELS = 140  # side of a still's square
VARIED = 0.75  # share of the stills that speak in another voice than their clip's
MOST_TURNED_DEGREES = 35.0  # a flat warp cannot move a profile's mouth


def load_still(picture: Path, mesh_path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The square (size size 3) of a still's face and its mesh (468 2) in it. Raises InputError for a face that is
    small, turned away or cut off."""
    mesh, image = load_mesh(mesh_path)[0][:, :2], read_image(picture)
    points = mesh[IBUG]
    region = region_of_landmarks(points)
    if region.side < SMALLEST_STILL_PIXELS:
        raise InputError(f"the face is smaller than {SMALLEST_STILL_PIXELS} pixels")
    if turned_degrees(points[None])[0] > MOST_TURNED_DEGREES:
        raise InputError(f"the head is turned by more than {MOST_TURNED_DEGREES:g} degrees")
    if (points < 0).any() or (points > image.shape[1::-1]).any():
        raise InputError("the picture's edge cuts the face off")
    return crop(image, region, size), into_square(mesh, region)


def save_talking_still(
    out: Path,
    info: ClipInfo,
    square: np.ndarray,
    mesh: np.ndarray,
    driving: Path,
    motion: HeardMotion,
    num_frames: int,
    worn: int | None,
    rng: np.random.Generator,
) -> None:
    """The clip of a still (its square and mesh) that says `num_frames` frames of what a clip says, three of four times
    in another voice, its mouth painted from the clip.

    worn: what seeds the wear of its frames, the same for all, so that the inside of the mouth has the picture's
    colours too; None for none.
    Raises InputError where the motion does not fit the face.
    """
    driver, rate = load_clip(driving), SAMPLE_RATE / FPS
    voice = vary(driver.voice, rng)[0] if rng.random() < VARIED else driver.voice
    first = int(rng.integers(max(1, int(len(voice) / rate) - num_frames + 1)))
    voice = voice[round(first * rate) : round((first + num_frames) * rate)]
    said = speak(make_driver(driver.mesh, list(read_clip_frames(driving))), motion(voice, int(len(voice) / rate)))
    pictures, meshes = zip(*animate(square, mesh, said), strict=True)
    if unsteadiness(pictures) > MOST_UNSTEADY:
        raise InputError(f"{info.name}: what {driving.stem} says tears the picture")
    if worn is not None:
        pictures = [wear(picture, np.random.default_rng(worn)) for picture in pictures]
    info.num_frames = len(pictures)
    still, moved = np.zeros(len(pictures), np.float32), np.stack(meshes).astype(np.float32)
    save_clip(out, Clip(info, voice, moved[:, IBUG], still, moved), iter(pictures))


def prepare_stills(
    folder: Path,
    labels: Path,
    out: Path,
    size: int,
    hold_out: str | None,
    drivers: list[Path],
    ear: Path,
    num_frames: int,
    takes: int,
    styled: float,
    made_up: float,
) -> int:
    """Returns how many clips `out` holds. Each still talks in `takes` clips, clip k of all by what the ear in the
    folder `ear` hears in clip k * 7 of the drivers, counted round. A share `styled` of the clips show it painted or
    drawn, recoloured and worn, a share `made_up` with lips of another red."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder)
    drivers = [list_clips([str(d)], hold_out) for d in drivers]
    motion = fit_motion([path for group in drivers for path in group], load_part(ear))
    pictures = list_pictures([str(folder)], hold_out)
    ledger = Ledger(out)
    for k, (take, picture) in enumerate(itertools.product(range(takes), pictures)):
        name, rng = f"{picture.stem}_{take}", np.random.default_rng(k)
        if name in ledger.done:
            continue
        group = drivers[k % len(drivers)]
        driving = group[7 * (k // len(drivers)) % len(group)]
        licence = manifest.get(picture.name, [{}])[0].get("licence", "")
        info = ClipInfo(name, picture.stem, f"{picture.name} driven by {driving.stem}", licence, 0)
        piece = Piece(name, num_frames / FPS)
        try:
            square, mesh = load_still(picture, labels / f"{picture.stem}.safetensors", size)
            square = make_up(square, mesh, rng) if rng.random() < made_up else square
            worn = int(rng.integers(2**32)) if rng.random() < styled else None
            square = square if worn is None else paint(square, rng)
            save_talking_still(out, info, square, mesh, driving, motion, num_frames, worn, rng)
        except OutputError:
            raise
        except InputError as error:
            piece.reason = str(error).removeprefix(f"{name}: ")
        ledger.add(name, [piece])
    return len(list(out.glob("*.json")))
