"""The table of a small model: mouth, sharpness, identity, motion, controls, drift and speed, of one model.

    python benchmarks/mini.py OUT --portraits FOLDER --sounds FOLDER [--model mini] [--videos 25] [--seconds 8]
        [--parts portraits,onset,speed,controls,clips,long,timing] [--clips FOLDER] [--sface FILE]

Each part makes videos in OUT/PART, which are not made again, and measures them with emo-eval's measures (our own
landmarks, not MediaPipe's), so the same command continues. OUT/mini.json has the rows and the figures of each video,
OUT/mini.md the rows as a table.

- portraits: portrait k with sound k, each list repeated to --videos
- onset: each sound after 1 s of silence, from its first loud 20 ms, on the first portrait
- speed: the first portrait, asked for four head speeds
- controls: the first portrait, asked for gaze, head pose and distance, where the model has them
- clips: real videos of --clips, from their first frame and their sound, against their true mouths
- long: one video of --long-seconds: drift
- timing: frames a second at 512 pixels, and the time to the first frame; run it on an idle machine

Identity is the cosine of SFace's embeddings where --sface names its ONNX file (face_recognition_sface_2021dec.onnx of
OpenCV's zoo, Apache-2.0). Fewer --videos and --seconds take less time.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.landmarks import five_points, mouth_opening
from emo.face.refinement import load_landmark_refiner
from emo.face.selection import load_face_detector
from emo.generation import generate
from emo.hub.resolve import load_pipeline
from emo.media.audio import read_audio
from emo.media.image import IMAGE_SUFFIXES, read_image
from emo.media.video import read_video
from emo.metrics.controls import measure_responses
from emo.metrics.registry import EvaluationOptions, list_measures, measure_tracks
from emo.metrics.runner import list_videos
from emo.metrics.single_pass import EvaluationPass, VideoGroup
from emo.metrics.stability import drift_per_minute
from emo.metrics.sync import compare_openings
from emo.metrics.tracks import VideoTracks
from emo.pipelines.control_files import COLUMNS
from emo.pipelines.controls import find_spec

PARTS = ("portraits", "onset", "speed", "controls", "clips", "long", "timing")
SPEEDS = (0.1, 0.4, 0.8, 1.2)  # rad/s
ASKED = [  # columns of a controls file, degrees
    {"gaze_yaw": 20, "gaze_pitch": 0},
    {"gaze_yaw": -20, "gaze_pitch": 0},
    {"gaze_yaw": 0, "gaze_pitch": 12},
    {"gaze_yaw": 0, "gaze_pitch": -12},
    {"pose_yaw": 15, "pose_pitch": 0, "pose_roll": 0},
    {"pose_yaw": -15, "pose_pitch": 0, "pose_roll": 0},
    {"pose_yaw": 0, "pose_pitch": 10, "pose_roll": 0},
    {"pose_yaw": 0, "pose_pitch": 0, "pose_roll": 10},
    {"distance": 0.85},
    {"distance": 1.2},
]
LOUD = 0.03  # of full scale, from which on 20 ms are loud
IDENTITY_STRIDE = 5  # frames between those whose identity is measured
MEASURES = list_measures(EvaluationOptions(portraits=Path("portraits"), asked=Path("asked")))


@dataclass
class Job:
    """One video to make.

    Attributes:
        name: PORTRAIT__SOUND, also with what was asked.
        picture: The portrait.
        sound: A file, or (S,) samples at SAMPLE_RATE.
        asked: Columns of a controls file.
    """

    name: str
    picture: Path
    sound: Path | np.ndarray
    asked: dict[str, float] = field(default_factory=dict)


@dataclass
class Result:
    """A video that was made: its job, tracks and figures."""

    job: Job
    video: Path
    tracks: VideoTracks
    figures: dict[str, float]


Row = dict[str, Any]  # measure, value, bar, goal


def list_files(folder: Path, keep: Callable[[Path], bool]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if keep(path))


def cut_lead(sound: Path, seconds: float) -> np.ndarray:
    """A second of silence, then the sound from its first loud 20 ms on."""
    wave = read_audio(sound, SAMPLE_RATE)
    blocks = wave[: len(wave) // 320 * 320].reshape(-1, 320)
    start = int(np.argmax(np.sqrt((blocks**2).mean(1)) > LOUD)) * 320
    return np.concatenate([np.zeros(SAMPLE_RATE, np.float32), wave[start:]])[: round(seconds * SAMPLE_RATE)]


def list_jobs(part: str, args: argparse.Namespace, conditions: set[str]) -> Iterator[Job]:
    """The videos of a part."""
    pictures = list_files(args.portraits, lambda p: p.suffix.lower() in IMAGE_SUFFIXES)
    sounds = list_files(args.sounds, lambda p: p.suffix.lower() in (".wav", ".flac", ".mp3", ".ogg", ".m4a"))
    first, sound = pictures[0], sounds[0]
    if part == "portraits":
        for k in range(args.videos):
            one, other = pictures[k % len(pictures)], sounds[k % len(sounds)]
            yield Job(f"{one.stem}__{other.stem}", one, other)
    elif part == "onset":
        for one in sounds:
            yield Job(f"{first.stem}__{one.stem}", first, cut_lead(one, max(3.0, args.seconds)))
    elif part == "speed" and "head_speed" in conditions:
        for speed in SPEEDS:
            yield Job(f"{first.stem}__speed_{speed:g}", first, sound, {"speed": speed})
    elif part == "controls":
        for columns in ASKED:
            if {find_spec(COLUMNS[name].control).name for name in columns} <= conditions:
                told = "_".join(f"{name}_{value:g}" for name, value in columns.items())
                yield Job(f"{first.stem}__{told}", first, sound, columns)
    elif part == "clips" and args.clips:
        for video in list_videos(args.clips)[: args.videos]:
            picture = args.out / "clips" / "portraits" / f"{video.stem}.png"
            if not picture.exists():
                picture.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(next(read_video(video))).save(picture)
            yield Job(video.stem, picture, video)
    elif part == "long":
        wave = np.resize(read_audio(sound, SAMPLE_RATE), round(args.long_seconds * SAMPLE_RATE))
        yield Job(f"{first.stem}__{args.long_seconds:g}s", first, wave)


def make_video(job: Job, folder: Path, args: argparse.Namespace, pipeline) -> Path:
    """Make a video and the file that says what was asked; an existing video is not made again."""
    video = folder / f"{job.name}.mp4"
    if not video.exists():
        seconds = None if isinstance(job.sound, np.ndarray) else args.seconds
        asked = folder / "asked" / f"{job.name}.json"
        if job.asked:
            asked.parent.mkdir(exist_ok=True)
            asked.write_text(json.dumps(job.asked))
        began = time.perf_counter()
        controls = asked if job.asked else None
        generate(job.picture, job.sound, video, pipeline=pipeline, duration_seconds=seconds, controls=controls)
        print(f"{video}: {time.perf_counter() - began:.0f} s", flush=True)
    return video


def measure(jobs: list[Job], folder: Path, args: argparse.Namespace, pipeline) -> list[Result]:
    """Make and measure the videos of a part."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for job in jobs:
        video = make_video(job, folder, args, pipeline)
        asked = {video: folder / "asked" / f"{job.name}.json"} if job.asked else {}
        work = EvaluationPass(args.out / "tracks", portraits={video: job.picture}, asked=asked)
        tracks = work(VideoGroup((video,)))[video].load()
        results.append(Result(job, video, tracks, measure_tracks(tracks, MEASURES)))
        print(f"{video}: measured", flush=True)
    return results


