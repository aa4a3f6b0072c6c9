"""The page of a report: its table, its figures as charts, and the best and worst clips side by side."""

import html
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from emo.core.timing import FPS
from emo.face.crop import crop, region_of_landmarks
from emo.face.landmarks import opening
from emo.media.html import THUMB_PIXELS, curves, intervals, page, table, thumb
from emo.media.video import read_video
from emo.metrics.report import NOTHING, Report, head, legend, rows, settings
from emo.metrics.tracks import Tracks

SHOWN, STRIP = 2, 6  # clips at either end of a set, and frames of each


@dataclass(frozen=True)
class Shown:
    """A clip of a set."""

    video: Path
    tracks: Tracks


def extremes(scores: np.ndarray) -> list[tuple[int, int]]:
    """scores (N,), NaN where there is none -> pairs of clips: the best and the worst, the second best and worst, ..."""
    order = [k for k in np.argsort(-scores, kind="stable").tolist() if np.isfinite(scores[k])]
    return list(zip(order, reversed(order), strict=True))[: min(SHOWN, len(order) // 2)]


def strip(shown: Shown) -> str:
    """Faces of one clip, from its beginning to its end."""
    wanted = np.linspace(0, len(shown.tracks.seen) - 1, STRIP).round().astype(int).tolist()
    frames = enumerate(islice(read_video(shown.video, FPS), wanted[-1] + 1))
    pictures = [
        thumb(crop(frame, region_of_landmarks(shown.tracks.landmarks[k]), THUMB_PIXELS), f"{k / FPS:.2f} s")
        for k, frame in frames
        if k in wanted
    ]
    return f'<div class="sheet">{"".join(pictures)}</div>'


def block(title: str, shown: Shown) -> str:
    """One clip: its name, faces, and what mouth, voice and eyes do."""
    series = {"mouth opening": opening(shown.tracks.landmarks), "loudness": shown.tracks.level}
    return f"<div><h3>{html.escape(title)}</h3>{strip(shown)}{curves('', series)}</div>"


def to_html(report: Report, shown: dict[str, dict[int, Shown]]) -> str:
    """The whole page. shown: of each set, by its name, the clips of `extremes` by their numbers."""
    parts = ["<h1>Talking heads beside real footage</h1>", table("", rows(report), head(report))]
    parts.append(f"<p>{html.escape(legend(report))}</p><h2>Means and intervals</h2>")
    for name in report.distances:
        given = [(one.name, one.distances.get(name, NOTHING)) for one in report.sets]
        ends = [(one, f.mean, *np.nan_to_num([f.low, f.high], nan=f.mean)) for one, f in given]  # alone it is a dot
        parts.append(intervals(f"{name} (good: low)", ends, "distance"))
    for m in report.measures:
        given = [(one.name, f.mean, f.low, f.high) for one in report.all for f in [one.figures[m.name]]]
        parts.append(intervals(f"{m.name} (good: {m.good})", given, m.unit))
    for one in (one for one in report.sets if one.name in shown):
        parts.append(f"<h2>Best and worst of {html.escape(one.name)}, by closeness to real footage</h2>")
        for pair in extremes(one.clip_scores):
            named = [(f"{one.clips[k]}: {one.clip_scores[k]:.2f}", shown[one.name][k]) for k in pair]
            blocks = "".join(block(*clip) for clip in named)
            parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:2em">{blocks}</div>')
    parts.append(
        table("Settings", [(name, str(value)) for name, value in settings(report).items()], ("setting", "value"))
    )
    return page("Talking heads, measured", parts)
