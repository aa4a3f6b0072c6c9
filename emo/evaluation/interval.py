"""How sure a mean over clips is: the percentile bootstrap (Efron 1979) over clips, the same on every run.

N clips, M measures, R resamples.
"""

from dataclasses import dataclass

import numpy as np

RESAMPLES, SHARE = 2000, 0.95


@dataclass(frozen=True)
class Figure:
    """A mean over clips, and the interval that holds SHARE of the means of resampled clips."""

    mean: float
    low: float
    high: float
    clips: int  # that have a figure


def resample(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """values (N M), NaN where nothing was measured -> (R M) means of N clips drawn with replacement."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    counts = np.stack([np.bincount(row, minlength=len(values)) for row in drawn]).astype(float)  # (R N)
    return means(counts, values)


def means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """weights (R N) of the clips, values (N M) -> (R M); NaN where no clip has a value."""
    known = np.isfinite(values)
    total = weights @ known
    return (weights @ np.where(known, values, 0.0)) / np.where(total > 0, total, np.nan)


def figure(mean: float, resampled: np.ndarray, clips: int) -> Figure:
    """mean, and its resamples (R,)."""
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Figure(mean, np.nan, np.nan, clips)
    return Figure(mean, *np.quantile(known, [(1 - SHARE) / 2, (1 + SHARE) / 2]).tolist(), clips)
