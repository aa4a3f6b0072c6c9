"""emo-infer: a portrait and a sound in, a video as long as the sound out."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from emo.cli.main import Parser, run
from emo.core.errors import InputError

SILENCE = 1e-4  # of full scale


def face(text: str) -> tuple[float, float, float, float] | str:
    """x0,y0,x1,y1 or full."""
    if text == "full":
        return text
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither x0,y0,x1,y1 nor full") from error
    if not (-1e6 < x0 < x1 < 1e6 and -1e6 < y0 < y1 < 1e6):
        raise argparse.ArgumentTypeError(f"{text} is no box: x1 must lie right of x0 and y1 under y0")
    return x0, y0, x1, y1


def number(low: float, high: float):
    """A float from low to high, for argparse."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return parse


def whole(low: int, high: int):
    """An int from low to high, for argparse."""

    def parse(text: str) -> int:
        return int(number(low, high)(str(int(text))))

    return parse


def square(text: str) -> int:
    """A side of the animated square."""
    pixels = whole(64, 2048)(text)
    if pixels % 64:
        raise argparse.ArgumentTypeError(f"{text} is no multiple of 64")
    return pixels


def parser() -> Parser:
    out = Parser("emo-infer", description="Makes a portrait talk or sing.")
    out.add_argument("portrait", type=Path, help="a picture with a face: PNG, JPEG, WebP, ...")
    out.add_argument("sound", type=Path, help="speech or song: WAV, MP3, M4A, FLAC, OGG, or a video's sound")
    out.add_argument("-o", "--output", type=Path, help="an .mp4 file (default: PORTRAIT_SOUND.mp4 here)")
    out.add_argument("--model", default="mini", help="folder or Hub id, see emo-models (default: mini, built in)")
    out.add_argument("--revision", help="of a model of the Hub: a branch, tag or commit")
    out.add_argument("--lora", help="adapters of emo-train for the model: a folder or Hub id")
    out.add_argument("--fps", type=number(1, 120), default=25.0, help="frames per second (default 25)")
    out.add_argument("--steps", type=whole(1, 1000), help="denoising steps per window (default: the model's)")
    out.add_argument(
        "--guidance",
        type=number(0, 20),
        help="how strongly to follow the sound; 1: off (default: the model's)",
    )
    out.add_argument(
        "--speed",
        type=number(0.1, 1.5),
        help="head speed, rad/s: 0.1 to 1.0 speech, to 1.5 song (default: free)",
    )
    out.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, help="same seed, same frames (default 0)")
    out.add_argument("--size", type=square, help="pixels of the animated square, 64, 128, ... (default: the model's)")
    out.add_argument("--device", help="cpu, cuda, mps, ... (default: the best there is)")
    out.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="(default float32)")
    out.add_argument("--face", type=face, help="x0,y0,x1,y1 in pixels, forehead to chin, or full: don't search")
    out.add_argument("--crop", action="store_true", help="only the animated square, not the whole picture")
    out.add_argument(
        "--arcface", help="weights that tell whose face it is, for models that know faces (see emo-convert)"
    )
    out.add_argument("--start", type=number(0, 1e6), default=0.0, help="begin here in the sound, seconds")
    out.add_argument("--duration", type=number(0, 1e6), help="use so much of the sound, seconds")
    out.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return out


def listen(chunks: Iterable, name: Path) -> Iterator:
    """The chunks as they are; a word at the end if nothing was to be heard."""
    peak = 0.0
    for chunk in chunks:
        peak = max(peak, float(abs(chunk).max(initial=0.0)))
        yield chunk
    if peak < SILENCE:
        say(f"warning: {name} is silent, so the mouth stays closed")


def sound_seconds(args: argparse.Namespace) -> float:
    """How long the video gets, by the sound's own word. Raises InputError for less than a frame."""
    from emo.media.audio import past_the_end, probe_audio

    seconds = probe_audio(args.sound).seconds - args.start
    if args.start > 0 and seconds <= 0:
        raise past_the_end(args.sound, args.start)
    seconds = min(seconds, args.duration) if args.duration is not None else seconds
    if round(seconds * args.fps) < 1:
        raise InputError(f"{args.sound}: {max(0, seconds):g} s of sound make no frame at {args.fps:g} fps; give more")
    return seconds


def whose(weights: str, image, landmarks):
    """ArcFace's embedding (512,) of the face with these landmarks (68 2) in (H W 3) uint8.

    Raises InputError where the landmarks are unknown, or there are no such weights.
    """
    import torch

    from emo.face.landmarks import aligned, five_points
    from emo.hub.resolve import find_weights
    from emo.models.arcface import load_arcface

    if landmarks is None:
        raise InputError("--arcface needs a face that is found: not with --face full, or a --face without one")
    net = load_arcface(find_weights(weights, "--arcface", "backbone.pth"))
    face = aligned(image.transpose(2, 0, 1), five_points(landmarks[None])[0])
    return net.embed(torch.from_numpy(face)[None].float() / 127.5 - 1)[0].numpy()


def infer(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from emo.media.audio import stream_audio
    from emo.media.image import read_image
    from emo.media.video_writer import VideoWriter

    output = args.output or Path(f"{args.portrait.stem}_{args.sound.stem}.mp4")
    image, seconds = read_image(args.portrait), sound_seconds(args)
    trim = {"start_seconds": args.start, "duration_seconds": args.duration}
    writer = VideoWriter(output, args.fps, args.sound, **trim, overwrite=args.overwrite)

    import torch
    from diffusers.utils import logging

    from emo.face.selection import locate
    from emo.hub.resolve import load_pipeline

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = locate(image, args.face, str(args.portrait))
    if found.others:
        say(f"{args.portrait} shows {found.others + 1} faces; the largest is used (choose with --face)")
    identity = None if args.arcface is None else whose(args.arcface, image, found.landmarks)
    pipeline = load_pipeline(args.model, args.device, args.dtype, args.revision, args.lora)
    with (
        writer,
        tqdm(total=round(seconds * args.fps), unit="frame", desc=output.name, dynamic_ncols=True) as bar,
    ):
        chunks = stream_audio(args.sound, pipeline.audio_encoder.sample_rate, **trim)
        frames = pipeline.stream(
            image,
            listen(chunks, args.sound),
            fps=args.fps,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            head_speed=args.speed,
            face=found,
            crop_only=args.crop,
            size=args.size,
            identity=identity,
            generator=torch.Generator().manual_seed(args.seed),
        )
        began = time.perf_counter()
        for frame in frames:
            writer.write(frame)
            bar.update()
        spent, count = time.perf_counter() - began, bar.n
    print(f"{output}: {count} frames, {spent / count:.3f} s per frame, real-time factor {spent / count * args.fps:.2f}")


def say(text: str) -> None:
    """A line above the progress bar."""
    from tqdm import tqdm

    tqdm.write(f"emo-infer: {text}", file=sys.stderr)


def main() -> None:
    run(parser(), infer)


if __name__ == "__main__":
    main()
