"""The mouth of a model, measured: on portraits it never saw, and against real clips.

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

from emo.face.landmarks import IBUG, opening
from emo.hub.resolve import load_pipeline
from emo.media.audio import loudness, read_audio
from emo.media.image import read_image
from emo.media.video import probe_video, read_video
from emo.media.video_writer import VideoWriter
from emo.metrics.stability import border_ratio, frame_differences
from emo.metrics.sync import agree, follow
from emo.preparation.clips import load_mesh

SAMPLE_RATE, SHIFT_SECONDS, LONGEST_SECONDS = 16000, 12 / 25, 8.0


def write(path: Path, pipeline, picture: np.ndarray, wave: np.ndarray, fps: float, face, steps: int | None) -> None:
    """One video of the animated square; nothing if it is there already."""
    if path.exists():
        return
    options = {"fps": fps, "face": face, "crop_only": True, "num_inference_steps": steps}
    with VideoWriter(path, fps) as video:
        for frame in pipeline.stream(picture, wave, generator=torch.Generator().manual_seed(0), **options):
            video.write(frame)


def make_portraits(args: argparse.Namespace) -> None:
    pipeline = load_pipeline(args.model)
    for picture in args.portraits:
        for sound in args.sounds:
            wave = read_audio(sound, SAMPLE_RATE, 0.0, LONGEST_SECONDS)
            out = args.out / f"{picture.stem}__{sound.stem}.mp4"
            write(out, pipeline, read_image(picture), wave, 25.0, None, args.steps)
            np.save(out.with_suffix(".npy"), wave)


def make_clips(args: argparse.Namespace) -> None:
    pipeline = load_pipeline(args.model)
    for video in args.videos:
        wave, fps = read_audio(video, SAMPLE_RATE), probe_video(video).fps
        late = np.concatenate([np.zeros(round(SHIFT_SECONDS * SAMPLE_RATE), np.float32), wave])[: len(wave)]
        picture = next(read_video(video))
        write(args.out / f"{video.stem}.mp4", pipeline, picture, wave, fps, None, args.steps)
        write(args.out / f"{video.stem}__shifted.mp4", pipeline, picture, late, fps, None, args.steps)


def measure_borders(args: argparse.Namespace) -> None:
    pipeline = load_pipeline(args.model)
    advance = pipeline.model.config.num_frames - pipeline.config.overlap_frames
    for picture, sound in itertools.product(args.portraits, args.sounds):
        image, wave = read_image(picture), read_audio(sound, SAMPLE_RATE, 0.0, LONGEST_SECONDS)
        runs = {}
        for late in range(advance):
            heard, generator = wave[late * SAMPLE_RATE // 25 :], torch.Generator().manual_seed(0)
            frames = pipeline.stream(image, heard, crop_only=True, generator=generator, num_inference_steps=args.steps)
            runs[late] = frame_differences(frames)
        line = f"{picture.stem:40} {sound.stem:40} {border_ratio(runs, advance):.2f}"
        print(line, flush=True)
        with (args.out / "borders.txt").open("a") as file:
            file.write(f"{line}\n")


def opening_of(labels: Path) -> np.ndarray:
    """(T,) from a file of emo.preparation.labels."""
    return opening(load_mesh(labels)[:, IBUG, :2])


def report_clips(videos: list[Path], labels: Path, truth: Path) -> None:
    rows = []
    for video in videos:
        made, shifted, true = (
            opening_of(folder / f"{video.stem}{suffix}.safetensors")
            for folder, suffix in ((labels, ""), (labels, "__shifted"), (truth, ""))
        )
        count = min(len(made), len(true))
        own, other = agree(made[:count], true[:count]), agree(shifted[:count], true[:count])
        rows.append((own.r, other.r, own.amplitude))
        print(f"{video.stem:40} r {own.r:.2f}  sound 12 frames late {other.r:.2f}  amplitude {own.amplitude:.2f}")
    print("mean: r {:.3f}  late {:.3f}  amplitude {:.2f}".format(*np.mean(rows, axis=0)), f"({len(rows)} clips)")


def report(args: argparse.Namespace) -> None:
    videos = sorted(p for p in args.out.glob("*.mp4") if not p.stem.endswith("__shifted"))
    if args.true:
        return report_clips(videos, args.out / "labels", args.true)
    rows = []
    for video in videos:
        made = opening_of(args.out / "labels" / f"{video.stem}.safetensors")
        found = follow(made, loudness(np.load(video.with_suffix(".npy")), SAMPLE_RATE, len(made), 25.0))
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
