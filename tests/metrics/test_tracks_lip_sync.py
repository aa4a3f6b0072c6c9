"""Lip sync by the packaged scorer: the offset of a sound is measured, and no value is returned without sound."""

from dataclasses import replace

import numpy as np
import pytest

from emo.face.landmarks import LIP_POINTS, NOSE_POINTS
from emo.metrics.tracks import measure_lip_sync
from emo.speech.lip_sync import REACH_FRAMES


@pytest.mark.parametrize("late", [-7, 0, 4])
def test_the_offset_of_a_sound_is_found(tracks, late):
    lips = tracks.landmarks[:, LIP_POINTS] - tracks.landmarks[:, NOSE_POINTS].mean(1, keepdims=True)  # beside the nose
    predicted = np.pad(lips.reshape(len(lips), -1), [(REACH_FRAMES, REACH_FRAMES), (0, 0)], mode="edge")
    confidence, offset = measure_lip_sync(replace(tracks, predicted_lips=np.roll(predicted, late, axis=0)))
    assert offset == abs(late) and confidence > 0.3


def test_resting_lips_and_missing_sound_have_no_offset(tracks):
    still = np.repeat(tracks.landmarks[:1], len(tracks.landmarks), axis=0)
    confidence, offset = measure_lip_sync(replace(tracks, landmarks=still))
    assert confidence == 0 and np.isnan(offset)
    assert np.isnan(measure_lip_sync(replace(tracks, predicted_lips=tracks.predicted_lips * np.nan))).all()
