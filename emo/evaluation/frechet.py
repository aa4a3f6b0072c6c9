"""How far apart two sets of features lie: the one distance of FID, FVD and E-FID.

Frechet distance of the normal distributions with the sets' means and covariances (Dowson and Landau 1982; FID: Heusel
et al. 2017, arXiv 1706.08500, eq. 6), all in float64. It depends on how many features there are, and falls as they get
more: compare sets of the same size. N features, D numbers each.
"""

from dataclasses import dataclass

import numpy as np

from emo.errors import InputError


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
