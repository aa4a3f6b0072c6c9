"""How far a set of videos lies from the real one: FID, FVD and E-FID, of features that were kept.

Where features are short, a bootstrap over the clips of both sets says how sure that is. A clip that is drawn twice
shows nothing new, so resamples lie farther apart than the sets do: their spread is put around the figure.
"""

from pathlib import Path

import numpy as np

from emo.evaluation.features import load_features
from emo.evaluation.frechet import Moments, distance, frechet_distance, moments
from emo.evaluation.interval import Figure, figure

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
