"""Self-contained HTML pages: tables, images, videos and SVG charts (bars, histograms, intervals, curves).

All charts are made of the same parts (`svg_document`, `svg_bar`, `svg_polyline`, `svg_text`). Values that are not
finite are left out of a chart.
"""

import base64
import html
import math
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import numpy as np

THUMBNAIL_PIXELS = 96
STYLE = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{text-align:left;padding:.1em 1em .1em 0}"
STYLE += "figure{display:inline-block;margin:0 2em 1em 0}.sheet img{margin:1px}svg text{font-size:11px}"
BLUE, ORANGE, GREEN, GRAY = COLORS = ("#47a", "#c63", "#393", "#888")
HISTOGRAM_BINS = 20
LOSS_WIDTH, LOSS_HEIGHT, LOSS_LEFT, LOSS_TOP = 640, 240, 60, 24  # of the chart of a run's losses, and its axes
LOSS_COLORS = {"loss": BLUE, "validation/loss": ORANGE}


def render_page(title: str, parts: Iterable[str]) -> str:
    """Return a complete HTML file.

    Args:
        title: Title of the page, plain text.
        parts: Pieces of HTML, one after another.

    Returns:
        The HTML text.
    """
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return head + "".join(parts)


def render_table(title: str, rows: list[tuple[str, ...]], head: tuple[str, ...]) -> str:
    """Return a table with a title.

    Args:
        title: Title of the table, plain text.
        rows: Rows of plain text.
        head: Names of the columns.

    Returns:
        HTML text.
    """
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<h2>{html.escape(title)}</h2><table><tr>{names}</tr>{cells}</table>"


def embed_jpeg(data: bytes, title: str) -> str:
    """Return an image inside the page, with a tooltip.

    Args:
        data: Content of a JPEG file.
        title: Text of the tooltip.

    Returns:
        HTML text.
    """
    encoded = base64.b64encode(data).decode()
    return f'<img src="data:image/jpeg;base64,{encoded}" title="{html.escape(title)}" alt="">'


