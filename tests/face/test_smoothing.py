"""The square of a face follows it, and its jitter is left out."""

import numpy as np

from emo.face.crop import (
    Region,
    normalize_landmarks,
    normalize_points,
    smooth_gaussian,
    smooth_regions,
    transform_points,
)


def test_into_square_is_the_way_back(mesh_of):
    region = Region((120, 90), 75, 0.3)
    points = transform_points(region.matrix(1), mesh_of(0.5))
    assert np.allclose(normalize_points(points, region), mesh_of(0.5))


def test_smoothing_keeps_lines_and_stills_noise():
    line = np.arange(40.0)[:, None] * [1, -2]
    assert np.allclose(smooth_gaussian(line, 2.0)[8:-8], line[8:-8])
    noise = np.random.default_rng(0).normal(size=(400, 1))
    assert smooth_gaussian(noise, 2.0).std() < 0.5 * noise.std() and smooth_gaussian(noise, 2.0).shape == noise.shape


def test_a_moving_head_is_stabilized(mesh_of):
    from emo.face.landmarks import MEDIAPIPE_TO_IBUG

    face = mesh_of(0.5)[MEDIAPIPE_TO_IBUG]
    path = [Region((200 + 2 * t, 150 - t), 80 + 0.5 * t, 0.01 * t) for t in range(40)]
    moving = np.stack([transform_points(region.matrix(1), face) for region in path])
    held = normalize_landmarks(moving, smooth_regions(moving))
    assert np.ptp(moving, axis=0).max() > 60 and np.ptp(held[8:-8], axis=0).max() < 0.01
