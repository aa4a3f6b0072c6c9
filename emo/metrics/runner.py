"""Folders of videos -> all that is written about them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import content_name, load_arrays, write_whole
from emo.metrics.distances import set_distance
from emo.metrics.faults import frozen, with_sound_of
from emo.metrics.features import LookAgain, LookAtBoth, load_features
from emo.metrics.gallery import Shown, extremes, to_html
from emo.metrics.networks import NETWORKS, look_of
from emo.metrics.registry import Asked, Measure, measure_tracks, measures
from emo.metrics.report import Report, to_card, to_json, to_markdown
from emo.metrics.score import Figure, score_set
from emo.metrics.tracks import Tracks, Watch, list_videos, load_tracks, make_folder

Each = Callable[[Callable[[Path], Path], list[Path]], Iterable[tuple[Path, Path]]]  # as emo.core.parallel.each


@dataclass
class Known:
    """The files of what was seen of each video."""

    tracks: dict[Path, Path]
    features: dict[str, dict[Path, Path]]  # by the networks' options
    nearness: dict[Path, Path]  # of those that have a truth

    def clip(self, video: Path) -> Tracks:
        """All of a video."""
        faces, near = self.features.get("arcface", {}).get(video), self.nearness.get(video)
        more = {"faces": load_features(faces)} if faces else {}
        more |= {"nearness": load_arrays(near)["nearness"]} if near else {}
        return replace(load_tracks(self.tracks[video]), **more)


def evaluate(folders: list[Path], reference: Path, out: Path, asked: Asked, each: Each) -> Report:
    """Measures the videos of some folders and of real footage; into `out` come report.json, table.md, card.md,
    report.html, and tracks/, from which the same command goes on.

    Raises InputError: a folder without videos, two folders of one name, a video that can't be read, weights that can't,
    no space.
    """
    videos = {folder.resolve().name: list_videos(folder) for folder in [*folders, reference]}
    if len(videos) < len(folders) + 1:
        raise InputError(f"two of the folders have one name ({', '.join(map(str, videos))}): rename one")
    for option, weights in asked.networks.items():
        look_of(option, weights)  # what is wrong with them is said at once
    truths = truths_of(videos, reference.resolve().name) if asked.reconstruction else {}
    known = look_at(videos, truths, make_folder(out / "tracks"), asked, each)
    report = compare(videos, known, reference.resolve().name, asked)
    shown = shown_of(report, videos, known)
    texts = {"report.json": to_json(report), "table.md": to_markdown(report), "card.md": to_card(report)}
    for name, text in (texts | {"report.html": to_html(report, shown)}).items():
        write_whole(out / name, text)
    return report


def look_at(videos: dict[str, list[Path]], truths: dict[Path, Path], kept: Path, asked: Asked, each: Each) -> Known:
    """All videos once, once more for each network, which needs to know where the face is, and those that have a truth
    beside it."""
    every = [video for those in videos.values() for video in those]
    names = {option: content_name(weights) for option, weights in asked.networks.items()}
    tracks = dict(each(Watch(kept, asked.syncnet), every))
    features = {
        option: dict(each(LookAgain(kept, tracks, option, weights, names[option]), every))
        for option, weights in asked.networks.items()
        if option != "lpips"
    }
    look = LookAtBoth(kept, truths, asked.networks.get("lpips"), names.get("lpips", ""))
    nearness = dict(each(look, list(truths)))
    return Known(tracks, features, nearness)


def truths_of(videos: dict[str, list[Path]], real: str) -> dict[Path, Path]:
    """The real video of each made one of its name. Raises InputError where there is none at all."""
    named = {path.stem: path for path in videos[real]}
    made = [path for name, paths in videos.items() if name != real for path in paths]
    found = {path: named[path.stem] for path in made if path.stem in named}
    if not found:
        raise InputError(f"--reconstruction: no video has the name of one in {real}: rename them as their truths")
    return found


def compare(videos: dict[str, list[Path]], known: Known, real: str, asked: Asked) -> Report:
    """videos of each set, what is known of them, and which set is `real`."""
    those = measures(asked)
    values = {name: table_of(map(known.clip, paths), those) for name, paths in videos.items()}
    scored = {
        name: score_set(name, [path.stem for path in paths], values[name], values[real], those)
        for name, paths in videos.items()
    }
    reference = scored.pop(real)
    for name, one in scored.items():
        one.distances = distances_of(videos[name], videos[real], known)
    for name, clips in control_clips(videos[real], known).items() if asked.controls else ():
        scored[name] = score_set(name, reference.clips, table_of(clips, those), values[real], those)
    return Report(those, reference, list(scored.values()), asked)


def distances_of(made: list[Path], real: list[Path], known: Known) -> dict[str, Figure]:
    """FID and the like, of the networks that were asked."""
    return {
        NETWORKS[option].adds: set_distance([files[path] for path in made], [files[path] for path in real])
        for option, files in known.features.items()
        if NETWORKS[option].distance
    }


def control_clips(paths: list[Path], known: Known) -> dict[str, Iterable[Tracks]]:
    """The real videos with their picture frozen, and each with the next one's sound."""
    tracks = [known.clip(path) for path in paths]
    return {
        "frozen picture": map(frozen, tracks),
        "another's sound": map(with_sound_of, tracks, tracks[1:] + tracks[:1]),
    }


def shown_of(report: Report, videos: dict[str, list[Path]], known: Known) -> dict[str, dict[int, Shown]]:
    """Of each set the clips of `extremes`, by their numbers."""
    ends = {
        one.name: [k for pair in extremes(one.clip_scores) for k in pair] for one in report.sets if one.name in videos
    }
    paths = {name: {k: videos[name][k] for k in numbers} for name, numbers in ends.items()}
    return {
        name: {k: Shown(p, load_tracks(known.tracks[p])) for k, p in those.items()} for name, those in paths.items()
    }


def table_of(clips: Iterable[Tracks], those: list[Measure]) -> np.ndarray:
    """(N M) figures of the clips, which are held one at a time."""
    return np.array([list(measure_tracks(clip, those).values()) for clip in clips])
