"""Controls are what they are called: a picture that stands still, and a sound of somebody else."""

from dataclasses import replace

import numpy as np
import pytest

from emo.metrics.faults import frozen, frozen_picture, with_sound_of
from emo.metrics.registry import Asked, measure_tracks, measures


def test_a_frozen_picture_is_what_a_pass_over_one_would_find(footage, tracks, track):
    made, known = (measure_tracks(t, measures(Asked(12))) for t in (frozen(tracks), track(frozen_picture(footage))))
    assert made == pytest.approx(known, nan_ok=True, abs=1e-9)


def test_anothers_sound_is_as_long_as_the_picture(tracks):
    other = replace(tracks, level=np.arange(40.0), heard=np.arange(50.0)[:, None] * np.ones(40))
    made = with_sound_of(tracks, other)
    assert made.level.tolist() == [k % 40 for k in range(len(tracks.level))]
    assert made.heard[:, 7].tolist() == [k % 50 for k in range(len(tracks.heard))]
    assert np.array_equal(with_sound_of(tracks, other).landmarks, tracks.landmarks)
