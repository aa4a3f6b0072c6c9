"""Make still pictures of faces talk as prepared clips do, as clips of their own."""

import itertools
from pathlib import Path

import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.storage import read_manifest
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.clip import Clip, ClipInfo, list_clips, load_clip, load_clip_info, read_clip_frames, save_clip
from emo.data.image_augmentation import degrade, stylize
from emo.data.sampling import list_pictures
from emo.face.crop import crop_region, normalize_points, region_of_landmarks
from emo.face.landmarks import MEDIAPIPE_TO_IBUG
from emo.media.image import read_image
from emo.preparation.clips import load_mesh
from emo.preparation.filters import MAX_UNSTEADINESS, head_rotation_degrees, measure_unsteadiness
from emo.preparation.processing_log import LogItem, ProcessingLog
from emo.synthetic.warped_photos import animate_photo, make_driving_clip, recolor_lips

MIN_STILL_PIXELS = 140  # side of a still's square
MAX_STILL_ROTATION_DEGREES = 35.0  # a warp in the plane can't move the mouth of a profile


def load_still(picture: Path, mesh_path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Load a still picture.

    Args:
        picture: The file.
        mesh_path: Its labels, see `emo.preparation.labels`.
        size: Side of the square in pixels.

    Returns:
        The square (size size 3) of the face, and its mesh (468 2) in the unit square.

    Raises:
        InputError: The face is small, turned away or cut off.
    """
    mesh, image = load_mesh(mesh_path)[0][:, :2], read_image(picture)
    points = mesh[MEDIAPIPE_TO_IBUG]
    region = region_of_landmarks(points)
    if region.side < MIN_STILL_PIXELS:
        raise InputError(f"the face is smaller than {MIN_STILL_PIXELS} pixels")
    if head_rotation_degrees(points[None])[0] > MAX_STILL_ROTATION_DEGREES:
        raise InputError(f"the head is turned by more than {MAX_STILL_ROTATION_DEGREES:g} degrees")
    if (points < 0).any() or (points > image.shape[1::-1]).any():
        raise InputError("the face is cut off by the edge of the picture")
    return crop_region(image, region, size), normalize_points(mesh, region)


def save_talking_still(
    out: Path,
    info: ClipInfo,
    square: np.ndarray,
    mesh: np.ndarray,
    driving: Path,
    num_frames: int,
    first: int,
    degrade_seed: int | None,
) -> None:
    """Save the clip of a still picture that talks like a part of another clip.

    Args:
        out: Folder of the clip.
        info: Where it comes from.
        square: (size size 3) uint8, the still.
        mesh: (468 2) of it.
        driving: JSON of the clip that drives it.
        num_frames: How many of its frames.
        first: The first of them.
        degrade_seed: Seed of the degradation, the same for all frames, so that the inside of the mouth gets the colors
            of the picture too; None: none.

    Raises:
        InputError: The motion does not fit the face.
        OutputError: The clip can't be written.
    """
    driver, rows = load_clip(driving), slice(first, first + num_frames)
    if driver.mesh.size == 0:
        raise InputError(f"{driving} has no face mesh to drive with: prepare it with emo-prepare videos --labels")
    motion = make_driving_clip(driver.mesh[rows], list(read_clip_frames(driving))[rows])
    pictures, meshes = zip(*animate_photo(square, mesh, motion), strict=True)
    if measure_unsteadiness(pictures) > MAX_UNSTEADINESS:
        raise InputError(f"{info.name}: the motion of {driving.stem} distorts the picture")
    if degrade_seed is not None:
        pictures = [degrade(picture, np.random.default_rng(degrade_seed)) for picture in pictures]
    info.num_frames, rate = len(pictures), SAMPLE_RATE / FPS
    samples = slice(round(first * rate), round((first + len(pictures)) * rate))
    info.music_ratio, wave, vocals = driver.info.music_ratio, driver.wave[samples], driver.vocals[samples]
    still, moved = np.zeros(len(pictures), np.float32), np.stack(meshes).astype(np.float32)
    save_clip(out, Clip(info, wave, moved[:, MEDIAPIPE_TO_IBUG], still, moved, vocals=vocals), iter(pictures))


def prepare_stills(
    folder: Path,
    labels: Path,
    out: Path,
    size: int,
    hold_out: str | None,
    drivers: list[Path],
    num_frames: int,
    takes: int,
    stylized_ratio: float,
    recolored_lips_ratio: float,
) -> int:
    """Make clips of a folder of still pictures; what is done already is skipped.

    Driving clips are taken from each folder in a fixed order with stride 7.

    Args:
        folder: Folder of pictures; a manifest.csv may name their licenses.
        labels: Folder of their landmarks.
        out: Folder of the clips.
        size: Side of the clips in pixels.
        hold_out: File of names of pictures and people that are left out.
        drivers: Folders of clips with a mesh, used in turn.
        num_frames: Length of a clip.
        takes: Clips of one picture.
        stylized_ratio: Share of the clips that show it stylized, recolored and degraded.
        recolored_lips_ratio: Share of the clips with lips of another red.

    Returns:
        How many clips `out` holds.

    Raises:
        InputError: A folder has no pictures or clips.
        OutputError: A clip can't be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder)
    groups = [list_clips([str(driver)], hold_out) for driver in drivers]
    pictures = list_pictures([str(folder)], hold_out)
    log = ProcessingLog(out)
    for k, (take, picture) in enumerate(itertools.product(range(takes), pictures)):
        name, rng = f"{picture.stem}_{take}", np.random.default_rng(k)
        if name in log.done:
            continue
        group = groups[k % len(groups)]
        driving = group[7 * (k // len(groups)) % len(group)]
        first = int(rng.integers(max(1, load_clip_info(driving).num_frames - num_frames + 1)))
        license = manifest.get(picture.name, [{}])[0].get("license", "")
        info = ClipInfo(name, picture.stem, f"{picture.name} driven by {driving.stem}", license, 0)
        item = LogItem(name, num_frames / FPS)
        try:
            square, mesh = load_still(picture, labels / f"{picture.stem}.safetensors", size)
            square = recolor_lips(square, mesh, rng) if rng.random() < recolored_lips_ratio else square
            degrade_seed = int(rng.integers(2**32)) if rng.random() < stylized_ratio else None
            square = square if degrade_seed is None else stylize(square, rng)
            save_talking_still(out, info, square, mesh, driving, num_frames, first, degrade_seed)
        except OutputError:
            raise
        except InputError as error:
            item.reason = str(error).removeprefix(f"{name}: ")
        log.add(name, [item])
    return len(list(out.glob("*.json")))