def column(results: list[Result], name: str) -> np.ndarray:
    """(N,) figures of a measure, those that could be measured."""
    values = np.array([result.figures[name] for result in results])
    return values[np.isfinite(values)]


def make_row(measure: str, values: np.ndarray | dict[str, float], bar: str, goal: str) -> Row:
    """A row of the table: the mean of values, or several named figures."""
    if not isinstance(values, dict):
        values = {"mean": float(values.mean())} if len(values) else {}
    return {"measure": measure, "value": values, "bar": bar, "goal": goal}


def quantiles(values: np.ndarray, **names: float) -> dict[str, float]:
    return {name: float(np.quantile(values, share)) for name, share in names.items()} if len(values) else {}


def rows_of_portraits(results: list[Result], args: argparse.Namespace) -> Iterator[Row]:
    opening = column(results, "opening_amplitude")
    yield make_row("mouth against loudness, r", column(results, "mouth_voice_r"), "0.50", "0.55")
    worst = quantiles(opening, worst=0.0, median=0.5)
    yield make_row("opening, 95th percentile over face height", worst, "0.02; 0.05", "0.03; 0.06")
    yield make_row("opening in silence over that in speech", column(results, "silence_spread"), "0.25", "0.15")
    yield make_row("mean opening in silence over that in speech", column(results, "silence_opening"), "", "")
    mouth = column(results, "open_mouth_sharpness")
    measured = quantiles(mouth, median=0.5) | {"videos": len(mouth)}
    yield make_row("sharpness of the open mouth over the portrait's", measured, "0.7", "0.9")
    head = quantiles(column(results, "head_sharpness"), worst=0.0, median=0.5)
    yield make_row("sharpness of face and hair over the portrait's", head, "0.9", "0.97")
    yield make_row("blinks a minute", column(results, "blinks"), "8 to 30", "10 to 20")
    yield make_row("head speed, rad/s", column(results, "head_speed"), "", "")
    if args.sface:
        yield make_row("identity cosine (SFace)", measure_identities(results, args.sface), "0.80; 0.6", "0.9; 0.75")


