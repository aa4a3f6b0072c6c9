"""Regional masks lie where the face and the lips are, in the square that is animated."""

from dataclasses import replace

import numpy as np
import pytest

from emo.face.crop import Region, transform_points
from emo.face.selection import SelectedFace, select_face
from emo.pipelines.hallo import regional_masks

FOUND = SelectedFace(Region((100.0, 100.0), 160.0), (50.0, 40.0, 150.0, 160.0))


def lips_at(x: float, y: float) -> np.ndarray:
    """(68 2) landmarks whose lips are 40 x 16 pixels around a point."""
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[48:68] = [x, y]
    landmarks[[48, 54]] += [[-20, 0], [20, 0]]
    landmarks[[51, 57]] += [[0, -8], [0, 8]]
    return landmarks


def middle(mask: np.ndarray) -> np.ndarray:
    """(2,) the centre of what is masked, in pixels of the picture."""
    y, x = np.mgrid[: len(mask), : len(mask)] + 0.5
    centre = np.array([(mask * x).sum(), (mask * y).sum()]) / mask.sum()
    return transform_points(FOUND.region.matrix(len(mask)), centre)


def test_face_without_lips_and_surroundings_share_the_picture():
    masks = regional_masks(replace(FOUND, landmarks=lips_at(100, 130)), [64, 32, 16, 8])
    assert [mask.shape for mask in masks] == [(3, 64, 64), (3, 32, 32), (3, 16, 16), (3, 8, 8)]
    surroundings, face, lips = masks[0]
    assert (surroundings.min(), surroundings.max()) == pytest.approx((0, 1), abs=1e-6)
    assert (lips.min(), lips.max()) == pytest.approx((0, 1), abs=1e-6)
    assert np.allclose(face, np.maximum(1 - surroundings - lips, 0), atol=1e-6)
    for finer, coarser in zip(masks, masks[1:], strict=False):
        blocks = finer.reshape(3, len(coarser[0]), 2, len(coarser[0]), 2)
        assert np.allclose(coarser, blocks.mean((2, 4)), atol=1e-3)


@pytest.mark.parametrize("place", [(100, 130), (85, 120)])
def test_the_lips_mask_lies_on_the_lips(place):
    lips = regional_masks(replace(FOUND, landmarks=lips_at(*place)), [64])[0][2]
    assert middle(lips) == pytest.approx(place, abs=2)


def test_without_landmarks_lips_are_where_most_faces_have_them(samples):
    from emo.media.image import read_image

    found = select_face(read_image(samples / "portrait.png"), None)
    known, guessed = (regional_masks(one, [64])[0][2] for one in (found, replace(found, landmarks=None)))
    assert found.landmarks.shape == (68, 2) and (known * guessed).sum() > 0.8 * (known * known).sum()
