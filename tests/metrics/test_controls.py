"""Controls are what they are called: a picture that stands still, and a sound of somebody else."""

from dataclasses import replace

import numpy as np
import pytest

from emo.metrics.faults import freeze_picture, freeze_tracks, replace_sound
from emo.metrics.registry import EvaluationOptions, list_measures, measure_tracks


def test_a_frozen_picture_is_what_a_pass_over_one_would_find(footage, tracks, track):
    made, expected = (
        measure_tracks(t, list_measures(EvaluationOptions(12)))
        for t in (freeze_tracks(tracks), track(freeze_picture(footage)))
    )
    assert made == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_anothers_sound_is_as_long_as_the_picture(tracks):
    other = replace(tracks, loudness_db=np.arange(40.0), predicted_lips=np.arange(50.0)[:, None] * np.ones(40))
    made = replace_sound(tracks, other)
    assert made.loudness_db.tolist() == [k % 40 for k in range(len(tracks.loudness_db))]
    assert made.predicted_lips[:, 7].tolist() == [k % 50 for k in range(len(tracks.predicted_lips))]
    assert np.array_equal(replace_sound(tracks, other).landmarks, tracks.landmarks)
