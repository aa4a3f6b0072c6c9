"""Still pictures for training: which there are, and random crops of them."""

from pathlib import Path

import cv2
import numpy as np

from emo.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def read_hold_out(path: str | None) -> set[str]:
    """The people never trained on: one name a line. Raises InputError for a missing file."""
    if path is None:
        return set()
    try:
        return set(Path(path).read_text().split())
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): name a text file, one person a line") from error


def list_pictures(folders: list[str], hold_out: str | None = None) -> list[Path]:
    """All pictures of the folders but those held out, sorted. Raises InputError for a folder without any."""
    paths, people = [], read_hold_out(hold_out)
    for folder in folders:
        found = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{folder} holds no pictures")
        paths += [p for p in found if p.stem not in people]
    return paths


def augment(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of the image (H W 3), between half and all of its short side, as (size size 3) uint8:
    turned a little, perhaps mirrored, its colours changed."""
    height, width = image.shape[:2]
    side = min(height, width) * rng.uniform(0.5, 1.0)
    x, y = rng.uniform(0, [width - side, height - side])
    matrix = cv2.getRotationMatrix2D((x + side / 2, y + side / 2), rng.normal(0, 8), size / side)
    matrix[:, 2] += [size / 2 - x - side / 2, size / 2 - y - side / 2]
    flags = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    square = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)
    square = square[:, ::-1] if rng.random() < 0.5 else square
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3)
    return np.clip(square * gain + rng.uniform(-25, 25), 0, 255).astype(np.uint8)
