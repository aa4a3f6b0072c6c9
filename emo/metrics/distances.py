"""Frechet distance between two sets of features: FID, FVD and E-FID.

The distance of the normal distributions with the sets' means and covariances (Dowson and Landau 1982; FID: Heusel et
al. 2017, arXiv 1706.08500, equation 6), in float64. It depends on the number of features and falls with it: compare
sets of the same size.

Where features are short, a bootstrap over the clips of both sets gives an interval. A clip that is drawn twice adds
nothing new, so resamples lie farther apart than the sets do: their spread is put around the value.

Shapes: N features of D numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import load_arrays
from emo.metrics.score import Figure, bootstrap_figure

MAX_BOOTSTRAP_DIM = 512  # numbers of a feature up to which a bootstrap is affordable
BOOTSTRAP_RESAMPLES = 100


@dataclass
class Moments:
    """Mean and scatter of a set of features; those of parts of a set add up to those of the set.

    Attributes:
        count: Features so far.
        mean: (D,).
        scatter: (D D) sum of the outer products of the differences from the mean.
    """

    count: int = 0
    mean: np.ndarray | float = 0.0
    scatter: np.ndarray | float = 0.0

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both together, also exact for means far from zero (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        difference = np.asarray(other.mean - self.mean)
        between = np.multiply.outer(difference, difference) * (self.count * other.count / max(1, count))
        mean = self.mean + difference * (other.count / max(1, count))
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """(D D), unbiased. Raises InputError for fewer than two features."""
        if self.count < 2:
            raise InputError(f"{self.count} features are too few for a distance of sets: give more frames or clips")
        return np.asarray(self.scatter / (self.count - 1))


def compute_moments(features: np.ndarray) -> Moments:
    """Return the moments of features (N D). Raises InputError where one is not finite."""
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise InputError("a feature is not finite: check the frames and the weights")
    if not len(features):
        return Moments()
    mean = features.mean(0)
    return Moments(len(features), mean, (features - mean).T @ (features - mean))


def covariance_root(covariance: np.ndarray) -> np.ndarray:
    """Return R (D D) with R R^T = covariance; eigenvalues that rounding made negative count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the Frechet distance |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017, equation 6).

    The trace of the root is the sum of the singular values of R_a^T R_b, where R R^T = S. That is real, and exact where
    covariances are singular (fewer features than D), where the usual root of the product is not.

    Args:
        a: Mean and scatter of the first set.
        b: Mean and scatter of the second set.

    Returns:
        The distance, 0 or more, in squared units of the features.

    Raises:
        InputError: One of the sets has fewer than two features.
    """
    left, right = a.covariance, b.covariance
    shared = np.linalg.svd(covariance_root(left).T @ covariance_root(right), compute_uv=False).sum()
    distance = ((a.mean - b.mean) ** 2).sum() + np.trace(left) + np.trace(right) - 2 * shared
    return max(0.0, float(distance))


def feature_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frechet distance of two sets of features.

    Args:
        a: (N D) features of the first set.
        b: (M D) features of the second set.

    Returns:
        The distance, see `frechet_distance`.

    Raises:
        InputError: A set has fewer than two features, or a feature is not finite.
    """
    return frechet_distance(compute_moments(a), compute_moments(b))


def compute_set_distance(generated: list[Path], real: list[Path]) -> Figure:
    """Frechet distance of two sets of clips.

    Args:
        generated: The feature file of each generated clip.
        real: The feature file of each real clip.

    Returns:
        The distance; without an interval where features are longer than MAX_BOOTSTRAP_DIM, NaN where a set has fewer
        than two features. Its number of clips is that of the generated set.
    """
    a, b = (pool_moments(paths) for paths in (generated, real))
    if min(a.count, b.count) < 2:
        return Figure(np.nan, np.nan, np.nan, 0)
    value = frechet_distance(a, b)
    short = np.size(a.mean) <= MAX_BOOTSTRAP_DIM
    drawn = resample_distances(generated, real) if short else np.full(1, np.nan)
    return bootstrap_figure(value, np.maximum(value + drawn - drawn.mean(), 0), len(generated))


def load_features(path: Path) -> np.ndarray:
    """Return (N D) features of a video by one network. Raises InputError for a broken file."""
    return load_arrays(path)["features"]


def pool_moments(paths: list[Path]) -> Moments:
    """Return the moments of the features in all files."""
    return sum((compute_moments(load_features(path)) for path in paths), Moments())


def resample_distances(generated: list[Path], real: list[Path]) -> np.ndarray:
    """Return the distances of clips of each set drawn with replacement, as many as it has.

    Args:
        generated: The feature file of each generated clip.
        real: The feature file of each real clip.

    Returns:
        (R,) distances; draws of fewer than two features are left out.

    Raises:
        InputError: A file can't be read.
    """
    sets, random = [[load_features(path) for path in paths] for paths in (generated, real)], np.random.default_rng(0)
    distances = []
    for _ in range(BOOTSTRAP_RESAMPLES):
        a, b = (np.concatenate([clips[k] for k in random.integers(len(clips), size=len(clips))]) for clips in sets)
        if min(len(a), len(b)) > 1:
            distances.append(feature_distance(a, b))
    return np.array(distances)
