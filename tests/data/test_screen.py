"""What is no speech in a clip is found, and speech is not taken for it."""

import numpy as np
import pytest

from emo.data.screen import unsteadiness


def test_a_moving_mouth_is_steady_and_what_moves_around_it_counts_in_grey_levels(draw):
    talking = [draw(opening, 256) for opening in (0.0, 0.5, 1.0, 0.3)]
    assert unsteadiness(talking) < 0.3
    flicker = [np.full((256, 256, 3), 100 + 7 * (-1) ** i, np.uint8) for i in range(6)]
    assert unsteadiness(flicker) == pytest.approx(7, abs=0.01)
