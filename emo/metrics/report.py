"""What was measured, written down: report.json for programs, a table for a paper, a section for a model's card."""

import json
import math
from dataclasses import asdict, dataclass

from emo import __version__
from emo.core.timing import FPS
from emo.media.audio import RANGE_DB
from emo.metrics.distances import LONGEST
from emo.metrics.distances import RESAMPLES as DRAWN
from emo.metrics.motion import SHUT
from emo.metrics.networks import NETWORKS
from emo.metrics.registry import Asked, Measure
from emo.metrics.score import RESAMPLES, SHARE, Figure, Scored
from emo.metrics.sync import SILENCE_DB, SILENCE_FRAMES, SPEECH_DB
from emo.metrics.tracks import FACE_PIXELS, MOUTH_PIXELS

LACKING = "Of THEval's eight the aesthetics are left out, and sharpness stands for its MUSIQ (mouth) and TOPIQ (face)."
NOTHING = Figure(math.nan, math.nan, math.nan, 0)


@dataclass
class Report:
    """The reference and the sets that were held against it."""

    measures: list[Measure]
    reference: Scored
    sets: list[Scored]
    asked: Asked

    @property
    def all(self) -> list[Scored]:
        return [*self.sets, self.reference]

    @property
    def distances(self) -> list[str]:
        """Names of those that are of whole sets."""
        return [*self.sets[0].distances]

    @property
    def lacking(self) -> list[str]:
        """What was not measured, and the options that ask for it."""
        asked = self.asked
        given = {"LSE-C and LSE-D (--syncnet)": asked.syncnet, "PSNR and SSIM (--reconstruction)": asked.reconstruction}
        given |= {f"{network.adds} (--{name})": name in asked.networks for name, network in NETWORKS.items()}
        return [what for what, whether in given.items() if not whether]


def settings(report: Report) -> dict[str, float | int | str | None]:
    """What the figures depend on besides the clips."""
    return {
        "emo": __version__,
        "frames_per_second": FPS,
        "face_pixels": FACE_PIXELS,
        "mouth_pixels": MOUTH_PIXELS,
        "silence_db_under_peak": RANGE_DB - SILENCE_DB,
        "silence_frames": SILENCE_FRAMES,
        "speech_db_under_peak": RANGE_DB - SPEECH_DB,
        "blink_share_of_open_eyes": SHUT,
        "bootstrap_resamples": RESAMPLES,
        "interval": SHARE,
        "window_frames": report.asked.window,
        "syncnet": report.asked.syncnet and report.asked.syncnet.name,
        **{option: path.name for option, path in report.asked.networks.items()},
    }


def to_json(report: Report) -> str:
    """All figures and those of each clip; what was not measured is null."""
    names = [measure.name for measure in report.measures]
    sets = [
        {
            "name": one.name,
            "clips": len(one.clips),
            "score": known(asdict(one.score)),
            "measures": {name: known(asdict(figure)) for name, figure in one.figures.items()},
            "closeness": {name: known(asdict(figure)) for name, figure in one.closeness.items()},
            "distances": {name: known(asdict(figure)) for name, figure in one.distances.items()},
            "each": {
                clip: known(dict(zip(names, row.tolist(), strict=True)) | {"score": float(score)})
                for clip, row, score in zip(one.clips, one.values, one.clip_scores, strict=True)
            },
        }
        for one in report.all
    ]
    meaning = {m.name: {"unit": m.unit, "good": m.good, "scored": m.scored} for m in report.measures}
    whole = {"settings": settings(report), "reference": report.reference.name, "measures": meaning, "sets": sets}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)


def known(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def cell(figure: Figure, clips: int) -> str:
    """A mean, its interval, and of how many clips, where that is not all of them."""
    if not figure.clips or not math.isfinite(figure.mean):
        return "–"
    few = "" if figure.clips == clips else f" ({figure.clips})"
    between = f" [{short(figure.low)}, {short(figure.high)}]" if math.isfinite(figure.low) else ""
    return f"{short(figure.mean)}{between}{few}"


def short(value: float) -> str:
    """Three digits; what rounding has left of nothing is 0."""
    return f"{round(value, 9) + 0.0:.3g}"


def rows(report: Report) -> list[tuple[str, ...]]:
    """The table, without its head: the score, distances of sets, then each measure; a column for each set."""
    first = ("score", "1", *(cell(one.score, len(one.clips)) for one in report.all))
    apart = [
        (name, "low", *(cell(one.distances.get(name, NOTHING), len(one.clips)) for one in report.all))
        for name in report.distances
    ]
    return [first, *apart] + [
        (f"{m.name} ({m.unit})", m.good, *(cell(one.figures[m.name], len(one.clips)) for one in report.all))
        for m in report.measures
    ]


def head(report: Report) -> tuple[str, ...]:
    names = [f"{one.name} ({len(one.clips)} clips)" for one in report.sets]
    return ("measure", "good", *names, f"real: {report.reference.name} ({len(report.reference.clips)} clips)")


def to_markdown(report: Report) -> str:
    """A table of all sets, and what its figures are."""
    lines = [head(report), tuple("---" for _ in head(report)), *rows(report)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{legend(report)}\n"


def legend(report: Report) -> str:
    """What a reader must know beside the table."""
    scored = ", ".join(measure.name for measure in report.measures if measure.scored)
    apart = (
        f"{', '.join(report.distances)}: Frechet distance of the set's features to the real one's, which falls "
        f"as there are more: compare sets of one size; its interval is the spread of {DRAWN} resamples of both sets, "
        f"left out where features are longer than {LONGEST}. "
    )
    lacking = f" Not measured: {', '.join(report.lacking)}." if report.lacking else ""
    return (
        f"Mean over clips, in brackets the {SHARE:.0%} interval of {RESAMPLES} bootstrap resamples of the clips, then "
        f"the number of clips where not all have a figure. Score: mean of 1 - |m - real| / |real| over {scored} "
        f"(THEval, arXiv 2511.04520); chance only lowers it, and its interval for the real clips is what two draws of "
        f"them score. {LACKING} {apart if report.distances else ''}Everything at {FPS:g} frames per second, emo "
        f"{__version__}.{lacking}"
    )


def to_card(report: Report) -> str:
    """A section of a model card."""
    return f"## Evaluation\n\nMeasured by `emo-eval` against {report.reference.name}.\n\n{to_markdown(report)}"
