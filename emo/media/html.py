"""Self-contained HTML pages and SVG charts: tables, histograms, curves, images.

A page of HTML that needs no other file: tables, charts and pictures inside it.

A run's losses over its steps, as a picture (SVG): that of training, and that on people held out.
"""

import base64
import html
import math
from collections.abc import Iterable

import cv2
import numpy as np

THUMB_PIXELS = 96
STYLE = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{text-align:left;padding:.1em 1em .1em 0}"
STYLE += "figure{display:inline-block;margin:0 2em 1em 0}.sheet img{margin:1px}.bar{fill:#47a}svg text{font-size:11px}"


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file, of pieces of HTML."""
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return head + "".join(parts)


def table(title: str, rows: list[tuple[str, ...]], head: tuple[str, ...]) -> str:
    """Rows of text under a title and the columns' names."""
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<h2>{html.escape(title)}</h2><table><tr>{names}</tr>{cells}</table>"


def histogram(title: str, values: list[float], unit: str) -> str:
    """A bar chart of 20 bins as SVG; values that are no number are left out."""
    given = np.array(values)[np.isfinite(values)]
    counts, edges = np.histogram(given, 20)
    heights = 80 * counts / max(1, counts.max())
    bars = "".join(
        f'<rect class="bar" x="{12 * k}" y="{80 - h:.1f}" width="11" height="{h:.1f}"><title>{counts[k]}</title></rect>'
        for k, h in enumerate(heights)
    )
    low, high = f"{edges[0]:.3g}", f"{edges[-1]:.3g} {unit}"
    axis = f'<text x="0" y="95">{low}</text><text x="240" y="95" text-anchor="end">{html.escape(high)}</text>'
    chart = f'<svg width="240" height="100">{bars}{axis}</svg>'
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{chart}</figure>"


def image(picture: bytes, title: str) -> str:
    """A JPEG inside the page."""
    coded = base64.b64encode(picture).decode()
    return f'<img src="data:image/jpeg;base64,{coded}" title="{html.escape(title)}" alt="">'


def thumb(frame: np.ndarray, title: str) -> str:
    """A frame (H W 3) uint8, small and square."""
    small = cv2.resize(frame, (THUMB_PIXELS, THUMB_PIXELS), interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return image(coded.tobytes(), title)


def intervals(title: str, rows: list[tuple[str, float, float, float]], unit: str) -> str:
    """Each row's name, mean, and the low and high end around it, as a line with a dot; rows without a number are left
    out."""
    given = [row for row in rows if np.isfinite(row[1:]).all()]
    low, high = (round(f([row[k] for row in given], default=0.0), 9) for f, k in ((min, 2), (max, 3)))
    x = [[8 + 224 * (v - low) / max(high - low, 1e-12) for v in row[1:]] for row in given]
    lines = "".join(
        f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{24 * k + 20}" y2="{24 * k + 20}" stroke="#47a"/>'
        f'<circle class="bar" cx="{m:.1f}" cy="{24 * k + 20}" r="3"><title>{row[1]:.4g}</title></circle>'
        f'<text x="0" y="{24 * k + 12}">{html.escape(row[0])}</text>'
        for k, (row, (m, a, b)) in enumerate(zip(given, x, strict=True))
    )
    y = 24 * len(given) + 14
    axis = f'<text x="0" y="{y}">{low:.3g}</text><text x="240" y="{y}" text-anchor="end">{high:.3g} '
    chart = f'<svg width="240" height="{y + 4}">{lines}{axis}{html.escape(unit)}</text></svg>'
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{chart}</figure>"


def curves(title: str, series: dict[str, np.ndarray]) -> str:
    """Series (T,) over each other, each stretched to the chart's height; what is no number is left out."""
    lines, names = [], []
    for k, (name, values) in enumerate(series.items()):
        frames = np.flatnonzero(np.isfinite(values))
        low, span = values[frames].min(initial=np.inf), max(np.ptp(values[frames]) if len(frames) else 0.0, 1e-12)
        points = " ".join(f"{580 * f / len(values):.1f},{58 - 56 * (values[f] - low) / span:.1f}" for f in frames)
        colour = ("#47a", "#c63", "#393")[k % 3]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        names.append(f'<tspan fill="{colour}">{html.escape(name)} </tspan>')
    chart = f'<svg width="580" height="76">{"".join(lines)}<text x="0" y="72">{"".join(names)}</text></svg>'
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{chart}</figure>"


WIDTH, HEIGHT, LEFT, TOP = 640, 240, 60, 24
CURVES = {"loss": "#47a", "validation/loss": "#c63"}


def points(rows: list[dict], name: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have it."""
    return [(row["step"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]


def curve(rows: list[dict]) -> str | None:
    """rows: of log.jsonl. None where there is no curve to draw: fewer than two steps."""
    found = {name: points(rows, name) for name in CURVES}
    every = [point for some in found.values() for point in some]
    if len({step for step, _ in every}) < 2:
        return None
    last, low, high = (max(step for step, _ in every), *(f(value for _, value in every) for f in (min, max)))
    scale = (WIDTH - LEFT - 10) / last, (HEIGHT - TOP - 30) / ((high - low) or 1)

    def at(step: float, value: float) -> str:
        return f"{LEFT + step * scale[0]:.1f},{TOP + (high - value) * scale[1]:.1f}"

    parts = [
        f'<polyline fill="none" stroke="{CURVES[name]}" points="{" ".join(at(*point) for point in some)}"/>'
        for name, some in found.items()
        if some
    ]
    names = "".join(f'<tspan fill="{CURVES[name]}">{name} </tspan>' for name, some in found.items() if some)
    labels = [(LEFT, 14, names), (4, TOP + 8, f"{high:.4g}"), (4, HEIGHT - 28, f"{low:.4g}")]
    labels += [(LEFT, HEIGHT - 8, "step 0"), (WIDTH - 90, HEIGHT - 8, f"step {last}")]
    text = "".join(f'<text x="{x}" y="{y}">{said}</text>' for x, y, said in labels)
    frame = f'<path d="M{LEFT} {TOP}V{HEIGHT - 26}H{WIDTH - 10}" fill="none" stroke="#888"/>'
    style = "<style>text{font:12px sans-serif}</style><rect width='100%' height='100%' fill='#fff'/>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
    return f"{head}{style}{frame}{''.join(parts)}{text}</svg>\n"
