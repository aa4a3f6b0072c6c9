"""One self-contained page of a prepared set: what was kept, what was dropped and why, and what the clips are like."""

import html
from collections import Counter
from pathlib import Path

import numpy as np

from emo.core.files import write_whole
from emo.core.timing import FPS
from emo.data.clip import ClipInfo, list_clips, load_clip, read_clip_frames
from emo.face.landmarks import opening
from emo.media.html import histogram, image, page, table, thumb
from emo.preparation.duplicates import near_duplicates, picture_hash, sound_hash
from emo.preparation.processing_log import Piece, read_ledger

SHOWN = 60


def hours_by(what: str, infos: list[ClipInfo]) -> str:
    """Clips and hours for each value of a field of ClipInfo, the most hours first."""
    frames, count = Counter(), Counter()
    for info in infos:
        frames[getattr(info, what)] += info.num_frames
        count[getattr(info, what)] += 1
    rows = [(name or "not named", str(count[name]), f"{n / FPS / 3600:.3f}") for name, n in frames.most_common(SHOWN)]
    return table(f"By {what} ({len(count)})", rows, (what, "clips", "hours"))


def measured(what: str, infos: list[ClipInfo]) -> list[float]:
    """A field of ClipInfo that is a number, NaN where it was not measured."""
    values = [getattr(info, what) for info in infos]
    return [np.nan if value is None else value for value in values]


def first_frame(path: Path) -> str:
    return thumb(next(read_clip_frames(path)), path.stem)


def spread(items: list, groups: list[str]) -> list:
    """Up to SHOWN of the items: the first of each group, then the second of each, ..."""
    seen, order = Counter(), []
    for item, group in zip(items, groups, strict=True):
        order.append((seen[group], len(order), item))
        seen[group] += 1
    return [item for _, _, item in sorted(order, key=lambda row: row[:2])[:SHOWN]]


def waterfall(pieces: list[Piece]) -> str:
    """From all hours that were found down to those kept, a bar for each reason."""
    hours, count = Counter(), Counter()
    for piece in pieces:
        hours[piece.reason] += piece.seconds / 3600
        count[piece.reason] += 1
    total, left, rows = sum(hours.values()), sum(hours.values()), [("found", sum(hours.values()), 0.0, len(pieces))]
    for reason, lost in [(reason, n) for reason, n in hours.most_common() if reason]:
        left -= lost
        rows.append((reason, lost, left, count[reason]))
    rows.append(("kept", hours[""], 0.0, count[""]))
    scale = 240 / total if total else 0.0
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{pieces}</td><td>{length:.3f}</td><td>"
        f'<svg width="240" height="12"><rect class="bar" x="{start * scale:.1f}" width="{length * scale:.1f}" '
        f'height="12"/></svg></td></tr>'
        for name, length, start, pieces in rows
    )
    return (
        f"<h2>Found, left out, kept</h2><table><tr><th></th><th>pieces</th><th>hours</th><th></th></tr>{cells}</table>"
    )


def dropped_sheet(folders: list[Path], pieces: list[Piece]) -> str:
    """Faces that were left out, from each reason some; the reason is the title."""
    pictures = {path.stem: path for folder in folders for path in sorted((folder / "dropped").glob("*.jpg"))}
    shown = [piece for piece in pieces if piece.reason and piece.name in pictures]
    shown = sorted(spread(shown, [piece.reason for piece in shown]), key=lambda piece: piece.reason)
    images = [image(pictures[piece.name].read_bytes(), f"{piece.name}: {piece.reason}") for piece in shown]
    return f'<h2>Left out</h2><div class="sheet">{"".join(images)}</div>'


def same_moments(paths: list[Path], hashes: list[tuple[int, int]]) -> str:
    """Clips that show the same, by their hashes of picture and sound."""
    groups = near_duplicates(hashes)
    rows = [(", ".join(paths[place].stem for place in group),) for group in groups[:SHOWN]]
    return table(f"Duplicates and near-duplicates ({len(groups)} groups)", rows, ("show the same",))


def write_report(folders: list[Path], out: Path) -> None:
    """Folders of prepared clips -> an HTML file. Raises InputError for a folder without clips, or a broken one."""
    paths = list_clips([str(folder) for folder in folders])
    infos, seconds, speeds, openings, hashes, separated = [], [], [], [], [], 0
    for path in paths:
        clip = load_clip(path)
        infos.append(clip.info)
        separated += len(clip.vocals) > 0
        seconds.append(clip.info.num_frames / FPS)
        speeds.append(float(np.nanmean(clip.head_speed)) if np.isfinite(clip.head_speed).any() else np.nan)
        openings.append(float(np.ptp(opening(clip.landmarks))))
        hashes.append((picture_hash(next(read_clip_frames(path))), sound_hash(clip.wave)))
    pieces = [piece for folder in folders for found in read_ledger(folder).values() for piece in found]
    parts = [
        f"<h1>{len(paths)} clips, {sum(seconds) / 3600:.3f} hours, {len({i.person for i in infos})} people</h1>",
        waterfall(pieces),
        histogram("length", seconds, "s"),
        histogram("mean head speed", speeds, "rad/s"),
        histogram("how far the mouth opens", openings, "of the face's height"),
        histogram("offset of the sound", measured("sync_offset_frames", infos), "frames"),
        histogram("size of the face", measured("face_pixels", infos), "pixels"),
        histogram("how far the head is turned", measured("turned_degrees", infos), "degrees"),
        histogram("sharpness", measured("sharpness", infos), "1/pixel²"),
        histogram(f"music ({separated} clips with vocals apart)", measured("music_share", infos), "of the energy"),
        histogram("time with something over the mouth", measured("covered", infos), "of all"),
        hours_by("licence", infos),
        hours_by("person", infos),
        same_moments(paths, hashes),
        f'<h2>Kept</h2><div class="sheet">{"".join(map(first_frame, spread(paths, [i.person for i in infos])))}</div>',
        dropped_sheet(folders, pieces),
    ]
    write_whole(out, page("Prepared clips", parts))
