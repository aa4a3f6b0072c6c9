"""A run's losses over its steps, as a picture (SVG): that of training, and that on people held out."""

import math

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
