"""The square and its way back: what was not touched stays as it was, to the bit."""

import cv2
import numpy as np
import pytest

from emo.face.crop import (
    RIGID_TEMPLATE,
    Region,
    box_of_landmarks,
    crop_region,
    full_region,
    locator_mask,
    region_of_box,
    region_of_landmarks,
    transform_points,
)
from emo.face.landmarks import RIGID_POINTS
from emo.face.paste import Paster, border_mask


def picture(height: int, width: int) -> np.ndarray:
    """A smooth random picture."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def landmarks_in(region: Region) -> np.ndarray:
    points = np.full((68, 2), 0.5)
    points[RIGID_POINTS] = RIGID_TEMPLATE
    return transform_points(region.matrix(1), points)


REGIONS = {
    "upright": Region((100, 90), 120),
    "rolled": Region((110, 100), 97.3, 0.6),
    "beyond the border": Region((20, 190), 150, -0.3),
    "larger than the picture": full_region(200, 220),
    "wholly outside": Region((900, 900), 100),
}


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS.keys())
def test_an_untouched_frame_gives_back_the_picture(region):
    image = picture(200, 220)
    frame = crop_region(image, region, 64)
    assert np.array_equal(Paster(image, region, frame).paste(frame), image)


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS.keys())
def test_outside_the_square_nothing_changes(region):
    image = picture(200, 220)
    pasted = Paster(image, region, crop_region(image, region, 64)).paste(np.full((64, 64, 3), 255, np.uint8))
    inverse = cv2.invertAffineTransform(region.matrix(1))
    y, x = np.mgrid[:200, :220]
    unit = transform_points(inverse, np.stack([x + 0.5, y + 0.5], -1))
    outside = ((unit < 0.03) | (unit > 0.97)).any(-1)
    assert np.array_equal(pasted[outside], image[outside])
    middle = ((unit > 0.2) & (unit < 0.8)).all(-1)
    assert (pasted[middle] > 250).all()  # what moved is wholly the frame's


def test_still_detail_is_the_pictures_and_moved_detail_is_the_frames():
    image = np.random.default_rng(1).integers(90, 110, (256, 256, 3), dtype=np.uint8)  # finer than the crop
    region = Region((128, 128), 256)
    reference = np.full((64, 64, 3), 100, np.uint8)
    frame = reference.copy()
    frame[:, 32:] = 200
    pasted = Paster(image, region, reference).paste(frame)
    assert np.array_equal(pasted[64:192, 48:96], image[64:192, 48:96])
    assert (np.abs(pasted[64:192, 160:208].astype(int) - 200) <= 1).all()


def test_a_crop_of_a_rolled_face_stands_upright():
    image = picture(300, 300)
    turn = cv2.getRotationMatrix2D((149.5, 149.5), -30, 1)  # clockwise by 30 degrees
    rolled = cv2.warpAffine(image, turn, (300, 300), flags=cv2.INTER_CUBIC)
    upright = crop_region(image, Region((150, 150), 120), 120).astype(int)
    found = crop_region(rolled, Region((150, 150), 120, np.pi / 6), 120).astype(int)
    assert np.abs(upright - found).mean() < 2


@pytest.mark.parametrize("height, width", [(64, 64), (64, 300), (8000, 6000)])
def test_pictures_of_any_size(height, width):
    image = np.full((height, width, 3), 77, np.uint8)
    region = Region((width / 2, height / 2), 0.7 * min(height, width), 0.1)
    frame = crop_region(image, region, 128)
    assert frame.shape == (128, 128, 3) and (frame == 77).all()
    assert np.array_equal(Paster(image, region, frame).paste(frame), image)


def test_shrinking_averages_instead_of_aliasing():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(crop_region(stripes, Region((256, 256), 300, 0.3), 32).astype(int) - 100).max() < 12


def test_region_of_landmarks_finds_the_square_again():
    region = Region((210, 130), 88, -0.7)
    found = region_of_landmarks(landmarks_in(region))
    assert np.allclose([*found.center, found.side, found.angle_radians], [210, 130, 88, -0.7])


def test_region_does_not_follow_the_mouth():
    landmarks = landmarks_in(Region((210, 130), 88))
    opened = landmarks.copy()
    opened[48:68] += [0, 30]
    opened[:17] += [0, 20]
    assert region_of_landmarks(opened) == region_of_landmarks(landmarks)


def test_mirrored_points_are_not_flipped():
    landmarks = landmarks_in(Region((0, 0), 100))
    matrix = region_of_landmarks(landmarks * [-1, 1]).matrix(64)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_region_of_box_agrees_with_region_of_landmarks():
    region = Region((210, 130), 100)
    _, y0, _, _ = box_of_landmarks(landmarks_in(region))
    assert y0 == pytest.approx(130 - 39)  # the forehead, from the template
    found = region_of_box((175, y0, 245, y0 + 100 / 1.35))
    assert np.allclose([*found.center, found.side], [210, 130, 100])


def test_full_region_holds_the_whole_picture():
    assert full_region(300, 500) == Region((250, 150), 500)


def test_locator_mask_is_the_share_of_each_cell_in_the_box():
    mask = locator_mask((10, 20, 40, 70), Region((50, 50), 100), 10)
    expected = np.zeros((10, 10))
    expected[2:7, 1:4] = 1
    assert np.array_equal(mask, expected)
    turned = locator_mask((10, 20, 40, 70), Region((50, 50), 100, np.pi / 2), 10)
    assert turned.sum() == pytest.approx(15) and not np.array_equal(turned, expected)


def test_soft_mask_is_zero_at_the_border_and_one_inside():
    mask = border_mask(100)
    assert (mask[:4] == 0).all() and (mask[:, -4:] == 0).all()
    assert (mask[15:85, 15:85] == 1).all() and mask.min() == 0
    assert np.abs(np.diff(mask, axis=0)).max() < 0.25
