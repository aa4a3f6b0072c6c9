"""Measure the mouth of a model: on portraits it was not trained on, and against real clips.

    python benchmarks/mouth.py portraits MODEL OUT --portraits P [P ...] --sounds S [S ...]
    python benchmarks/mouth.py clips MODEL OUT --videos V [V ...]
    python benchmarks/mouth.py borders MODEL OUT --portraits P [P ...] --sounds S [S ...]
    python -m emo.preparation.labels OUT OUT/labels          # in MediaPipe's own environment
    python benchmarks/mouth.py report OUT [--true LABELS]

`portraits` makes OUT/PORTRAIT__SOUND.mp4, `clips` makes OUT/VIDEO.mp4 from a video's first frame and its own sound,
and OUT/VIDEO__shifted.mp4 from the same sound 12 frames late. Landmarks are MediaPipe's, not ours. `borders` writes
a line of OUT/borders.txt for each portrait and sound.
"""

import argparse
import itertools
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from emo.core.timing import SAMPLE_RATE
from emo.face.landmarks import MEDIAPIPE_TO_IBUG, mouth_opening
from emo.generation import generate
from emo.hub.resolve import load_pipeline
from emo.media.audio import loudness, read_audio
from emo.media.image import read_image
from emo.media.video import probe_video, read_video
from emo.metrics.stability import border_jump_ratio, frame_differences
from emo.metrics.sync import compare_openings, measure_mouth_audio_sync
from emo.preparation.clips import load_mesh

SHIFT_SECONDS, MAX_SECONDS = 12 / 25, 8.0


def write_square(path: Path, pipeline, picture: np.ndarray, wave: np.ndarray, fps: float, steps: int | None) -> None:
    """Writes a video of the animated square, unless it exists."""
    if not path.exists():
        options = {"fps": fps, "crop_only": True, "num_inference_steps": steps, "preset": "dataset"}
        generate(picture, wave, path, pipeline=pipeline, **options)


def make_portraits(args: argparse.Namespace) -> None:
    pipeline = load_pipeline(args.model)
    for picture in args.portraits:
        for sound in args.sounds:
            wave = read_audio(sound, SAMPLE_RATE, 0.0, MAX_SECONDS)
            out = args.out / f"{picture.stem}__{sound.stem}.mp4"
            write_square(out, pipeline, read_image(picture), wave, 25.0, args.steps)
            np.save(out.with_suffix(".npy"), wave)


def make_clips(args: argparse.Namespace) -> None:
    pipeline = load_pipeline(args.model)
    for video in args.videos:
        wave, fps = read_audio(video, SAMPLE_RATE), probe_video(video).fps
        late = np.concatenate([np.zeros(round(SHIFT_SECONDS * SAMPLE_RATE), np.float32), wave])[: len(wave)]
        picture = next(read_video(video))
        write_square(args.out / f"{video.stem}.mp4", pipeline, picture, wave, fps, args.steps)
        write_square(args.out / f"{video.stem}__shifted.mp4", pipeline, picture, late, fps, args.steps)


def measure_borders(args: argparse.Namespace) -> None:
    pipeline = load_pipeline(args.model)
    advance = pipeline.model.config.num_frames - pipeline.config.overlap_frames
    for picture, sound in itertools.product(args.portraits, args.sounds):
        image, wave = read_image(picture), read_audio(sound, SAMPLE_RATE, 0.0, MAX_SECONDS)
        runs = {}
        for late in range(advance):
            sound_part, generator = wave[late * SAMPLE_RATE // 25 :], torch.Generator().manual_seed(0)
            frames = pipeline.stream(
                image, sound_part, crop_only=True, generator=generator, num_inference_steps=args.steps
            )
            runs[late] = frame_differences(frames)
        line = f"{picture.stem:40} {sound.stem:40} {border_jump_ratio(runs, advance):.2f}"
        print(line, flush=True)
        with (args.out / "borders.txt").open("a") as file:
            file.write(f"{line}\n")


def opening_of(labels: Path) -> np.ndarray:
    """(T,) from a file of emo.preparation.labels."""
    return mouth_opening(load_mesh(labels)[:, MEDIAPIPE_TO_IBUG, :2])


def report_clips(videos: list[Path], labels: Path, truth: Path) -> None:
    rows = []
    for video in videos:
        made, shifted, true = (
            opening_of(folder / f"{video.stem}{suffix}.safetensors")
            for folder, suffix in ((labels, ""), (labels, "__shifted"), (truth, ""))
        )
        count = min(len(made), len(true))
        own, other = compare_openings(made[:count], true[:count]), compare_openings(shifted[:count], true[:count])
        rows.append((own.correlation, other.correlation, own.amplitude))
        late = f"sound 12 frames late {other.correlation:.2f}"
        print(f"{video.stem:40} r {own.correlation:.2f}  {late}  amplitude {own.amplitude:.2f}")
    print("mean: r {:.3f}  late {:.3f}  amplitude {:.2f}".format(*np.mean(rows, axis=0)), f"({len(rows)} clips)")


def report(args: argparse.Namespace) -> None:
    videos = sorted(p for p in args.out.glob("*.mp4") if not p.stem.endswith("__shifted"))
    if args.true:
        return report_clips(videos, args.out / "labels", args.true)
    rows = []
    for video in videos:
        made = opening_of(args.out / "labels" / f"{video.stem}.safetensors")
        found = measure_mouth_audio_sync(
            made, loudness(np.load(video.with_suffix(".npy")), SAMPLE_RATE, len(made), 25.0)
        )
        rows.append(astuple(found))
        print(f"{video.stem:64}", "r {:.2f}  lag {:+d}  silence {:.2f}".format(*rows[-1]))
    mean = "mean: r {:.3f}  lag {:+.2f}  silence {:.2f}".format(*np.nanmean(rows, axis=0))
    print(mean, f"({len(rows)} videos)")


KINDS = {"portraits": make_portraits, "clips": make_clips, "borders": measure_borders, "report": report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, function in KINDS.items():
        kind = kinds.add_parser(name)
        kind.set_defaults(function=function)
        if function is not report:
            kind.add_argument("model")
            kind.add_argument("--steps", type=int)
        kind.add_argument("out", type=Path)
    for name in ("portraits", "borders"):
        kinds.choices[name].add_argument("--portraits", type=Path, nargs="+", required=True)
        kinds.choices[name].add_argument("--sounds", type=Path, nargs="+", required=True)
    kinds.choices["clips"].add_argument("--videos", type=Path, nargs="+", required=True)
    kinds.choices["report"].add_argument("--true", type=Path, help="labels of the real clips")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.function(args)


if __name__ == "__main__":
    main()
