"""Turn the reports of emo-eval and emo-bench into tables of a card and results that the Hub indexes."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult

from emo.core.errors import InputError
from emo.metrics.speed import BenchmarkResult, BenchmarkRun, BenchmarkSetting

PIPELINE_TAG = "image-to-video"  # of the Hub's list; it has none for talking portraits


@dataclass(frozen=True)
class Result:
    """One measure of the first evaluated set, and of real footage."""

    name: str
    unit: str
    good: str
    ours: dict  # mean, low, high, clips
    real: dict


def read_json(path: Path, kind: type, whose: str):
    """Read a JSON file.

    Args:
        path: The file.
        kind: Expected type of the content.
        whose: Name of the command that writes such a file.

    Returns:
        The content.

    Raises:
        InputError: The file can't be read, or its content has another type.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): give the file that {whose} wrote") from error
    if not isinstance(content, kind):
        raise InputError(f"{path} was not written by {whose}: give the file that {whose} wrote")
    return content


def read_results(path: Path) -> tuple[str, list[Result]]:
    """Read report.json of emo-eval.

    Returns:
        The name of the real footage, and the results of the first set beside it.

    Raises:
        InputError: The file is not a report of emo-eval.
    """
    report = read_json(path, dict, "emo-eval")
    try:
        meaning, (ours, *_, real) = report["measures"], report["sets"]
        pairs = [("score", "1", "high", ours["score"], real["score"])]
        pairs += [(name, "1", "low", figure, {}) for name, figure in ours["distances"].items()]
        for name, figure in ours["measures"].items():
            pairs.append((name, meaning[name]["unit"], meaning[name]["good"], figure, real["measures"][name]))
        return report["reference"], [Result(*pair) for pair in pairs if pair[3]["mean"] is not None]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a report.json of emo-eval: give the one that emo-eval wrote") from error


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Format a Markdown table.

    Args:
        head: Titles of the columns.
        rows: Cells of each row.

    Returns:
        The table; line breaks and bars in cells are escaped.
    """
    plain = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in [head, *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [plain[0], ["---"] * len(head), *plain[1:]])


def format_number(value: float) -> str:
    """Format a number with three digits."""
    return f"{value:.3g}"


def format_figure(figure: dict) -> str:
    """Format a mean and its 95 % interval."""
    if figure.get("mean") is None:
        return "–"
    low, high = figure.get("low"), figure.get("high")
    return format_number(figure["mean"]) + (
        f" [{format_number(low)}, {format_number(high)}]" if low is not None else ""
    )


def measures_table(reference: str, measured: list[Result]) -> str:
    """Format the results beside those of real footage.

    Args:
        reference: Name of the real footage.
        measured: Results of the evaluation.

    Returns:
        A Markdown table.
    """
    rows = [(f"{r.name} ({r.unit})", r.good, format_figure(r.ours), format_figure(r.real)) for r in measured]
    return markdown_table(("measure", "good", "this model", f"real: {reference}"), rows)


def make_eval_results(reference: str, measured: list[Result]) -> list[EvalResult]:
    """Make the results for the card's `model-index`.

    Args:
        reference: Name of the real footage.
        measured: Results of the evaluation.

    Returns:
        One result for each measure.
    """
    kind = re.sub(r"[^a-z0-9]+", "-", reference.lower()).strip("-") or "footage"
    return [
        EvalResult(
            task_type=PIPELINE_TAG,
            dataset_type=kind,
            dataset_name=reference,
            metric_type=result.name.lower(),
            metric_name=f"{result.name} ({result.unit})",
            metric_value=result.ours["mean"],
        )
        for result in measured
    ]


def speeds_table(path: Path) -> str:
    """Return a table of bench.json of emo-bench. Raises InputError for any other file."""
    try:
        speeds = [
            BenchmarkResult(BenchmarkSetting(**one["setting"]), [BenchmarkRun(**run) for run in one["runs"]])
            for one in read_json(path, list, "emo-bench")
        ]
        rows = [
            (
                str(one.setting).removeprefix(one.setting.model).strip() or "defaults",
                f"{one.frames_per_second:.3g}",
                f"{one.real_time_factor:.3g}",
                f"{one.median_of('first_frame_seconds'):.3g} s",
                f"{one.median_of('peak_gb'):.3g} GB",
            )
            for one in speeds
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a bench.json of emo-bench: give the one that emo-bench wrote") from error
    return markdown_table(
        ("setting", "frames/s", "seconds of work for one of video", "first frame after", "peak memory"), rows
    )
