"""The face whose lips fit the sound speaks."""

import numpy as np
import pytest

from emo.dubbing.active_speaker import assign_faces, choose_speakers, windowed_correlation
from emo.speech.contracts import SpeakerTurn

TURNS = [SpeakerTurn("A", 0.0, 2.0), SpeakerTurn("B", 2.0, 4.0)]


def test_correlation_is_high_where_lips_follow_and_low_at_rest():
    rng = np.random.default_rng(0)
    predicted = rng.standard_normal((100, 4))
    lips = 0.02 * predicted + 0.002 * rng.standard_normal((100, 4))
    lips[50:] = 0.0005 * rng.standard_normal((50, 4))
    score = windowed_correlation(predicted, lips, 4.0)
    assert score[10:40].min() > 0.6 and np.abs(score[60:]).max() < 0.3
    assert np.abs(windowed_correlation(predicted, rng.permutation(lips), 4.0)[:40]).mean() < 0.5


def test_each_turn_goes_to_the_face_that_fits_best():
    scores = {0: np.r_[np.full(50, 0.5), np.full(50, -0.1)], 1: np.r_[np.full(50, 0.2), np.full(50, 0.4)]}
    votes = assign_faces(TURNS, scores, {0: 0.0, 1: 0.0})
    assert votes == {0: {"A": pytest.approx(2.0)}, 1: {"B": pytest.approx(2.0)}}
    assert choose_speakers(votes) == {0: "A", 1: "B"}


def test_a_voice_without_a_face_stays_off_screen():
    votes = assign_faces(TURNS, {0: np.r_[np.full(50, 0.5), np.zeros(50)]}, {0: 0.0})
    assert choose_speakers(votes) == {0: "A"}
    assert choose_speakers(assign_faces(TURNS, {0: np.zeros(100)}, {0: 0.0})) == {0: None}


def test_a_turn_goes_on_after_a_cut():
    scores = {0: np.full(25, 0.5), 1: np.full(25, 0.4), 2: np.full(25, 0.3)}
    votes = assign_faces(TURNS[:1], scores, {0: 0.0, 1: 1.0, 2: 1.0})
    assert choose_speakers(votes) == {0: "A", 1: "A", 2: None}
