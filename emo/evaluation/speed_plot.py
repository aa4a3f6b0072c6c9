"""Where the time of a frame goes, as a picture (SVG): a bar of stages for each setting, the limit of each stage beneath
it, and the line at which video is made as fast as it plays."""

import html

from emo.evaluation.speed import STAGES, Figures

COLOURS = dict(zip(STAGES, ("#888", "#c6a", "#47a", "#c63", "#393", "#a95", "#266"), strict=True))
WIDTH, ROW, TOP = 640, 46, 34


def bar(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    place = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{height}"'
    return f'<rect {place} fill="{colour}"><title>{html.escape(title)}</title></rect>'


def stacked(values: dict[str, float], scale: float, y: float, height: float, what: str) -> str:
    """Stages side by side; values in seconds, scale in points for a second."""
    x, bars = 0.0, []
    for name in STAGES:
        width = values.get(name, 0.0) * scale
        bars.append(bar(x, y, width, height, COLOURS[name], f"{what}{name}: {values.get(name, 0.0):.4g} s"))
        x += width
    return "".join(bars)


def plot(all_figures: list[Figures]) -> str:
    """A thick bar is what was measured, the thin one under it what the counted operations would take at the least."""
    longest = max(max(sum(f.stage_seconds.values()), 1 / f.setting.fps) for f in all_figures)
    scale, parts = WIDTH / longest, []
    for k, figures in enumerate(all_figures):
        y, real_time = TOP + ROW * k, scale / figures.setting.fps
        said = f"{figures.setting}: {figures.frames_per_second:.2f} frames/s"
        parts.append(f'<text x="0" y="{y + 10}">{html.escape(said)}</text>')
        parts.append(stacked(figures.stage_seconds, scale, y + 14, 16, ""))
        parts.append(stacked(figures.limit_seconds, scale, y + 31, 4, "limit of "))
        parts.append(f'<path d="M{real_time:.2f} {y + 12}v26" stroke="#000"/>')
    names = "".join(f'<tspan fill="{colour}">{name} </tspan>' for name, colour in COLOURS.items())
    legend = f'<text x="0" y="14">seconds per frame, to {longest:.3g}: {names}; black: as fast as it plays</text>'
    size = f'width="{WIDTH}" height="{TOP + ROW * len(all_figures)}"'
    style = "<style>text{font:12px sans-serif}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{legend}{"".join(parts)}</svg>\n'
