"""A blink shows in the eyes' opening, whatever the head does."""

import numpy as np
import pytest

from emo.face.eyes import eye_opening


def test_opening_is_height_over_width_and_knows_no_size_or_turn():
    height = np.array([0.3, 0.3, 0.05, 0.3])
    points = np.zeros((4, 68, 2))
    for first in (36, 42):
        points[:, first : first + 6, 0] = [0, 0.3, 0.7, 1, 0.7, 0.3]
        points[:, first + 1 : first + 3, 1] = -height[:, None] / 2
        points[:, first + 4 : first + 6, 1] = height[:, None] / 2
    assert eye_opening(points) == pytest.approx(height)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    assert eye_opening(40 * points @ turn + 7) == pytest.approx(height)
