"""The pages of an evaluation: report.html, with its table, its figures as charts, and the best and worst clips side by
side; gallery.html, with all generated videos, playable, and their figures."""

import html
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.core.timing import FPS
from emo.face.landmarks import mouth_opening
from emo.media.html import embed_thumbnail, embed_video, interval_chart, line_chart, render_page, render_table
from emo.metrics.report import (
    NO_FIGURE,
    Report,
    format_number,
    list_settings,
    table_header,
    table_legend,
    table_rows,
)
from emo.metrics.score import SetScore
from emo.metrics.tracks import VideoTracks

MAX_PAIRS = 2  # clips shown of either end of a set
VIDEO_PIXELS = 240  # width of a video in the gallery
GRID_SEPARATOR = "__"  # in names of videos: PORTRAIT__SOUND.mp4
GALLERY_MEASURES = (  # shown under each video; the others are one click away
    "mouth_voice_r",
    "opening_amplitude",
    "silence_opening",
    "onset_lead",
    "open_mouth_sharpness",
    "head_sharpness",
    "head_speed",
    "blinks",
)


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


def to_gallery(report: Report, videos: dict[str, list[Path]], folder: Path) -> str:
    """Render the page of all generated videos.

    Videos named PORTRAIT__SOUND stand in a grid, a row for each portrait and a column for each sound.

    Args:
        report: The results.
        videos: Name of a set -> its videos.
        folder: Where the page is written; it plays the videos from where they are.

    Returns:
        HTML text.
    """
    units = "; ".join(f"{m.name} in {m.unit}, good: {m.good}" for m in report.measures)
    parts = ["<h1>Generated videos and their figures</h1>", f"<p>{html.escape(units)}.</p>"]
    for one in (one for one in report.sets if one.name in videos):
        cells = {
            path.stem: render_cell(report, one, k, os.path.relpath(path, folder).replace(os.sep, "/"))
            for k, path in enumerate(videos[one.name])
        }
        parts += [f"<h2>{html.escape(one.name)}</h2>", render_grid(cells)]
    return render_page("Generated videos", parts)


def render_grid(cells: dict[str, str]) -> str:
    """Arrange cells by their names.

    Args:
        cells: Name of a video -> HTML text.

    Returns:
        HTML text: a table of portraits and sounds, or one cell after another where a name says no sound.
    """
    if not all(GRID_SEPARATOR in name for name in cells):
        return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(cells.values())}</div>'
    places = [name.split(GRID_SEPARATOR, 1) for name in cells]
    portraits, sounds = (list(dict.fromkeys(place[k] for place in places)) for k in (0, 1))
    rows = [f"<tr><th></th>{''.join(f'<th>{html.escape(sound)}</th>' for sound in sounds)}</tr>"]
    for portrait in portraits:
        row = "".join(f"<td>{cells.get(GRID_SEPARATOR.join((portrait, sound)), '')}</td>" for sound in sounds)
        rows.append(f"<tr><th>{html.escape(portrait)}</th>{row}</tr>")
    return f"<table>{''.join(rows)}</table>"


def render_cell(report: Report, one: SetScore, clip: int, source: str) -> str:
    """Render one video with its figures.

    Args:
        report: The results.
        one: The set of the video.
        clip: Index of the video in the set.
        source: Path of the video from the folder of the page.

    Returns:
        HTML of a <div>.
    """
    names = [measure.name for measure in report.measures]
    figures = {
        name: f"{name} {format_number(value)}" if np.isfinite(value) else f"{name} –"
        for name, value in zip(names, one.values[clip].tolist(), strict=True)
    }
    shown = "<br>".join(html.escape(figures[name]) for name in GALLERY_MEASURES if name in figures)
    others = "<br>".join(html.escape(text) for name, text in figures.items() if name not in GALLERY_MEASURES)
    return (
        f'<div style="width:{VIDEO_PIXELS}px">{embed_video(source, VIDEO_PIXELS)}<br><small>'
        f"{html.escape(one.clips[clip])}<br>{shown}<details><summary>more</summary>{others}</details></small></div>"
    )
