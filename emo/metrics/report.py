"""The results of an evaluation as text: report.json for programs, a Markdown table, a section of a model card."""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from emo import __version__
from emo.core.timing import FPS
from emo.media.audio import LOUDNESS_RANGE_DB, SILENCE_DB, SPEECH_DB
from emo.metrics.distances import BOOTSTRAP_RESAMPLES, MAX_BOOTSTRAP_DIM
from emo.metrics.motion import CLOSED_EYE_RATIO
from emo.metrics.networks.catalog import NETWORKS
from emo.metrics.score import CONFIDENCE, RESAMPLES, Figure, Measure, SetScore
from emo.metrics.sync import SILENCE_FRAMES
from emo.metrics.tracks import FACE_PIXELS, MOUTH_PIXELS

if TYPE_CHECKING:
    from emo.metrics.registry import EvaluationOptions

THEVAL_NOTE = "THEval's aesthetics measure is omitted; sharpness replaces its MUSIQ (mouth) and TOPIQ (face)."
NO_FIGURE = Figure(math.nan, math.nan, math.nan, 0)


@dataclass
class Report:
    """The results of an evaluation.

    Attributes:
        measures: Measures of each clip.
        reference: The real clips; None: there are none, and neither score nor closeness.
        sets: The generated sets, then the controls.
        options: Options of the evaluation.
    """

    measures: list[Measure]
    reference: SetScore | None
    sets: list[SetScore]
    options: "EvaluationOptions"

    @property
    def all_sets(self) -> list[SetScore]:
        """The generated sets, then the real one."""
        return self.sets if self.reference is None else [*self.sets, self.reference]

    @property
    def distance_names(self) -> list[str]:
        """The measures of whole sets: FID and the like."""
        return [*self.sets[0].distances]

    @property
    def response_names(self) -> list[str]:
        """How sets follow what was asked of them."""
        return [*dict.fromkeys(name for one in self.sets for name in one.responses)]

    @property
    def not_measured(self) -> list[str]:
        """What was not measured, each time with the reason."""
        options = self.options
        without_weights = [network.adds for name, network in NETWORKS.items() if name not in options.networks]
        compared = ["PSNR", "SSIM"] + (["LPIPS"] if "lpips" in options.networks else [])
        missing = {
            "the weights of their networks were not given": ([] if options.syncnet else ["LSE-C", "LSE-D"])
            + without_weights,
            "no comparison with the real videos frame by frame": [] if options.reconstruction else compared,
            "the portraits were not given": [] if options.portraits else ["sharpness over the portrait's"],
            "what was asked was not given": [] if options.asked else ["errors to what was asked"],
        }
        return [f"{', '.join(measures)} ({reason})" for reason, measures in missing.items() if measures]


def list_settings(report: Report) -> dict[str, float | int | str | None]:
    """Return the settings on which the figures depend, by name."""
    options = report.options
    return {
        "emo": __version__,
        "frames_per_second": FPS,
        "face_pixels": FACE_PIXELS,
        "mouth_pixels": MOUTH_PIXELS,
        "silence_db_under_peak": LOUDNESS_RANGE_DB - SILENCE_DB,
        "silence_frames": SILENCE_FRAMES,
        "speech_db_under_peak": LOUDNESS_RANGE_DB - SPEECH_DB,
        "blink_share_of_open_eyes": CLOSED_EYE_RATIO,
        "bootstrap_resamples": RESAMPLES,
        "interval": CONFIDENCE,
        "window_frames": options.window,
        "syncnet": options.syncnet.name if options.syncnet else None,
        **{name: path.name for name, path in options.networks.items()},
    }