def rows_of_onset(results: list[Result], args: argparse.Namespace) -> Iterator[Row]:
    early = quantiles(column(results, "early_opening"), least=0.0, largest=1.0)
    yield make_row("opening more than 100 ms before the voice, share of the speech's", early, "0.2", "0.05")
    yield make_row("onset lead, ms", quantiles(column(results, "onset_lead"), least=0.0, largest=1.0), "", "")


def rows_of_speed(results: list[Result], args: argparse.Namespace) -> Iterator[Row]:
    measured = {f"asked {r.job.asked['speed']:g}": r.figures["head_speed"] for r in results}
    response = {name: figure.mean for name, figure in measure_responses(r.tracks for r in results).items()}
    yield make_row("head speed, rad/s", measured | response, "rising, each step >= 1.3x", "r >= 0.95")


def rows_of_controls(results: list[Result], args: argparse.Namespace) -> Iterator[Row]:
    bars = {"gaze": ("8 degrees", "5"), "pose": ("6 degrees", "3"), "distance": ("10 %", "5 %")}
    responses = {name: figure.mean for name, figure in measure_responses(r.tracks for r in results).items()}
    for name, (bar, goal) in bars.items():
        errors = column(results, f"{name}_error")
        own = {key: value for key, value in responses.items() if key.startswith(name)}
        yield make_row(f"{name} error", ({"mean": float(errors.mean())} | own) if len(errors) else {}, bar, goal)


def rows_of_clips(results: list[Result], args: argparse.Namespace) -> Iterator[Row]:
    agreements = []
    for result in results:
        real = EvaluationPass(args.out / "tracks")(VideoGroup((result.job.sound,)))[result.job.sound].load()
        count = min(len(real.landmarks), len(result.tracks.landmarks))
        made, true = (mouth_opening(t.landmarks[:count]) for t in (result.tracks, real))
        agreements.append(compare_openings(made, true))
    figures = {name: float(np.mean([getattr(a, name) for a in agreements])) for name in ("correlation", "amplitude")}
    yield make_row("mouth against the true mouth, talkers held out", figures, "0.62; 0.8 to 1.25", "0.7; 0.85 to 1.15")


def rows_of_long(results: list[Result], args: argparse.Namespace) -> Iterator[Row]:
    minutes = args.long_seconds / 60
    (result,) = results
    drift = {
        "sharpness_%": result.figures["sharpness_drift"] * minutes,
        "color_dE": result.figures["color_drift"] * minutes,
        "pose_degrees": result.figures["pose_drift"] * minutes,
        "lightness": float(drift_per_minute(result.tracks.color[:, 0])) * minutes,
    }
    yield make_row(f"drift over {args.long_seconds:g} s", drift, "< 5 %", "< 2 %")


