"""The Frechet distance is what its closed forms and scipy's root say, however the features come."""

import numpy as np
import pytest
from scipy import linalg

from emo.core.errors import InputError
from emo.metrics.distances import Moments, compute_moments, feature_distance, frechet_distance

RNG = np.random.default_rng(0)


def features(count: int, mean: float = 0.0) -> np.ndarray:
    return RNG.standard_normal((count, 6)) @ RNG.standard_normal((6, 6)) + mean


def test_of_normal_distributions_whose_axes_agree_it_is_the_closed_form():
    a = Moments(2, np.array([1.0, 2.0]), np.diag([4.0, 9.0]))  # of two: the covariance is the scatter
    b = Moments(2, np.array([4.0, 6.0]), np.diag([1.0, 16.0]))
    assert frechet_distance(a, b) == pytest.approx(3**2 + 4**2 + (2 - 1) ** 2 + (3 - 4) ** 2, abs=1e-12)


def test_it_is_what_the_matrix_root_of_scipy_says():
    a, b = features(40), features(50, 0.7)
    means, (left, right) = a.mean(0) - b.mean(0), (np.cov(x, rowvar=False) for x in (a, b))
    expected = (means**2).sum() + np.trace(left + right - 2 * linalg.sqrtm(left @ right).real)
    assert feature_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert feature_distance(a, b) == pytest.approx(feature_distance(b, a), rel=1e-12)


def test_a_set_is_nowhere_from_itself_even_with_fewer_features_than_numbers():
    for x in (features(40), RNG.standard_normal((5, 30))):
        assert feature_distance(x, x) < 1e-10
        assert feature_distance(x, x + 3) == pytest.approx(9 * x.shape[1], rel=1e-9)


def test_pieces_add_up_to_the_whole_far_from_zero():
    x = features(60, 1e6)
    parts = sum((compute_moments(part) for part in np.split(x, [1, 1, 7, 40])), Moments())
    assert parts.count == 60
    assert np.allclose(parts.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-7)
    assert np.allclose(parts.mean, x.mean(0), rtol=1e-14)


def test_too_few_features_and_no_numbers_are_errors():
    with pytest.raises(InputError, match="1 features are too few"):
        feature_distance(features(1), features(9))
    with pytest.raises(InputError, match="not finite"):
        compute_moments(np.array([[1.0, np.nan]]))
