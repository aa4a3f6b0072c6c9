"""Pictures that are hard to animate, made from others and drawn by code, for a gallery.

    python benchmarks/hard_cases.py OUT PICTURE [PICTURE ...]

Of each picture OUT gets: itself, black and white, with film grain, with a face of 2,000 pixels, with one of 60 pixels,
with a mask and with a subtitle over the mouth, and with a face at its border. Four drawn heads show what can't be made
from a photograph: parted lips, teeth in a smile, and two three-quarter views. A last picture shows nobody, only what
looks a little like a face. Give pictures that are free to use.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from emo.core.errors import InputError
from emo.face.crop import Region, region_of_landmarks, transform_points
from emo.face.selection import load_face_detector
from emo.media.image import read_image
from emo.synthetic.drawn_footage import make_head
from emo.synthetic.drawn_head import Pose

LARGE_FACE, SMALL_FACE = 2000, 60  # pixels from forehead to chin
FACE_HEIGHT = 1 / 1.35  # of the face's square
GRAIN_LEVELS = 18.0  # standard deviation, of 255
DRAWN_PIXELS, DRAWN_SEEDS = 640, (3, 8)
MASK_COLOR, SUBTITLE_COLOR = (120, 160, 190), (20, 20, 20)
POSES = {
    "parted_lips": Pose(mouth_opening=0.25),
    "teeth": Pose(mouth_opening=0.45, mouth_width=0.8, expression=(1.0, 0.0, 0.0)),
    "three_quarter_left": Pose(rotation=(-0.6, 0.0, 0.0)),
    "three_quarter_right": Pose(rotation=(0.6, 0.1, 0.0)),
}


def resize_face(picture: np.ndarray, face: Region, height: float) -> np.ndarray:
    """The picture, scaled so that its face has a height in pixels."""
    scale = height / (face.side * FACE_HEIGHT)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=flags)


def cover(picture: np.ndarray, face: Region, corners: list[tuple[float, float]], color: tuple[int, ...]) -> np.ndarray:
    """The picture with a polygon, its corners in the face's square."""
    points = np.round(transform_points(face.matrix(1), np.array(corners))).astype(np.int32)
    return cv2.fillPoly(picture.copy(), [points], color, cv2.LINE_AA)


def add_subtitle(picture: np.ndarray, face: Region) -> np.ndarray:
    """The picture with a line of text over the mouth."""
    boxed = cover(picture, face, [(0.1, 0.68), (0.9, 0.68), (0.9, 0.8), (0.1, 0.8)], SUBTITLE_COLOR)
    x, y = np.round(transform_points(face.matrix(1), np.array([0.15, 0.77]))).astype(int).tolist()
    scale = face.side / 400
    return cv2.putText(
        boxed, "- What did you say?", (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255,) * 3, max(1, round(2 * scale))
    )


def cut_at_border(picture: np.ndarray, face: Region) -> np.ndarray:
    """The picture without what is left of the face's left eye."""
    x = transform_points(face.matrix(1), np.array([0.28, 0.5]))[0]
    return picture[:, max(0, int(x)) :]


def vary(picture: np.ndarray, face: Region) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the hard cases of a picture, by their names."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grain = np.random.default_rng(0).normal(0, GRAIN_LEVELS, (*gray.shape, 1))
    yield "itself", picture
    yield "black_and_white", np.repeat(gray[..., None], 3, axis=2)
    yield "film_grain", np.clip(picture + cv2.GaussianBlur(grain, (0, 0), 0.7)[..., None], 0, 255).astype(np.uint8)
    yield "large_face", resize_face(picture, face, LARGE_FACE)
    yield "small_face", resize_face(picture, face, SMALL_FACE)
    mask = [(0.18, 0.52), (0.5, 0.47), (0.82, 0.52), (0.78, 0.8), (0.5, 0.92), (0.22, 0.8)]
    yield "mask", cover(picture, face, mask, MASK_COLOR)
    yield "subtitle", add_subtitle(picture, face)
    yield "border", cut_at_border(picture, face)


def draw_false_face(size: int = 512) -> np.ndarray:
    """A wall with two holes and a slot: nobody."""
    wall = np.full((size, size, 3), (150, 130, 110), np.uint8)
    wall = np.clip(wall + np.random.default_rng(0).normal(0, 6, wall.shape), 0, 255).astype(np.uint8)
    for x in (0.36, 0.64):
        cv2.circle(wall, (round(x * size), round(0.4 * size)), size // 18, (40, 35, 30), -1, cv2.LINE_AA)
    return cv2.rectangle(
        wall, (int(0.35 * size), int(0.66 * size)), (int(0.65 * size), int(0.71 * size)), (40,) * 3, -1
    )


def list_cases(pictures: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all cases, by the names of their files."""
    for path in pictures:
        picture = read_image(path)
        faces = load_face_detector().detect(picture)
        if not faces:
            raise InputError(f"no face found in {path}: give another picture")
        for name, changed in vary(picture, region_of_landmarks(np.asarray(faces[0].landmarks))):
            yield f"{path.stem}_{name}", changed
    heads = [make_head(seed, DRAWN_PIXELS) for seed in DRAWN_SEEDS]
    for k, (name, pose) in enumerate(POSES.items()):
        yield f"drawn_{name}", heads[k % len(heads)].draw(pose)
    yield "nobody", draw_false_face()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, picture in list_cases(args.pictures):
        path = args.out / f"{name}.png"
        if not path.exists():
            Image.fromarray(picture).save(path)


if __name__ == "__main__":
    main()
