"""A blink shows in the eyes' opening, and where they look in their irises, whatever the head does."""

import numpy as np
import pytest

from emo.face.landmarks import IRIS_REST, IRIS_TRAVEL, estimate_gaze, eye_opening
from emo.synthetic.drawn_head import rotation_matrix


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


@pytest.mark.parametrize("head", [(0.0, 0.0, 0.0), (0.5, 0.2, 0.3), (-0.6, -0.3, 0.0)])
@pytest.mark.parametrize("angles", [(0.0, 0.0), (0.3, 0.1), (-0.4, 0.2)])
def test_gaze_is_where_the_irises_are_in_the_head(head, angles):
    face = np.zeros((2, 7, 3))  # both eyes, as they are in a head that looks straight ahead
    face[:, 0, 0], face[:, 3, 0] = [-3.5, 3.5], [-1.5, 1.5]
    face[:, 6] = face[:, [0, 3]].mean(1) - [
        2 * IRIS_TRAVEL * np.sin(angles[0]),
        2 * (IRIS_REST + IRIS_TRAVEL * np.sin(angles[1])),
        0,
    ]
    rotation = rotation_matrix(*head)
    seen = 40 * (face @ rotation.T)[..., :2] + 100
    assert estimate_gaze(seen[None], rotation[None])[0] == pytest.approx(angles)
