"""Folders of videos -> all that is written about them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from emo.errors import InputError
from emo.evaluation.controls import frozen, with_sound_of
from emo.evaluation.gallery import Shown, extremes, to_html
from emo.evaluation.measures import Asked, Measure, measure_tracks, measures
from emo.evaluation.report import Report, to_card, to_json, to_markdown, write_whole
from emo.evaluation.score import score_set
from emo.evaluation.watch import Watch, list_videos, load_tracks, make_folder

Each = Callable[[Callable[[Path], Path], list[Path]], Iterable[tuple[Path, Path]]]  # as emo.data.parallel.each


def evaluate(folders: list[Path], reference: Path, out: Path, asked: Asked, each: Each) -> Report:
    """Measures the videos of some folders and of real footage; into `out` come report.json, table.md, card.md,
    report.html, and tracks/, from which the same command goes on.

    Raises InputError: a folder without videos, two folders of one name, a video that can't be read, no space.
    """
    videos = {folder.resolve().name: list_videos(folder) for folder in [*folders, reference]}
    if len(videos) < len(folders) + 1:
        raise InputError(f"two of the folders have one name ({', '.join(map(str, videos))}): rename one")
    kept = make_folder(out / "tracks")
    found = dict(each(Watch(kept, asked.syncnet), [video for those in videos.values() for video in those]))
    report = compare(videos, found, reference.resolve().name, asked)
    shown = shown_of(report, videos, found)
    texts = {"report.json": to_json(report), "table.md": to_markdown(report), "card.md": to_card(report)}
    for name, text in (texts | {"report.html": to_html(report, shown)}).items():
        write_whole(out / name, text)
    return report


def compare(videos: dict[str, list[Path]], found: dict[Path, Path], real: str, asked: Asked) -> Report:
    """videos of each set, the file of each one's tracks, and which set is `real`."""
    those = measures(asked)
    values = {name: table_of(paths, found, those) for name, paths in videos.items()}
    scored = {
        name: score_set(name, [path.stem for path in paths], values[name], values[real], those)
        for name, paths in videos.items()
    }
    reference = scored.pop(real)
    for name, rows in control_tables(videos[real], found, those).items() if asked.controls else ():
        scored[name] = score_set(name, reference.clips, rows, values[real], those)
    return Report(those, reference, list(scored.values()), asked)


def control_tables(paths: list[Path], found: dict[Path, Path], those: list[Measure]) -> dict[str, np.ndarray]:
    """(N M) figures of the real videos with their picture frozen, and of each with the next one's sound."""
    tracks = [load_tracks(found[path]) for path in paths]
    controls = {
        "frozen picture": map(frozen, tracks),
        "another's sound": map(with_sound_of, tracks, tracks[1:] + tracks[:1]),
    }
    return {
        name: np.array([list(measure_tracks(one, those).values()) for one in changed])
        for name, changed in controls.items()
    }


def shown_of(report: Report, videos: dict[str, list[Path]], found: dict[Path, Path]) -> dict[str, dict[int, Shown]]:
    """Of each set the clips of `extremes`, by their numbers."""
    ends = {
        one.name: [k for pair in extremes(one.clip_scores) for k in pair] for one in report.sets if one.name in videos
    }
    paths = {name: {k: videos[name][k] for k in numbers} for name, numbers in ends.items()}
    return {name: {k: Shown(p, load_tracks(found[p])) for k, p in those.items()} for name, those in paths.items()}


def table_of(paths: list[Path], found: dict[Path, Path], those: list[Measure]) -> np.ndarray:
    """(N M) figures of the videos; tracks are held one at a time."""
    return np.array([list(measure_tracks(load_tracks(found[path]), those).values()) for path in paths])
