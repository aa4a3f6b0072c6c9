"""SyncNet is shown the face as it was in its training."""

import numpy as np
import pytest

from emo.face.crop import SYNCNET_PIXELS, box_of_landmarks, crop_for_syncnet, smooth_squares, syncnet_squares


def test_a_crop_shows_what_run_pipeline_shows():
    rows, columns = np.mgrid[:240, :320]
    image = np.stack([columns * 255 / 319, rows * 255 / 239, 0 * rows], -1).round().astype(np.uint8)
    crop = crop_for_syncnet(image, np.array([160.0, 100.0, 50.0]))
    assert crop.shape == (SYNCNET_PIXELS, SYNCNET_PIXELS, 3)
    for place, x, y in [((0, 0), 90, 50), ((0, -1), 230, 50), ((-1, 0), 90, 190), ((112, 112), 160, 120)]:
        assert crop[place] == pytest.approx([x * 255 / 319, y * 255 / 239, 0], abs=2)


def test_beyond_the_picture_it_is_grey():
    crop = crop_for_syncnet(np.zeros((240, 320, 3), np.uint8), np.array([20.0, 20.0, 50.0]))
    edge = (
        round(50 / 140 * SYNCNET_PIXELS),
        round(30 / 140 * SYNCNET_PIXELS),
    )  # x and y of the picture's corner in the crop
    assert (crop[:, : edge[0] - 2] == 110).all() and (crop[: edge[1] - 2] == 110).all()
    assert (crop[edge[1] + 2 :, edge[0] + 2 :] == 0).all()


def test_squares_are_steady_and_as_large_as_the_longer_side():
    boxes = np.tile([100.0, 50, 180, 150], (40, 1))
    boxes[20] += 30  # for a frame
    squares = smooth_squares(boxes)
    assert (squares == [140, 100, 50]).all()
    boxes[20:] += [10, 0, 10, 0]
    assert (smooth_squares(boxes)[:, 0] == np.where(np.arange(40) < 20, 140, 150)).all()


def test_the_box_is_the_face(mesh_of):
    from emo.face.landmarks import MEDIAPIPE_TO_IBUG

    landmarks = np.stack([mesh_of(0.0)[MEDIAPIPE_TO_IBUG] * 192] * 13)
    x0, y0, x1, y1 = box_of_landmarks(landmarks[0])
    assert syncnet_squares(landmarks)[6] == pytest.approx([(x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) / 2])
