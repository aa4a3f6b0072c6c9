"""A picture's own pixels move: at rest bit by bit, elsewhere as sharp as they were, under what is painted."""

import cv2
import numpy as np
import pytest

from emo.face.crop import Region
from emo.face.move import Patch, PictureMover
from emo.media.image import measure_sharpness

REGION = Region((120.0, 110.0), 128.0)


@pytest.fixture
def picture() -> np.ndarray:
    """(240 256 3) uint8, with detail down to a few pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 256, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.0).clip(0, 255).astype(np.uint8)


def make_flow(x: float, y: float) -> np.ndarray:
    """(2 32 32) float32: displacement by x and y sides, none at the border."""
    flow = np.zeros((2, 32, 32), np.float32)
    flow[:, 4:-4, 4:-4] = np.array([x, y])[:, None, None]
    return flow


@pytest.mark.parametrize("region", [REGION, Region((120.0, 110.0), 130.3, 0.3), Region((20.0, 230.0), 100.0)])
def test_at_rest_the_picture_stays_bit_for_bit(picture, region):
    nothing = Patch(np.zeros((8, 8, 4), np.float32), (0.5, 0.5), (1.0, 1.0))
    assert np.array_equal(PictureMover(picture, region).move(make_flow(0, 0), [nothing]), picture)


def test_a_square_outside_of_the_picture_changes_nothing(picture):
    assert np.array_equal(PictureMover(picture, Region((900.0, 900.0), 50.0)).move(make_flow(0.1, 0)), picture)


def test_whole_pixels_move_bit_for_bit_and_only_inside_the_square(picture):
    moved = PictureMover(picture, REGION).move(make_flow(3 / 128, -2 / 128))
    assert np.array_equal(moved[80:140, 90:150], picture[78:138, 93:153])
    moved[46:174, 56:184] = picture[46:174, 56:184]
    assert np.array_equal(moved, picture)


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_displacements_turn_with_the_square(picture, angle):
    cos, sin = 4 * np.cos(angle) / 128, -4 * np.sin(angle) / 128  # 4 pixels of the picture to the right
    moved = PictureMover(picture, Region((120.0, 110.0), 128.0, angle)).move(make_flow(cos, sin))
    difference = moved[100:120, 110:130].astype(int) - picture[100:120, 114:134]
    assert np.abs(difference).max() <= 2


def test_half_a_pixel_stays_sharp_where_a_bilinear_filter_blurs(picture):
    inside = np.zeros(picture.shape[:2], bool)
    inside[80:140, 90:150] = True

    def sharpness(image: np.ndarray) -> float:
        return measure_sharpness(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), inside)

    moved = PictureMover(picture, REGION).move(make_flow(0.5 / 128, 0.5 / 128))
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    linear = cv2.warpAffine(picture, shift, picture.shape[1::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert sharpness(linear) < 0.9 * sharpness(picture) < sharpness(moved) < 1.02 * sharpness(picture)


def test_patches_cover_what_lies_below_them_in_their_order(picture):
    red = np.zeros((16, 16, 4), np.float32) + np.array([200, 0, 0, 1], np.float32)
    half_white = np.full((8, 8, 4), 127.5, np.float32)
    half_white[..., 3] = 0.5
    patches = [Patch(red, (0.5, 0.5), (0.5, 0.25)), Patch(half_white, (0.5, 0.6), (0.1, 0.1))]
    frame = PictureMover(picture, REGION).move(make_flow(0, 0), patches)
    assert (frame[85:110, 108:132] == (200, 0, 0)).all()  # 120 +- 16 across, 110 +- 32 down
    assert np.abs(frame[119:126, 116:124].astype(int) - (228, 128, 128)).max() <= 1
    assert np.array_equal(frame[:, :103], picture[:, :103]) and np.array_equal(frame[:77], picture[:77])
