"""A folder of faces -> a folder of clips in which they talk like prepared clips."""

import itertools
from pathlib import Path

import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.storage import read_manifest
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.clip import Clip, ClipInfo, list_clips, load_clip, load_info, read_clip_frames, save_clip
from emo.data.sampling import list_pictures
from emo.data.styles import paint, wear
from emo.face.crop import crop, into_square, region_of_landmarks
from emo.face.landmarks import IBUG
from emo.media.image import read_image
from emo.preparation.clips import load_mesh
from emo.preparation.filters import MOST_UNSTEADY, turned_degrees, unsteadiness
from emo.preparation.processing_log import Ledger, Piece
from emo.synthetic.warped_photos import animate, make_driver, make_up

SMALLEST_STILL_PIXELS = 140  # side of a still's square
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
    num_frames: int,
    first: int,
    worn: int | None,
) -> None:
    """The clip of a still (its square and mesh) that talks like `num_frames` frames of a clip from `first` on.

    worn: what seeds the wear of its frames, the same for all, so that the inside of the mouth has the picture's
    colours too; None for none.
    Raises InputError where the motion does not fit the face.
    """
    driver, rows = load_clip(driving), slice(first, first + num_frames)
    if driver.mesh.size == 0:
        raise InputError(f"{driving} has no face mesh to drive with: prepare it with --labels")
    motion = make_driver(driver.mesh[rows], list(read_clip_frames(driving))[rows])
    pictures, meshes = zip(*animate(square, mesh, motion), strict=True)
    if unsteadiness(pictures) > MOST_UNSTEADY:
        raise InputError(f"{info.name}: the motion of {driving.stem} tears the picture")
    if worn is not None:
        pictures = [wear(picture, np.random.default_rng(worn)) for picture in pictures]
    info.num_frames, rate = len(pictures), SAMPLE_RATE / FPS
    heard = slice(round(first * rate), round((first + len(pictures)) * rate))
    info.music_share, wave, vocals = driver.info.music_share, driver.wave[heard], driver.vocals[heard]
    still, moved = np.zeros(len(pictures), np.float32), np.stack(meshes).astype(np.float32)
    save_clip(out, Clip(info, wave, moved[:, IBUG], still, moved, vocals=vocals), iter(pictures))


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
    made_up: float,
) -> int:
    """Returns how many clips `out` holds. Each still talks in `takes` clips, clip k of all like clip k * 7 of the
    drivers, counted round. A share `styled` of the clips show it painted or drawn, recoloured and worn, a share
    `made_up` with lips of another red."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder)
    drivers = [list_clips([str(d)], hold_out) for d in drivers]
    pictures = list_pictures([str(folder)], hold_out)
    ledger = Ledger(out)
    for k, (take, picture) in enumerate(itertools.product(range(takes), pictures)):
        name, rng = f"{picture.stem}_{take}", np.random.default_rng(k)
        if name in ledger.done:
            continue
        group = drivers[k % len(drivers)]
        driving = group[7 * (k // len(drivers)) % len(group)]
        first = int(rng.integers(max(1, load_info(driving).num_frames - num_frames + 1)))
        licence = manifest.get(picture.name, [{}])[0].get("licence", "")
        info = ClipInfo(name, picture.stem, f"{picture.name} driven by {driving.stem}", licence, 0)
        piece = Piece(name, num_frames / FPS)
        try:
            square, mesh = load_still(picture, labels / f"{picture.stem}.safetensors", size)
            square = make_up(square, mesh, rng) if rng.random() < made_up else square
            worn = int(rng.integers(2**32)) if rng.random() < styled else None
            square = square if worn is None else paint(square, rng)
            save_talking_still(out, info, square, mesh, driving, num_frames, first, worn)
        except OutputError:
            raise
        except InputError as error:
            piece.reason = str(error).removeprefix(f"{name}: ")
        ledger.add(name, [piece])
    return len(list(out.glob("*.json")))
