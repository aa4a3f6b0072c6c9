"""What emo-eval and emo-bench have written, as a card's tables and as the results that the Hub indexes."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult

from emo.core.errors import InputError
from emo.metrics.speed import Figures, Run, Setting

TASK = "image-to-video"  # of the Hub's list; it has none for talking portraits


@dataclass(frozen=True)
class Result:
    """One figure of the first set that was measured, and of real footage."""

    name: str
    unit: str
    good: str
    ours: dict  # mean, low, high, clips
    real: dict


def read(path: Path, kind: type, whose: str):
    """JSON of that kind. Raises InputError."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): give the file that {whose} wrote") from error
    if not isinstance(found, kind):
        raise InputError(f"{path} is not what {whose} wrote: give another")
    return found


def results(path: Path) -> tuple[str, list[Result]]:
    """report.json of emo-eval -> the name of the real footage, and what is known of the first set beside it.

    Raises InputError for another file.
    """
    report = read(path, dict, "emo-eval")
    try:
        meaning, (ours, *_, real) = report["measures"], report["sets"]
        pairs = [("score", "1", "high", ours["score"], real["score"])]
        pairs += [(name, "1", "low", figure, {}) for name, figure in ours["distances"].items()]
        for name, figure in ours["measures"].items():
            pairs.append((name, meaning[name]["unit"], meaning[name]["good"], figure, real["measures"][name]))
        return report["reference"], [Result(*pair) for pair in pairs if pair[3]["mean"] is not None]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not the report.json of emo-eval: give another") from error


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """As Markdown, whatever the cells hold."""
    plain = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in [head, *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [plain[0], ["---"] * len(head), *plain[1:]])


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def cell(figure: dict) -> str:
    """A mean and its interval."""
    if figure.get("mean") is None:
        return "–"
    low, high = figure.get("low"), figure.get("high")
    return short(figure["mean"]) + (f" [{short(low)}, {short(high)}]" if low is not None else "")


def measures_table(reference: str, found: list[Result]) -> str:
    rows = [(f"{r.name} ({r.unit})", r.good, cell(r.ours), cell(r.real)) for r in found]
    return table(("measure", "good", "this model", f"real: {reference}"), rows)


def indexed(reference: str, found: list[Result]) -> list[EvalResult]:
    """For the card's `model-index`."""
    kind = re.sub(r"[^a-z0-9]+", "-", reference.lower()).strip("-") or "footage"
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=kind,
            dataset_name=reference,
            metric_type=result.name.lower(),
            metric_name=f"{result.name} ({result.unit})",
            metric_value=result.ours["mean"],
        )
        for result in found
    ]


def speeds_table(path: Path) -> str:
    """bench.json of emo-bench as a table. Raises InputError for another file."""
    try:
        found = [
            Figures(Setting(**one["setting"]), [Run(**run) for run in one["runs"]])
            for one in read(path, list, "emo-bench")
        ]
        rows = [
            (
                str(one.setting).removeprefix(one.setting.model).strip() or "defaults",
                f"{one.frames_per_second:.3g}",
                f"{one.real_time_factor:.3g}",
                f"{one.middle('first_frame_seconds'):.3g} s",
                f"{one.middle('peak_gb'):.3g} GB",
            )
            for one in found
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not the bench.json of emo-bench: give another") from error
    return table(("setting", "frames/s", "seconds of work for one of video", "first frame after", "peak memory"), rows)
