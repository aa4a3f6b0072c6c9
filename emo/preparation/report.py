"""Write a self-contained page about a prepared set: accepted clips, rejected ones with their reasons, measurements.

It also lists clips that show the same moment: footage in several files, or encoded, scaled or leveled differently. The
picture and the sound of a clip each become 64 bits that survive such changes: signs of differences between neighbors,
as of the difference hash (N. Krawetz, "Kind of Like That", 2013), over the places of the picture and over the time of
the sound.
"""

import html
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from emo.core.files import write_text_atomic
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.clip import ClipInfo, list_clips, load_clip, read_clip_frames
from emo.face.landmarks import mouth_opening
from emo.media.audio import loudness
from emo.media.html import (
    BLUE,
    embed_jpeg,
    embed_thumbnail,
    histogram_chart,
    render_page,
    render_table,
    svg_bar,
    svg_document,
)
from emo.preparation.processing_log import LogItem, read_processing_log

MAX_SHOWN = 60  # rows of a table, pictures of a sheet
HASH_BITS, HASH_BANDS = 64, 8
MAX_DIFFERENT_BITS = HASH_BANDS - 1  # of either hash: then at least one of its HASH_BANDS bands is the same


def make_hours_table(what: str, infos: list[ClipInfo]) -> str:
    """Return a table of clips and hours for each value of a field, the most hours first.

    Args:
        what: Field of ClipInfo.
        infos: The clips.

    Returns:
        HTML text.
    """
    frames, count = Counter(), Counter()
    for info in infos:
        frames[getattr(info, what)] += info.num_frames
        count[getattr(info, what)] += 1
    rows = [
        (name or "not named", str(count[name]), f"{n / FPS / 3600:.3f}") for name, n in frames.most_common(MAX_SHOWN)
    ]
    return render_table(f"By {what} ({len(count)})", rows, (what, "clips", "hours"))


def list_measurements(what: str, infos: list[ClipInfo]) -> list[float]:
    """List the values of a field of ClipInfo.

    Args:
        what: Field of ClipInfo.
        infos: The clips.

    Returns:
        The values, NaN where the field was not measured.
    """
    values = [getattr(info, what) for info in infos]
    return [np.nan if value is None else value for value in values]


def embed_first_frame(path: Path) -> str:
    """Return the first frame of a clip as HTML."""
    return embed_thumbnail(next(read_clip_frames(path)), path.stem)


def interleave_groups(items: list, groups: list[str]) -> list:
    """Choose up to MAX_SHOWN items: the first of each group, then the second of each, and so on.

    Args:
        items: N items.
        groups: Group of each item.

    Returns:
        The chosen items.
    """
    seen, order = Counter(), []
    for item, group in zip(items, groups, strict=True):
        order.append((seen[group], len(order), item))
        seen[group] += 1
    return [item for _, _, item in sorted(order, key=lambda row: row[:2])[:MAX_SHOWN]]


def make_waterfall_table(pieces: list[LogItem]) -> str:
    """Return a table of hours with a waterfall chart: from all that were found down to those of the clips.

    Args:
        pieces: Items of processing logs.

    Returns:
        HTML text: a row for each reason of rejection, the most hours first.
    """
    hours, count = Counter(), Counter()
    for piece in pieces:
        hours[piece.reason] += piece.seconds / 3600
        count[piece.reason] += 1
    total, left, rows = sum(hours.values()), sum(hours.values()), [("found", sum(hours.values()), 0.0, len(pieces))]
    for reason, lost in [(reason, n) for reason, n in hours.most_common() if reason]:
        left -= lost
        rows.append((reason, lost, left, count[reason]))
    rows.append(("accepted", hours[""], 0.0, count[""]))
    scale = 240 / total if total else 0.0
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{pieces}</td><td>{length:.3f}</td><td>"
        + svg_document(240, 12, [svg_bar(start * scale, 0, length * scale, 12, BLUE, f"{length:.3f} hours")])
        + "</td></tr>"
        for name, length, start, pieces in rows
    )
    head = "<tr><th></th><th>pieces</th><th>hours</th><th></th></tr>"
    return f"<h2>Found, rejected, accepted</h2><table>{head}{cells}</table>"


def make_rejected_sheet(folders: list[Path], pieces: list[LogItem]) -> str:
    """Return pictures of rejected faces, some for each reason; the reason is the tooltip.

    Args:
        folders: Folders of clips.
        pieces: Items of their processing logs.

    Returns:
        HTML text.
    """
    pictures = {path.stem: path for folder in folders for path in sorted((folder / "dropped").glob("*.jpg"))}
    shown = [piece for piece in pieces if piece.reason and piece.name in pictures]
    shown = sorted(interleave_groups(shown, [piece.reason for piece in shown]), key=lambda piece: piece.reason)
    images = [embed_jpeg(pictures[piece.name].read_bytes(), f"{piece.name}: {piece.reason}") for piece in shown]
    return f'<h2>Rejected</h2><div class="sheet">{"".join(images)}</div>'


