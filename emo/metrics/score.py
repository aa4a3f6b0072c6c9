"""The THEval score of a set of clips, and bootstrap intervals.

Intervals are those of the percentile bootstrap (Efron 1979) over clips, the same in every run. The score is the mean
closeness to real footage of THEval's measures (arXiv 2511.04520).

Shapes: N clips, M measures, R resamples; NaN where a clip has no figure.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from emo.metrics.tracks import VideoTracks

RESAMPLES, CONFIDENCE = 2000, 0.95  # of the bootstrap over clips
AS_REAL = "as real"  # the best figure is that of real footage


@dataclass(frozen=True)
class Measure:
    """One figure of a video.

    Attributes:
        name: Key of the measure in report.json.
        compute: VideoTracks -> the figure, NaN where it can't be measured.
        unit: Unit of the figure, as the table shows it.
        good: Which figures are good: AS_REAL, "high", "low", or the ideal value.
        scored: Whether it is one of THEval's measures, whose closeness to real footage makes the score.
        needs_face: Whether the figure is NaN for videos without a face.
    """

    name: str
    compute: "Callable[[VideoTracks], float]"
    unit: str
    good: str
    scored: bool = False
    needs_face: bool = True


@dataclass(frozen=True)
class Figure:
    """A mean over clips, and the interval that contains CONFIDENCE of the means of resampled clips.

    Attributes:
        mean: Mean over the clips.
        low: Lower end of the CONFIDENCE interval.
        high: Upper end of the CONFIDENCE interval.
        clips: Number of clips that have a figure.
    """

    mean: float
    low: float
    high: float
    clips: int


@dataclass
class SetScore:
    """What was measured of a set of N clips.

    Attributes:
        name: Name of the set.
        clips: Names of the clips.
        values: (N M) figure of each clip and measure.
        figures: Measure -> its mean over the clips.
        closeness: Measure that is good as in real footage -> `closeness` of its mean.
        score: Mean closeness of the measures that are scored.
        clip_scores: (N,) the score of each clip alone.
        distances: FID and the like -> the Frechet distance of the whole set to the real one.
        responses: How the set follows what was asked, see `emo.metrics.controls.measure_responses`.
    """

    name: str
    clips: list[str]
    values: np.ndarray
    figures: dict[str, Figure]
    closeness: dict[str, Figure]
    score: Figure
    clip_scores: np.ndarray
    distances: dict[str, Figure] = field(default_factory=dict)
    responses: dict[str, Figure] = field(default_factory=dict)


def score_set(name: str, clips: list[str], values: np.ndarray, real: np.ndarray, measures: list[Measure]) -> SetScore:
    """Score a set of clips.

    Args:
        name: Name of the set.
        clips: Names of the clips.
        values: (N M) figures of the clips.
        real: (K M) figures of the real clips; NaN without real ones, which leaves score and closeness NaN.
        measures: The M measures.

    Returns:
        The means, their closeness to the real ones, and the score.
    """
    mean, real_mean = (weighted_means(np.ones((1, len(v))), v)[0] for v in (values, real))
    drawn, counts = resample_means(values), np.isfinite(values).sum(0).tolist()
    near, drawn_near = closeness(mean, real_mean), closeness(drawn, resample_means(real, seed=1))
    scored = [k for k, measure in enumerate(measures) if measure.scored]
    as_real = [k for k, measure in enumerate(measures) if measure.good == AS_REAL]
    return SetScore(
        name,
        clips,
        values,
        figures={m.name: bootstrap_figure(mean[k], drawn[:, k], counts[k]) for k, m in enumerate(measures)},
        closeness={measures[k].name: bootstrap_figure(near[k], drawn_near[:, k], counts[k]) for k in as_real},
        score=bootstrap_figure(mean_finite(near[scored]), mean_finite(drawn_near[:, scored]), len(clips)),
        clip_scores=mean_finite(closeness(values, real_mean)[:, scored]),
    )


def closeness(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return 1 - |generated - real| / |real| (THEval, arXiv 2511.04520, equation 12).

    Args:
        generated: (... M) figures.
        real: (... M) figures of real footage.

    Returns:
        (... M): 1 is as in real footage, 0 and less is unlike it; NaN where the real figure is 0.
    """
    return 1 - np.abs(generated - real) / np.where(real == 0, np.nan, np.abs(real))


def resample_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the means of clips drawn with replacement.

    Args:
        values: (N M) figures of N clips; NaN where a clip has none.
        seed: Seed of the draws.

    Returns:
        (R M).
    """
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    counts = np.stack([np.bincount(row, minlength=len(values)) for row in drawn]).astype(float)  # (R N)
    return weighted_means(counts, values)


def weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return weighted means over clips.

    Args:
        weights: (R N) weights of the clips.
        values: (N M) figures; NaN where a clip has none.

    Returns:
        (R M); NaN where no clip has a value.
    """
    finite = np.isfinite(values)
    total = weights @ finite
    return (weights @ np.where(finite, values, 0.0)) / np.where(total > 0, total, np.nan)


def bootstrap_figure(mean: float, resampled: np.ndarray, clips: int) -> Figure:
    """Combine a mean with the interval of its resamples.

    Args:
        mean: Mean over the clips.
        resampled: (R,) means of resampled clips.
        clips: Number of clips that have a value.

    Returns:
        The figure; its interval is NaN where no resample is finite.
    """
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return Figure(mean, np.nan, np.nan, clips)
    low, high = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Figure(mean, low, high, clips)


def mean_finite(values: np.ndarray) -> np.ndarray:
    """Return (...) mean over the last axis of values (... M) without those that are not finite; NaN where none is."""
    finite = np.isfinite(values)
    return np.where(finite, values, 0.0).sum(-1) / np.where(finite.any(-1), finite.sum(-1), np.nan)
