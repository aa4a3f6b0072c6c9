"""emo-bench live: measure live sessions in real time."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from emo.cli.command import Parser
from emo.cli.options import face_box, integer, number, square_size
from emo.core.errors import InputError
from emo.core.files import write_text_atomic


def make_live_parser() -> Parser:
    """Return the parser of emo-bench live."""
    parser = Parser("emo-bench live", description="Measures live sessions: latency, frames a second, memory.")
    parser.add_argument("portrait", nargs="?", type=Path, help="a picture with a face (default: drawn by code)")
    parser.add_argument("sound", nargs="?", type=Path, help="what is said, repeated (default: synthesized by code)")
    parser.add_argument("--seconds", type=number(1, 36000), default=60.0, help="length of a run (default 60)")
    parser.add_argument(
        "--sessions", type=integer(1, 1000), nargs="+", default=[1], help="sessions at a time, a run each (default 1)"
    )
    parser.add_argument("--block-frames", type=integer(1, 100), default=2, help="frames made at once (default 2)")
    parser.add_argument("--model", default="mini", help="folder or Hub id (default mini)")
    parser.add_argument("--device", help="cpu, cuda, mps, ... (default: the best available)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--size", type=square_size, help="pixels of the animated square (default: the model's)")
    parser.add_argument("--fps", type=number(1, 120), default=25.0, help="frames per second (default 25)")
    parser.add_argument("--face", type=face_box, help="x0,y0,x1,y1 in pixels, forehead to chin, or full")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench_live.json"), help="(default bench_live.json)")
    return parser


def bench_live(args: argparse.Namespace) -> None:
    """Measure every number of sessions, print the results and write them as JSON.

    Args:
        args: Arguments of `make_live_parser`.

    Raises:
        InputError: The folder of the output does not exist, or an input can't be used.
    """
    if not args.output.parent.is_dir():
        raise InputError(f"there is no folder {args.output.parent}: choose another -o")

    from diffusers.utils import logging

    from emo.hub.resolve import load_pipeline
    from emo.media.audio import read_audio
    from emo.media.image import read_image
    from emo.metrics.live_speed import measure_sessions

    logging.disable_progress_bar()
    pipeline = load_pipeline(args.model, args.device, args.dtype)
    rate = pipeline.audio_encoder.sample_rate
    image = draw_sample() if args.portrait is None else read_image(args.portrait)
    wave = synthesize_sample(rate) if args.sound is None else read_audio(args.sound, rate)
    options = {"block_frames": args.block_frames, "size": args.size, "fps": args.fps, "face": args.face}
    measure_sessions(pipeline, image, wave, 1.0, 1, **options)  # first calls are slower
    results = []
    for sessions in args.sessions:
        results.append(measure_sessions(pipeline, image, wave, args.seconds, sessions, **options))
        print(results[-1])
    write_text_atomic(args.output, json.dumps([asdict(result) for result in results], indent=1) + "\n")
    print(args.output)


def draw_sample():
    """Draw the sample portrait: (H W 3) uint8."""
    from emo.synthetic.sample_portrait import paint_portrait

    return paint_portrait()


def synthesize_sample(sample_rate: int):
    """Synthesize the sample song: (S,) float32 at a rate."""
    import numpy as np
    import soxr

    from emo.synthetic.sample_song import SAMPLE_RATE_HZ, synthesize_song

    return soxr.resample(synthesize_song(), SAMPLE_RATE_HZ, sample_rate).astype(np.float32)