def to_json(report: Report) -> str:
    """report.json: all figures, and those of each clip; null where a figure was not measured."""
    names = [measure.name for measure in report.measures]
    sets = [
        {
            "name": one.name,
            "clips": len(one.clips),
            "score": finite_or_none(asdict(one.score)),
            "measures": {name: finite_or_none(asdict(figure)) for name, figure in one.figures.items()},
            "closeness": {name: finite_or_none(asdict(figure)) for name, figure in one.closeness.items()},
            "distances": {name: finite_or_none(asdict(figure)) for name, figure in one.distances.items()},
            "responses": {name: finite_or_none(asdict(figure)) for name, figure in one.responses.items()},
            "each": {
                clip: finite_or_none(dict(zip(names, row.tolist(), strict=True)) | {"score": float(score)})
                for clip, row, score in zip(one.clips, one.values, one.clip_scores, strict=True)
            },
        }
        for one in report.all_sets
    ]
    measures = {m.name: {"unit": m.unit, "good": m.good, "scored": m.scored} for m in report.measures}
    content = {
        "settings": list_settings(report),
        "reference": report.reference and report.reference.name,
        "measures": measures,
        "sets": sets,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def finite_or_none(values: dict[str, float]) -> dict[str, float | None]:
    """Return the values, None in place of those that are not finite."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def format_figure(figure: Figure, clips: int) -> str:
    """Format a mean, its interval, and the number of clips where some have no figure.

    Args:
        figure: The mean and its interval.
        clips: Number of clips of the set.

    Returns:
        Such as "0.563 [0.52, 0.6]"; a dash where there is no figure.
    """
    if not figure.clips or not math.isfinite(figure.mean):
        return "–"
    number = "" if figure.clips == clips else f" ({figure.clips})"
    interval = ""
    if math.isfinite(figure.low):
        interval = f" [{format_number(figure.low)}, {format_number(figure.high)}]"
    return f"{format_number(figure.mean)}{interval}{number}"


def format_number(value: float) -> str:
    """Format a number with three digits; numbers that round to zero are "0"."""
    return f"{round(value, 9) + 0.0:.3g}"


def table_rows(report: Report) -> list[tuple[str, ...]]:
    """Return the rows of the table, with a column for each set: the score where there are real videos, distances and
    responses of sets, then each measure."""
    score = ("score", "1", *(format_figure(one.score, len(one.clips)) for one in report.all_sets))
    of_sets = [
        (name, "low", *(format_figure(one.distances.get(name, NO_FIGURE), len(one.clips)) for one in report.all_sets))
        for name in report.distance_names
    ]
    of_sets += [
        (name, "1", *(format_figure(one.responses.get(name, NO_FIGURE), len(one.clips)) for one in report.all_sets))
        for name in report.response_names
    ]
    measures = [
        (
            f"{m.name} ({m.unit})",
            m.good,
            *(format_figure(one.figures[m.name], len(one.clips)) for one in report.all_sets),
        )
        for m in report.measures
    ]
    return [*([score] if report.reference else []), *of_sets, *measures]


def table_header(report: Report) -> tuple[str, ...]:
    """Return the titles of the table's columns."""
    names = [f"{one.name} ({len(one.clips)} clips)" for one in report.all_sets]
    if report.reference:
        names[-1] = f"real: {names[-1]}"
    return ("measure", "good", *names)


def to_markdown(report: Report) -> str:
    """Return the table of all sets and its legend."""
    lines = [table_header(report), tuple("---" for _ in table_header(report)), *table_rows(report)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{table_legend(report)}\n"


def table_legend(report: Report) -> str:
    """Return the explanation of the table."""
    scored = ", ".join(measure.name for measure in report.measures if measure.scored)
    distances = (
        f"{', '.join(report.distance_names)}: Frechet distance of the set's features to the real one's, which falls as "
        f"there are more: compare sets of one size; its interval is the spread of {BOOTSTRAP_RESAMPLES} resamples of "
        f"both sets, left out where features are longer than {MAX_BOOTSTRAP_DIM}. "
    )
    score = (
        f"Score: mean of 1 - |m - real| / |real| over {scored} (THEval, arXiv 2511.04520); chance only lowers it, and "
        f"its interval for the real clips is what two draws of them score. {THEVAL_NOTE} "
    )
    responses = (
        "Responses and gains: Pearson's r, and the slope, of measured values over asked ones, over all clips. "
        if report.response_names
        else ""
    )
    missing = f" Not measured: {'; '.join(report.not_measured)}." if report.not_measured else ""
    return (
        f"Mean over clips, in brackets the {CONFIDENCE:.0%} interval of {RESAMPLES} bootstrap resamples of the clips, "
        f"then the number of clips where not all have a figure. {score if report.reference else ''}"
        f"{distances if report.distance_names else ''}{responses}Everything at {FPS:g} frames per second, emo "
        f"{__version__}.{missing}"
    )


def to_card(report: Report) -> str:
    """Return a section of a model card."""
    against = f" against {report.reference.name}" if report.reference else ""
    return f"## Evaluation\n\nMeasured by `emo-eval`{against}.\n\n{to_markdown(report)}"
