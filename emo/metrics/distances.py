"""How far apart two sets of features lie: the one distance of FID, FVD and E-FID.

How far apart two sets of features lie: the one distance of FID, FVD and E-FID.

Frechet distance of the normal distributions with the sets' means and covariances (Dowson and Landau 1982; FID: Heusel
et al. 2017, arXiv 1706.08500, eq. 6), all in float64. It depends on how many features there are, and falls as they get
more: compare sets of the same size. N features, D numbers each.

How far a set of videos lies from the real one: FID, FVD and E-FID, of features that were kept.

Where features are short, a bootstrap over the clips of both sets says how sure that is. A clip that is drawn twice
shows nothing new, so resamples lie farther apart than the sets do: their spread is put around the figure.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.metrics.features import load_features
from emo.metrics.score import Figure, figure


@dataclass
class Moments:
    """Of features seen so far: they need not be held, and those of several processes add up."""

    count: int = 0
    mean: np.ndarray | float = 0.0  # (D,)
    scatter: np.ndarray | float = 0.0  # (D D), sum of the outer products of what differs from the mean

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub and LeVeque 1979): means far from zero cost no digits."""
        count = self.count + other.count
        apart = np.asarray(other.mean - self.mean)
        between = np.multiply.outer(apart, apart) * (self.count * other.count / max(1, count))
        return Moments(count, self.mean + apart * (other.count / max(1, count)), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """(D D), unbiased. Raises InputError for fewer than two features."""
        if self.count < 2:
            raise InputError(f"{self.count} features are too few for a distance of sets: give more frames or clips")
        return self.scatter / (self.count - 1)


def moments(features: np.ndarray) -> Moments:
    """features (N D) -> theirs. Raises InputError where one is no number."""
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise InputError("a feature is no number: look for a broken frame or weight")
    if not len(features):
        return Moments()
    mean = features.mean(0)
    return Moments(len(features), mean, (features - mean).T @ (features - mean))


def root(covariance: np.ndarray) -> np.ndarray:
    """(D D) R with R R^T = covariance; what rounding made negative counts as zero."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)).

    The root's trace is the sum of the singular values of R_a^T R_b, where R R^T = S: real, and exact where covariances
    are singular, as with fewer features than D, in which the usual root of the product is not. Raises InputError for
    sets of fewer than two features.
    """
    left, right = a.covariance, b.covariance
    shared = np.linalg.svd(root(left).T @ root(right), compute_uv=False).sum()
    distance = ((a.mean - b.mean) ** 2).sum() + np.trace(left) + np.trace(right) - 2 * shared
    return max(0.0, float(distance))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of features (N D) and (M D)."""
    return frechet_distance(moments(a), moments(b))


LONGEST, RESAMPLES = 512, 100  # numbers of a feature for which a bootstrap is affordable, and how many resamples it has


def set_distance(made: list[Path], real: list[Path]) -> Figure:
    """Of the files of each clip's features; without an interval where features are longer than LONGEST, NaN where a set
    has fewer than two. Its clips are those of the made set."""
    a, b = (pooled(paths) for paths in (made, real))
    if min(a.count, b.count) < 2:
        return Figure(np.nan, np.nan, np.nan, 0)
    value = frechet_distance(a, b)
    drawn = resampled(made, real) if len(a.mean) <= LONGEST else np.full(1, np.nan)
    return figure(value, np.maximum(value + drawn - drawn.mean(), 0), len(made))


def pooled(paths: list[Path]) -> Moments:
    return sum((moments(load_features(path)) for path in paths), Moments())


def resampled(made: list[Path], real: list[Path]) -> np.ndarray:
    """(R,) distances of as many clips of each set, drawn with replacement; those of fewer than two features are left
    out."""
    sets, random = [[load_features(path) for path in paths] for paths in (made, real)], np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        a, b = (np.concatenate([clips[k] for k in random.integers(len(clips), size=len(clips))]) for clips in sets)
        if min(len(a), len(b)) > 1:
            found.append(distance(a, b))
    return np.array(found)
