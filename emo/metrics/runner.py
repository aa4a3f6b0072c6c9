"""Run an evaluation: folders of videos in, report.json, table.md, card.md, report.html and gallery.html out."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.files import hash_files, write_text_atomic
from emo.media.video import VIDEO_SUFFIXES
from emo.metrics.controls import match_controls, measure_responses
from emo.metrics.distances import compute_set_distance
from emo.metrics.faults import freeze_tracks, replace_sound
from emo.metrics.gallery import ClipView, best_and_worst, to_gallery, to_html
from emo.metrics.networks.catalog import NETWORKS, load_network
from emo.metrics.portrait import match_portraits
from emo.metrics.registry import EvaluationOptions, list_measures, measure_tracks
from emo.metrics.report import Report, to_card, to_json, to_markdown
from emo.metrics.score import Figure, Measure, score_set
from emo.metrics.single_pass import EvaluationPass, VideoFiles, VideoGroup, load_thumbnails
from emo.metrics.tracks import VideoTracks, load_tracks

MapGroups = Callable[  # such as emo.core.parallel.map_parallel
    [Callable[[VideoGroup], dict[Path, VideoFiles]], list[VideoGroup]],
    Iterable[tuple[VideoGroup, dict[Path, VideoFiles]]],
]


def evaluate(
    folders: list[Path], reference: Path | None, out: Path, options: EvaluationOptions, map_groups: MapGroups
) -> Report:
    """Measure the videos of some folders against real footage.

    Each video is decoded once for all measures. Their results are stored in `out`/tracks, from
    which the same evaluation resumes.

    Args:
        folders: Folders of generated videos.
        reference: Folder of real videos; None: figures alone are measured, without score and closeness.
        out: Folder for the results; made if it does not exist.
        options: What is measured.
        map_groups: Applies a function to each group of videos and yields each group with its result, in any order.

    Returns:
        The results, which are also written to `out`.

    Raises:
        InputError: A folder has no videos, two folders have one name, a video or weights can't be read, or what is
            measured needs real videos.
        OutputError: The results can't be written.
    """
    given = folders if reference is None else [*folders, reference]
    videos = {folder.resolve().name: list_videos(folder) for folder in given}
    if len(videos) < len(given):
        raise InputError(f"two of the folders have one name ({', '.join(map(str, videos))}): rename one")
    if reference is None:
        check_no_reference(options)
    real = None if reference is None else reference.resolve().name
    generated = [video for folder in folders for video in videos[folder.resolve().name]]
    groups = group_videos(videos, real, options.reconstruction)
    for name, weights in options.networks.items():
        load_network(name, weights)  # wrong weights are reported before anything is decoded
    weights = options.networks | ({"syncnet": options.syncnet} if options.syncnet else {})
    evaluation_pass = EvaluationPass(
        make_folder(out / "tracks"),
        options.syncnet,
        options.networks,
        {name: hash_files(path) for name, path in weights.items()},
        match_portraits(options.portraits, generated) if options.portraits else {},
        match_controls(options.asked, generated) if options.asked else {},
    )
    files = {video: found for _, result in map_groups(evaluation_pass, groups) for video, found in result.items()}
    report = build_report(videos, files, real, options)
    texts = {
        "report.json": to_json(report),
        "table.md": to_markdown(report),
        "card.md": to_card(report),
        "report.html": to_html(report, select_views(report, videos, files)),
        "gallery.html": to_gallery(report, videos, out),
    }
    for name, text in texts.items():
        write_text_atomic(out / name, text)
    return report


def check_no_reference(options: EvaluationOptions) -> None:
    """Raise InputError where something is measured that needs real videos."""
    needs = [f"{name}=True" for name in ("controls", "reconstruction") if getattr(options, name)]
    needs += [f"{name}={file}" for name, file in options.networks.items() if NETWORKS[name].is_set_distance]
    if needs:
        raise InputError(f"{needs[0]} needs real videos: give reference=FOLDER")


def list_videos(folder: Path) -> list[Path]:
    """Return the videos of a folder, sorted by name. Raises InputError where there is none."""
    videos = sorted(path for path in folder.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        problem = "holds no videos" if folder.is_dir() else "is not a folder"
        raise InputError(f"{folder} {problem}: give one with {', '.join(sorted(VIDEO_SUFFIXES))} files")
    return videos


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} can't be made ({error.strerror}): choose another -o") from error
    return folder


def group_videos(videos: dict[str, list[Path]], real: str | None, reconstruction: bool) -> list[VideoGroup]:
    """Return the videos of all sets, each in one group.

    Args:
        videos: Name of a set -> its videos.
        real: Name of the real set; None: there is none, and no reconstruction.
        reconstruction: Whether generated videos are grouped with the real one of the same name.

    Returns:
        The groups.

    Raises:
        InputError: Reconstruction is requested, and no generated video has the name of a real one.
    """
    generated = [path for name, paths in videos.items() if name != real for path in paths]
    if not reconstruction:
        return [VideoGroup((video,)) for video in [*generated, *(videos.get(real, []) if real else [])]]
    by_name = {path.stem: path for path in videos[real]}
    groups = [VideoGroup(tuple(p for p in generated if p.stem == stem), path) for stem, path in by_name.items()]
    alone = [VideoGroup((path,)) for path in generated if path.stem not in by_name]
    alone += [VideoGroup((path,)) for path in videos[real] if path not in by_name.values()]
    if not any(group.videos for group in groups):
        raise InputError(f"reconstruction=True: no video has the name of one in {real}: name them like the real ones")
    return groups + alone


def build_report(
    videos: dict[str, list[Path]], files: dict[Path, VideoFiles], real: str | None, options: EvaluationOptions
) -> Report:
    """Compute the results of all sets.

    Args:
        videos: Name of a set -> its videos.
        files: Measured files of each video.
        real: Name of the real set; None: there is none.
        options: Options of the evaluation.

    Returns:
        The report.
    """
    measures = list_measures(options)
    values = {name: measure_clips((files[path].load() for path in paths), measures) for name, paths in videos.items()}
    real_values = np.full((1, len(measures)), np.nan) if real is None else values[real]
    scores = {
        name: score_set(name, [path.stem for path in paths], values[name], real_values, measures)
        for name, paths in videos.items()
    }
    if options.asked is not None:
        for name, score in scores.items():
            score.responses = measure_responses(files[path].load() for path in videos[name])
    if real is None:
        return Report(measures, None, list(scores.values()), options)
    reference = scores.pop(real)
    for name, score in scores.items():
        score.distances = compute_distances(videos[name], videos[real], files)
    if options.controls:
        tracks = [files[path].load() for path in videos[real]]
        for name, clips in make_controls(tracks).items():
            scores[name] = score_set(name, reference.clips, measure_clips(clips, measures), values[real], measures)
    return Report(measures, reference, list(scores.values()), options)


def measure_clips(clips: Iterable[VideoTracks], measures: list[Measure]) -> np.ndarray:
    """Compute the figures of clips, of which one is in memory at a time.

    Args:
        clips: Tracks of the N clips.
        measures: The M measures.

    Returns:
        (N M), NaN where a clip has no figure.
    """
    return np.array([list(measure_tracks(clip, measures).values()) for clip in clips])


def compute_distances(generated: list[Path], real: list[Path], files: dict[Path, VideoFiles]) -> dict[str, Figure]:
    """Compute FID and the like between two sets, by the networks that were run.

    Args:
        generated: Videos of the generated set.
        real: Videos of the real set.
        files: Measured files of each video.

    Returns:
        Name of the distance -> its figure.

    Raises:
        InputError: A file of features can't be read, or a feature is not finite.
    """
    return {
        NETWORKS[name].adds: compute_set_distance(
            [files[path].features[name] for path in generated], [files[path].features[name] for path in real]
        )
        for name in files[real[0]].features
        if NETWORKS[name].is_set_distance
    }


def make_controls(tracks: list[VideoTracks]) -> dict[str, Iterable[VideoTracks]]:
    """Return the real videos with frozen pictures, and each with the sound of the next."""
    return {
        "frozen picture": map(freeze_tracks, tracks),
        "another's sound": map(replace_sound, tracks, tracks[1:] + tracks[:1]),
    }


def select_views(
    report: Report, videos: dict[str, list[Path]], files: dict[Path, VideoFiles]
) -> dict[str, dict[int, ClipView]]:
    """Load the clips that the page shows.

    Args:
        report: Results of the evaluation.
        videos: Name of a set -> its videos.
        files: Measured files of each video.

    Returns:
        Name of a set -> its clips of `best_and_worst`, by their indices.
    """
    views = {}
    for one in report.sets:
        if one.name in videos:
            numbers = [k for pair in best_and_worst(one.clip_scores) for k in pair]
            chosen = {k: files[videos[one.name][k]] for k in numbers}
            views[one.name] = {
                k: ClipView(load_tracks(f.tracks), load_thumbnails(f.thumbnails)) for k, f in chosen.items()
            }
    return views
