"""report.html of an evaluation: its table, its figures as charts, and the best and worst clips side by side."""

import html
from dataclasses import dataclass

import numpy as np

from emo.core.timing import FPS
from emo.face.landmarks import mouth_opening
from emo.media.charts import interval_chart, line_chart
from emo.media.html import embed_thumbnail, render_page, render_table
from emo.metrics.report import NO_FIGURE, Report, list_settings, table_header, table_legend, table_rows
from emo.metrics.tracks import VideoTracks

MAX_PAIRS = 2  # clips shown of either end of a set


@dataclass(frozen=True)
class ClipView:
    """A clip as the page shows it: its tracks, and some of its faces with their frame numbers."""

    tracks: VideoTracks
    thumbnails: list[tuple[int, np.ndarray]]


def best_and_worst(scores: np.ndarray) -> list[tuple[int, int]]:
    """Pair clips by their scores (N,), NaN where there is none: the best and the worst, the second best and the second
    worst, ..."""
    order = [k for k in np.argsort(-scores, kind="stable").tolist() if np.isfinite(scores[k])]
    return list(zip(order, reversed(order), strict=True))[: min(MAX_PAIRS, len(order) // 2)]


def render_clip(title: str, view: ClipView) -> str:
    """Render one clip: its name, faces, and curves of mouth opening and loudness.

    Args:
        title: The clip's name and score.
        view: Tracks and thumbnails of the clip.

    Returns:
        HTML of a <div>.
    """
    faces = "".join(embed_thumbnail(picture, f"{number / FPS:.2f} s") for number, picture in view.thumbnails)
    series = {"mouth opening": mouth_opening(view.tracks.landmarks), "loudness": view.tracks.loudness_db}
    return f'<div><h3>{html.escape(title)}</h3><div class="sheet">{faces}</div>{line_chart("", series)}</div>'


def to_html(report: Report, views: dict[str, dict[int, ClipView]]) -> str:
    """Render the page.

    Args:
        report: The results.
        views: Name of a set -> the clips of `best_and_worst` by their numbers.

    Returns:
        Text of an HTML file.
    """
    parts = ["<h1>Talking heads against real footage</h1>", render_table("", table_rows(report), table_header(report))]
    parts.append(f"<p>{html.escape(table_legend(report))}</p><h2>Means and intervals</h2>")
    for name in report.distance_names:
        rows = []
        for one in report.sets:
            figure = one.distances.get(name, NO_FIGURE)  # without an interval it is a dot
            low, high = np.nan_to_num([figure.low, figure.high], nan=figure.mean)
            rows.append((one.name, figure.mean, low, high))
        parts.append(interval_chart(f"{name} (good: low)", rows, "distance"))
    for measure in report.measures:
        figures = [(one.name, one.figures[measure.name]) for one in report.all_sets]
        rows = [(name, figure.mean, figure.low, figure.high) for name, figure in figures]
        parts.append(interval_chart(f"{measure.name} (good: {measure.good})", rows, measure.unit))
    for one in (one for one in report.sets if one.name in views):
        parts.append(f"<h2>Best and worst of {html.escape(one.name)}, by closeness to real footage</h2>")
        for pair in best_and_worst(one.clip_scores):
            named = [(f"{one.clips[k]}: {one.clip_scores[k]:.2f}", views[one.name][k]) for k in pair]
            clips = "".join(render_clip(title, view) for title, view in named)
            parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:2em">{clips}</div>')
    settings = [(name, str(value)) for name, value in list_settings(report).items()]
    parts.append(render_table("Settings", settings, ("setting", "value")))
    return render_page("Talking heads, measured", parts)