def measure_identities(results: list[Result], sface: Path) -> dict[str, float]:
    """The mean and the worst cosine of SFace's embeddings of frames to the portrait's."""
    net = cv2.FaceRecognizerSF.create(str(sface), "")

    def embed(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        face = np.concatenate([np.zeros(4), five_points(landmarks[None])[0].ravel(), [1]]).astype(np.float32)
        found = net.feature(net.alignCrop(np.ascontiguousarray(picture[..., ::-1]), face[None])).ravel()
        return found / np.linalg.norm(found)

    means, worst = [], []
    for result in results:
        picture = read_image(result.job.picture)
        points = np.asarray(load_face_detector().detect(picture)[0].landmarks)[None].astype(np.float64)
        person = embed(picture, load_landmark_refiner().refine(picture, points)[0].landmarks)
        frames = zip(read_video(result.video, FPS), result.tracks.landmarks, strict=False)
        cosines = [float(embed(frame, points) @ person) for frame, points in islice(frames, 0, None, IDENTITY_STRIDE)]
        means.append(float(np.mean(cosines)))
        worst.append(min(cosines))
    return {"mean": float(np.mean(means)), "worst frame": min(worst)}


def rows_of_timing(args: argparse.Namespace, pipeline) -> Iterator[Row]:
    """Speed at 512 pixels, after a first call that loads everything."""
    job = next(list_jobs("portraits", args, set()))
    picture = cv2.resize(read_image(job.picture), (512, 512), interpolation=cv2.INTER_AREA)
    wave = read_audio(job.sound, SAMPLE_RATE, 0.0, args.seconds)
    next(iter(pipeline.stream(picture, wave)))
    began = time.perf_counter()
    frames = iter(pipeline.stream(picture, wave))
    next(frames)
    first = time.perf_counter() - began
    count = 1 + sum(1 for _ in frames)
    figures = {"frames a second": count / (time.perf_counter() - began), "first frame, s": first}
    yield make_row("speed at 512 px", figures, "25; 0.5", "40; 0.17")


def to_markdown(model: str, rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [f"| measure | {model} | bar | goal |", "|---|---|---|---|"]
    for row in rows:
        value = row["value"]
        text = "; ".join(f"{v:.3g}" if name == "mean" else f"{name} {v:.3g}" for name, v in value.items()) or "–"
        lines.append(f"| {row['measure']} | {text} | {row['bar']} | {row['goal']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--videos", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--parts", default="portraits,onset,speed,controls,clips,timing")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--long-seconds", type=float, default=600.0)
    parser.add_argument("--sface", type=Path)
    args = parser.parse_args()
    (args.out / "tracks").mkdir(parents=True, exist_ok=True)
    pipeline = load_pipeline(args.model)
    conditions = {spec.name for spec in pipeline.model.conditions}
    rows, figures = [], {}
    for part in args.parts.split(","):
        if part not in PARTS:
            parser.error(f"--parts: {part} is none of {', '.join(PARTS)}")
        if part == "timing":
            rows += rows_of_timing(args, pipeline)
            continue
        results = measure([*list_jobs(part, args, conditions)], args.out / part, args, pipeline)
        if results:
            rows += globals()[f"rows_of_{part}"](results, args)
        figures[part] = {r.job.name: {k: v if np.isfinite(v) else None for k, v in r.figures.items()} for r in results}
        settings = {"model": args.model, "seconds": args.seconds, "videos": args.videos}
        content = settings | {"rows": rows, "figures": figures}
        (args.out / "mini.json").write_text(json.dumps(content, indent=1, ensure_ascii=False))
        (args.out / "mini.md").write_text(to_markdown(args.model, rows))
    (args.out / "mini.md").write_text(to_markdown(args.model, rows))
    print(to_markdown(args.model, rows))


if __name__ == "__main__":
    main()