def make_duplicates_table(paths: list[Path], hashes: list[tuple[int, int]]) -> str:
    """Return a table of clips that show the same.

    Args:
        paths: JSON files of the clips.
        hashes: Hashes of picture and sound of each clip.

    Returns:
        HTML text.
    """
    groups = find_duplicates(hashes)
    rows = [(", ".join(paths[place].stem for place in group),) for group in groups[:MAX_SHOWN]]
    return render_table(f"Duplicates and near-duplicates ({len(groups)} groups)", rows, ("show the same",))


def write_report(folders: list[Path], out: Path) -> None:
    """Write the report of folders of prepared clips.

    Args:
        folders: Folders of clips.
        out: The HTML file.

    Raises:
        InputError: A folder has no clips, or a broken one.
        OutputError: The file can't be written.
    """
    paths = list_clips([str(folder) for folder in folders])
    infos, seconds, speeds, openings, hashes, separated = [], [], [], [], [], 0
    for path in paths:
        clip = load_clip(path)
        infos.append(clip.info)
        separated += len(clip.vocals) > 0
        seconds.append(clip.info.num_frames / FPS)
        speeds.append(float(np.nanmean(clip.head_speed)) if np.isfinite(clip.head_speed).any() else np.nan)
        openings.append(float(np.ptp(mouth_opening(clip.landmarks))))
        hashes.append((hash_picture(next(read_clip_frames(path))), hash_sound(clip.wave)))
    pieces = [piece for folder in folders for found in read_processing_log(folder).values() for piece in found]
    shown = interleave_groups(paths, [info.person for info in infos])
    parts = [
        f"<h1>{len(paths)} clips, {sum(seconds) / 3600:.3f} hours, {len({i.person for i in infos})} people</h1>",
        make_waterfall_table(pieces),
        histogram_chart("length", seconds, "s"),
        histogram_chart("mean head speed", speeds, "rad/s"),
        histogram_chart("how far the mouth opens", openings, "of the face's height"),
        histogram_chart("offset of the sound", list_measurements("sync_offset_frames", infos), "frames"),
        histogram_chart("size of the face", list_measurements("face_pixels", infos), "pixels"),
        histogram_chart("how far the head is turned", list_measurements("rotation_degrees", infos), "degrees"),
        histogram_chart("sharpness", list_measurements("sharpness", infos), "1/pixel²"),
        histogram_chart(
            f"music ({separated} clips with vocals apart)", list_measurements("music_ratio", infos), "of the energy"
        ),
        histogram_chart("time with something over the mouth", list_measurements("occluded_ratio", infos), "of all"),
        make_hours_table("license", infos),
        make_hours_table("person", infos),
        make_duplicates_table(paths, hashes),
        f'<h2>Accepted</h2><div class="sheet">{"".join(map(embed_first_frame, shown))}</div>',
        make_rejected_sheet(folders, pieces),
    ]
    write_text_atomic(out, render_page("Prepared clips", parts))


def pack_bits(values: np.ndarray) -> int:
    """Pack 64 bools into an int."""
    return int.from_bytes(np.packbits(values).tobytes())


def hash_picture(frame: np.ndarray) -> int:
    """Hash a frame (H W 3) uint8: 64 bits that tell where it grows brighter to the right."""
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return pack_bits(small[:, 1:] > small[:, :-1])


def hash_sound(wave: np.ndarray) -> int:
    """Hash a wave (S,) at SAMPLE_RATE: 64 bits that tell when it grows louder, over 65 parts of equal length."""
    level = loudness(wave, SAMPLE_RATE, HASH_BITS + 1, (HASH_BITS + 1) * SAMPLE_RATE / len(wave))
    return pack_bits(np.diff(level) > 0)


def is_duplicate(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Check whether two clips are almost the same.

    Args:
        one: Hashes of picture and sound of a clip.
        other: Hashes of another clip.

    Returns:
        True where at most MAX_DIFFERENT_BITS differ in both hashes.
    """
    return all((a ^ b).bit_count() <= MAX_DIFFERENT_BITS for a, b in zip(one, other, strict=True))


def find_duplicates(hashes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Group clips that show the same.

    Args:
        hashes: Picture and sound hash of each clip.

    Returns:
        The groups of two clips or more, as indices.
    """
    buckets, leader = defaultdict(list), list(range(len(hashes)))
    for index, (_, sound) in enumerate(hashes):
        for band, part in enumerate(sound.to_bytes(HASH_BITS // 8)):
            buckets[band, part].append(index)

    def find_leader(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for indices in buckets.values():
        for one, other in combinations(indices, 2):
            if is_duplicate(hashes[one], hashes[other]):
                low, high = sorted((find_leader(one), find_leader(other)))
                leader[high] = low
    groups = defaultdict(list)
    for index in range(len(hashes)):
        groups[find_leader(index)].append(index)
    return [group for group in groups.values() if len(group) > 1]