def embed_thumbnail(frame: np.ndarray, title: str) -> str:
    """Return a frame as a small square image inside the page, with a tooltip.

    Args:
        frame: (H W 3) uint8 RGB.
        title: Text of the tooltip.

    Returns:
        HTML text.
    """
    import cv2  # here, as commands whose pages have charts alone answer --help without it

    small = cv2.resize(frame, (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return embed_jpeg(encoded.tobytes(), title)


def embed_video(source: str, width: int) -> str:
    """Return a video with controls that is played from its own file.

    Args:
        source: Path of the file from the folder of the page, with / between folders.
        width: Width on the page, pixels.

    Returns:
        HTML text.
    """
    return f'<video controls preload="metadata" width="{width}" src="{html.escape(quote(source))}"></video>'


def svg_document(width: float, height: float, parts: Iterable[str], standalone: bool = False) -> str:
    """Return an SVG image.

    Args:
        width: Width, pixels.
        height: Height, pixels.
        parts: SVG elements.
        standalone: Make it a file of its own, with its font.

    Returns:
        SVG text.
    """
    if not standalone:
        return f'<svg width="{width}" height="{height}">{"".join(parts)}</svg>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    return f"{head}<style>text{{font:12px sans-serif}}</style>{''.join(parts)}</svg>\n"


def svg_bar(x: float, y: float, width: float, height: float, color: str, title: str) -> str:
    """Return a filled rectangle with a tooltip.

    Args:
        x: Left side, pixels.
        y: Upper side, pixels.
        width: Width, pixels.
        height: Height, pixels.
        color: Color as of CSS.
        title: Text of the tooltip.

    Returns:
        SVG text.
    """
    place = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect {place} fill="{color}"><title>{html.escape(title)}</title></rect>'


def svg_polyline(points: Iterable[Sequence[float]], color: str) -> str:
    """Return a line through points.

    Args:
        points: (x, y) of each point, pixels.
        color: Color as of CSS.

    Returns:
        SVG text.
    """
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}"/>'


def svg_text(x: float, y: float, text: str, anchor: str = "start") -> str:
    """Return plain text at a place.

    Args:
        x: Horizontal position, pixels.
        y: Position of the baseline, pixels.
        text: Plain text.
        anchor: "start": the text starts at x, "end": it ends there.

    Returns:
        SVG text.
    """
    aligned = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{aligned}>{html.escape(text)}</text>'


def svg_legend(x: float, y: float, colors: dict[str, str]) -> str:
    """Return names in their colors, side by side.

    Args:
        x: Left side, pixels.
        y: Position of the baseline, pixels.
        colors: Name -> color as of CSS.

    Returns:
        SVG text.
    """
    names = "".join(f'<tspan fill="{color}">{html.escape(name)} </tspan>' for name, color in colors.items())
    return f'<text x="{x:g}" y="{y:g}">{names}</text>'


def _figure(title: str, chart: str) -> str:
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{chart}</figure>"


def histogram_chart(title: str, values: list[float], unit: str) -> str:
    """Return a bar chart of how often values occur, in HISTOGRAM_BINS bins.

    Args:
        title: Title of the chart, plain text.
        values: The values; non-finite ones are left out.
        unit: Unit of the values.

    Returns:
        HTML text.
    """
    finite = np.array(values)[np.isfinite(values)]
    counts, edges = np.histogram(finite, HISTOGRAM_BINS)
    heights = 80 * counts / max(1, counts.max())
    bars = [svg_bar(12 * k, 80 - h, 11, h, BLUE, str(counts[k])) for k, h in enumerate(heights)]
    axis = [svg_text(0, 95, f"{edges[0]:.3g}"), svg_text(240, 95, f"{edges[-1]:.3g} {unit}", "end")]
    return _figure(title, svg_document(240, 100, bars + axis))


def interval_chart(title: str, rows: list[tuple[str, float, float, float]], unit: str) -> str:
    """Return a chart with a line and a dot for each row.

    Args:
        title: Title of the chart, plain text.
        rows: Name, mean, and low and high end of the interval around it.
        unit: Unit of the values.

    Returns:
        HTML text.
    """
    finite = [row for row in rows if np.isfinite(row[1:]).all()]
    low = round(min([row[2] for row in finite], default=0.0), 9)
    high = round(max([row[3] for row in finite], default=0.0), 9)
    x = [[8 + 224 * (v - low) / max(high - low, 1e-12) for v in row[1:]] for row in finite]
    parts = [
        f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{24 * k + 20}" y2="{24 * k + 20}" stroke="{BLUE}"/>'
        f'<circle fill="{BLUE}" cx="{m:.1f}" cy="{24 * k + 20}" r="3"><title>{row[1]:.4g}</title></circle>'
        + svg_text(0, 24 * k + 12, row[0])
        for k, (row, (m, a, b)) in enumerate(zip(finite, x, strict=True))
    ]
    y = 24 * len(finite) + 14
    parts += [svg_text(0, y, f"{low:.3g}"), svg_text(240, y, f"{high:.3g} {unit}", "end")]
    return _figure(title, svg_document(240, y + 4, parts))


def line_chart(title: str, series: dict[str, np.ndarray]) -> str:
    """Return a chart of several series over each other, each stretched to the height of the chart.

    Args:
        title: Title of the chart, plain text.
        series: Name -> (T,) values.

    Returns:
        HTML text.
    """
    lines, colors = [], {}
    for k, (name, values) in enumerate(series.items()):
        frames = np.flatnonzero(np.isfinite(values))
        low, span = values[frames].min(initial=np.inf), max(np.ptp(values[frames]) if len(frames) else 0.0, 1e-12)
        colors[name] = COLORS[k % 3]
        points = [(580 * f / len(values), 58 - 56 * (values[f] - low) / span) for f in frames]
        lines.append(svg_polyline(points, colors[name]))
    return _figure(title, svg_document(580, 76, [*lines, svg_legend(0, 72, colors)]))


def loss_chart(rows: list[dict]) -> str | None:
    """Return the losses of a training run over its steps, as an SVG file.

    Args:
        rows: Rows of the run's log.jsonl, with "step" and "loss" or "validation/loss".

    Returns:
        The file's text; None for fewer than two steps.
    """
    series = {
        name: [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
        for name in LOSS_COLORS
    }
    series = {name: points for name, points in series.items() if points}
    points = [point for one in series.values() for point in one]
    if len({step for step, _ in points}) < 2:
        return None
    last, low, high = (max(step for step, _ in points), *(f(value for _, value in points) for f in (min, max)))
    x_scale, y_scale = (LOSS_WIDTH - LOSS_LEFT - 10) / last, (LOSS_HEIGHT - LOSS_TOP - 30) / ((high - low) or 1)
    lines = [
        svg_polyline([(LOSS_LEFT + s * x_scale, LOSS_TOP + (high - v) * y_scale) for s, v in one], LOSS_COLORS[name])
        for name, one in series.items()
    ]
    path = f"M{LOSS_LEFT} {LOSS_TOP}V{LOSS_HEIGHT - 26}H{LOSS_WIDTH - 10}"
    labels = [
        svg_legend(LOSS_LEFT, 14, {name: LOSS_COLORS[name] for name in series}),
        svg_text(4, LOSS_TOP + 8, f"{high:.4g}"),
        svg_text(4, LOSS_HEIGHT - 28, f"{low:.4g}"),
        svg_text(LOSS_LEFT, LOSS_HEIGHT - 8, "step 0"),
        svg_text(LOSS_WIDTH - 90, LOSS_HEIGHT - 8, f"step {last}"),
    ]
    background = "<rect width='100%' height='100%' fill='#fff'/>"
    axes = f'<path d="{path}" fill="none" stroke="{GRAY}"/>'
    return svg_document(LOSS_WIDTH, LOSS_HEIGHT, [background, axes, *lines, *labels], standalone=True)
