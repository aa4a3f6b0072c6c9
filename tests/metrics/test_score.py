"""Means, their intervals and the score are right for given numbers."""

from pathlib import Path

import numpy as np
import pytest

from emo.metrics.registry import EvaluationOptions, list_measures
from emo.metrics.score import RESAMPLES, bootstrap_figure, closeness, resample_means, score_set, weighted_means

THOSE = list_measures(EvaluationOptions(syncnet=Path("weights")))
SCORED = [k for k, measure in enumerate(THOSE) if measure.scored]
RNG = np.random.default_rng(0)


def test_the_interval_is_that_of_the_mean():
    values = RNG.normal(3, 2, (400, 1))
    drawn = resample_means(values)
    found = bootstrap_figure(values.mean(), drawn[:, 0], 400)
    assert drawn.shape == (RESAMPLES, 1)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert found.low < values.mean() < found.high
    assert np.array_equal(drawn, resample_means(values))


def test_what_was_not_measured_does_not_count():
    values = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, np.nan]])
    assert weighted_means(np.array([[1.0, 1.0]]), values)[0].tolist()[::2] == [2, 5]
    assert np.isnan(weighted_means(np.array([[1.0, 1.0]]), values)[0, 1])
    assert np.isnan(bootstrap_figure(np.nan, resample_means(values)[:, 1], 0).low)
    assert set(resample_means(values)[:, 2][np.isfinite(resample_means(values)[:, 2])]) == {5.0}


def test_closeness_is_one_for_the_same_and_falls_to_either_side():
    assert closeness(np.array([2.0, 3, 1, 0, 6]), np.array([2.0])).tolist() == [1, 0.5, 0.5, 0, -1]
    assert closeness(np.array([-3.0]), np.array([-2.0])) == 0.5
    assert np.isnan(closeness(np.array([1.0]), np.array([0.0])))


def test_real_footage_scores_one_against_itself():
    real = RNG.uniform(1, 2, (5, len(THOSE)))
    scored = score_set("real", list("abcde"), real, real, THOSE)
    assert scored.score.mean == 1 and {f.mean for f in scored.closeness.values()} == {1}
    assert {THOSE[k].name for k in SCORED} | {"delta_P", "LSE-C", "LSE-D"} <= {*scored.closeness}
    assert not {"mouth_voice_r", "syncnet_offset"} & {*scored.closeness}


def test_the_score_is_the_mean_closeness_of_what_is_scored():
    real, made = np.ones((4, len(THOSE))), np.full((4, len(THOSE)), 99.0)
    made[:, SCORED] = 1.0
    made[:, SCORED[0]] = 0.3
    made[1, SCORED[1]] = np.nan
    scored = score_set("made", list("abcd"), made, real, THOSE)
    assert scored.score.mean == pytest.approx(1 - 0.7 / len(SCORED))
    assert scored.clip_scores[0] == pytest.approx(1 - 0.7 / len(SCORED))
    assert scored.clip_scores[1] == pytest.approx(1 - 0.7 / (len(SCORED) - 1))
    assert scored.figures[THOSE[SCORED[1]].name].clips == 3
