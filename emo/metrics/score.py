"""The THEval score and bootstrap intervals.

How sure a mean over clips is: the percentile bootstrap (Efron 1979) over clips, the same on every run.

N clips, M measures, R resamples.

A set of clips beside real footage: the mean of each measure, how close it comes to the real one, and one score.
"""

from dataclasses import dataclass, field

import numpy as np

from emo.metrics.registry import AS_REAL, Measure

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


@dataclass
class Scored:
    """What was measured of a set of N clips."""

    name: str
    clips: list[str]
    values: np.ndarray  # (N M), a figure of each clip and measure, NaN where there is none
    figures: dict[str, Figure]  # the mean of each measure
    closeness: dict[str, Figure]  # of each that is good as it is in real footage, see `closeness`
    score: Figure  # the mean of those that are scored
    clip_scores: np.ndarray  # (N,) the same of each clip alone
    distances: dict[str, Figure] = field(default_factory=dict)  # of the whole set to the real one: FID and the like


def closeness(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """1 - |made - real| / |real| (THEval, arXiv 2511.04520, eq. 12): 1 is as in real footage, 0 and less nothing like
    it. NaN where real footage shows nothing of it."""
    return 1 - np.abs(made - real) / np.where(real == 0, np.nan, np.abs(real))


def score_set(name: str, clips: list[str], values: np.ndarray, real: np.ndarray, those: list[Measure]) -> Scored:
    """values (N M) of the set's clips, real (K M) of the reference's."""
    mean, real_mean = (means(np.ones((1, len(v))), v)[0] for v in (values, real))
    drawn, counts = resample(values), np.isfinite(values).sum(0).tolist()
    near, drawn_near = closeness(mean, real_mean), closeness(drawn, resample(real, seed=1))
    scored = [k for k, measure in enumerate(those) if measure.scored]
    as_real = [k for k, measure in enumerate(those) if measure.good == AS_REAL]
    return Scored(
        name,
        clips,
        values,
        {m.name: figure(mean[k], drawn[:, k], counts[k]) for k, m in enumerate(those)},
        {those[k].name: figure(near[k], drawn_near[:, k], counts[k]) for k in as_real},
        figure(mean_known(near[scored]), mean_known(drawn_near[:, scored]), len(clips)),
        mean_known(closeness(values, real_mean)[:, scored]),
    )


def mean_known(values: np.ndarray) -> np.ndarray:
    """values (... M) -> (...) the mean of those that are a number; NaN where none is."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
