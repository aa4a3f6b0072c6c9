"""One self-contained page of a prepared set: what was kept, what was dropped and why, and what the clips are like."""

import base64
import csv
import html
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from emo.data.clip import FPS, ClipInfo, list_clips, load_clip, read_clip_frames
from emo.face.mouth import opening

SHOWN, THUMB_PIXELS = 60, 96
STYLE = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{text-align:left;padding:.1em 1em .1em 0}"
STYLE += "figure{display:inline-block;margin:0 2em 1em 0}.sheet img{margin:1px}.bar{fill:#47a}svg text{font-size:11px}"


def table(title: str, rows: list[tuple[str, ...]], head: tuple[str, ...]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<h2>{html.escape(title)}</h2><table><tr>{names}</tr>{cells}</table>"


def hours_by(what: str, infos: list[ClipInfo]) -> str:
    """Clips and hours for each value of a field of ClipInfo, the most hours first."""
    frames, count = Counter(), Counter()
    for info in infos:
        frames[getattr(info, what)] += info.num_frames
        count[getattr(info, what)] += 1
    rows = [(name or "not named", str(count[name]), f"{n / FPS / 3600:.3f}") for name, n in frames.most_common(SHOWN)]
    return table(f"By {what} ({len(count)})", rows, (what, "clips", "hours"))


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


def thumb(path: Path) -> str:
    """The first frame of a clip as an image inside the page."""
    small = cv2.resize(next(read_clip_frames(path)), (THUMB_PIXELS, THUMB_PIXELS), interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    picture = base64.b64encode(coded.tobytes()).decode()
    return f'<img src="data:image/jpeg;base64,{picture}" title="{html.escape(path.stem)}" alt="">'


def dropped_reasons(folders: list[Path]) -> Counter:
    """Reason -> how many, from each folder's dropped.csv; a reason is what follows the name."""
    reasons = Counter()
    for path in (folder / "dropped.csv" for folder in folders):
        if path.exists():
            reasons.update(row["reason"].partition(": ")[2] for row in csv.DictReader(path.open(newline="")))
    return reasons


def write_report(folders: list[Path], out: Path) -> None:
    """Folders of prepared clips -> an HTML file. Raises InputError for a folder without clips, or a broken one."""
    paths = list_clips([str(folder) for folder in folders])
    infos, seconds, speeds, openings = [], [], [], []
    for path in paths:
        clip = load_clip(path)
        infos.append(clip.info)
        seconds.append(clip.info.num_frames / FPS)
        speeds.append(float(np.nanmean(clip.head_speed)) if np.isfinite(clip.head_speed).any() else np.nan)
        openings.append(float(np.ptp(opening(clip.landmarks))))
    reasons = dropped_reasons(folders)
    parts = [
        f"<h1>{len(paths)} clips, {sum(seconds) / 3600:.3f} hours, {len({i.person for i in infos})} people</h1>",
        table("Left out", [(r, str(n)) for r, n in reasons.most_common()], ("reason", "videos, shots or pictures")),
        histogram("length", seconds, "s"),
        histogram("mean head speed", speeds, "rad/s"),
        histogram("how far the mouth opens", openings, "of the face's height"),
        hours_by("licence", infos),
        hours_by("person", infos),
        f'<h2>Kept</h2><div class="sheet">{"".join(map(thumb, paths[:: -(-len(paths) // SHOWN)]))}</div>',
    ]
    page = f'<!doctype html><meta charset="utf-8"><title>Prepared clips</title><style>{STYLE}</style>{"".join(parts)}'
    part = out.with_name(f"{out.name}.part")
    part.write_text(page, encoding="utf-8")
    part.replace(out)
