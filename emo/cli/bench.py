"""emo-bench: measure the speed of generation stage by stage, and compare it with the speed of matrix products.

`emo-bench live` measures live sessions in real time.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

from emo.cli.command import Parser, run
from emo.cli.options import face_box, integer, number, square_size
from emo.core.errors import InputError
from emo.core.files import write_text_atomic
from emo.metrics.speed import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkSetting,
    StageMeter,
    make_flop_counter,
    measure_matmul_flops,
    measure_methods,
    plot_svg,
    time_ratio,
)

EPILOG = """Each run is a process of its own; the settings alternate. Stages: face detection, audio encoder, reference
(portrait, motion frames and conditions encoded), denoise, decode (latents to pictures), paste (into the portrait, and
all the rest), encode (the video). `emo-bench live` measures live sessions, see its --help."""
PCM_RATE_HZ = 16000


def make_parser() -> Parser:
    """Return the parser of emo-bench."""
    parser = Parser("emo-bench", description="Measures the speed of video generation.", epilog=EPILOG)
    parser.add_argument("portrait", type=Path, help="a picture with a face")
    parser.add_argument("sound", type=Path, help="a sound, repeated until it lasts long enough")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("bench.json"),
        help="JSON file of the results; a chart goes beside it as .svg (default bench.json)",
    )
    parser.add_argument("--model", default="mini", help="folder or Hub id (default mini)")
    parser.add_argument(
        "--seconds",
        type=number(0.1, 36000),
        nargs="+",
        default=[4.0],
        help="lengths of the sound in seconds (default 4)",
    )
    parser.add_argument(
        "--size", type=square_size, nargs="+", default=[None], help="pixels of the square, 64, 128, ..."
    )
    parser.add_argument("--steps", type=integer(1, 1000), nargs="+", default=[None], help="denoising steps per window")
    parser.add_argument("--guidance", type=number(0, 20), help="classifier-free guidance on the sound; 1: off")
    parser.add_argument("--fps", type=number(1, 120), default=25.0, help="frames per second (default 25)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument(
        "--face", type=face_box, help="x0,y0,x1,y1 in pixels, forehead to chin; full: the picture is a face crop"
    )
    parser.add_argument("--device", help="cpu, cuda, mps, ... (default: the best available)")
    parser.add_argument(
        "--vs",
        type=setting_changes,
        action="append",
        default=[],
        metavar="CHANGES",
        help="also run with NAME=VALUE,... and compare",
    )
    parser.add_argument("--repeats", type=integer(1, 1000), default=3, help="runs of each setting (default 3)")
    return parser


def setting_changes(text: str) -> str:
    """Check the value of --vs.

    Args:
        text: name=value,name=value of `BenchmarkSetting`.

    Returns:
        The text.

    Raises:
        ArgumentTypeError: A name is unknown or a value is of another kind.
    """
    try:
        BenchmarkSetting().changed(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def list_settings(args: argparse.Namespace) -> list[BenchmarkSetting]:
    """List every combination of length, size and number of steps, then the changed settings of --vs."""
    common = {name: getattr(args, name) for name in ("model", "guidance", "fps", "dtype", "device", "face")}
    grid = product(args.seconds, args.size, args.steps)
    settings = [BenchmarkSetting(seconds=seconds, size=size, steps=steps, **common) for seconds, size, steps in grid]
    return settings + [settings[0].changed(changes) for changes in args.vs]


def list_stages(pipeline) -> list[tuple[object, str, str]]:
    """List the calls of each stage for `measure_methods`; time outside of them counts as "paste"."""
    import emo.face.selection
    from emo.media.video_writer import VideoWriter

    model, vae = pipeline.model, pipeline.vae
    return [
        (emo.face.selection, "select_upright_face", "face"),
        (emo.face.selection, "is_mouth_occluded", "face"),
        (pipeline.audio_encoder, "forward", "audio"),
        (model.audio_projection, "forward", "audio"),
        (model, "encode_conditions", "reference"),
        (model, "encode_reference", "reference"),
        (vae, "encode", "reference"),
        (vae, "decode", "decode"),
        (pipeline, "denoise_window", "denoise"),
        (VideoWriter, "write", "encode"),
        (VideoWriter, "__exit__", "encode"),
    ]


def generate_measured(
    pipeline, setting: BenchmarkSetting, portrait: Path, sound: Path, output: Path, meter: StageMeter
) -> tuple[int, float]:
    """Make the video as emo-infer does and measure its stages.

    Args:
        pipeline: The loaded `EMOPipeline`.
        setting: Options of the generation.
        portrait: The picture with a face.
        sound: The sound file, as long as the video.
        output: The .mp4 to write; replaced if it exists.
        meter: Adds up the stages; its reading is in seconds, or in operations.

    Returns:
        The number of frames, and the meter's reading at the first frame minus its reading at the start.
    """
    from emo.generation import generate

    readings = []
    with measure_methods(meter, list_stages(pipeline)), meter.stage("paste"):
        readings.append(meter.read())
        result = generate(
            portrait,
            sound,
            output,
            pipeline=pipeline,
            fps=setting.fps,
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            size=setting.size,
            face=setting.face,
            overwrite=True,
            on_frame=lambda done, total: readings.append(meter.read()) if done == 1 else None,
            on_warning=lambda text: None,
        )
    return result.num_frames, readings[1] - readings[0]


def repeat_sound(sound: Path, seconds: float, output: Path) -> Path:
    """Write a WAV file of a given length in which a sound is repeated.

    Args:
        sound: The sound file.
        seconds: Length of the WAV file.
        output: The WAV file to write, at PCM_RATE_HZ.

    Returns:
        `output`.
    """
    import numpy as np

    from emo.media.audio import read_audio, write_wav

    write_wav(output, np.resize(read_audio(sound, PCM_RATE_HZ), round(seconds * PCM_RATE_HZ)), PCM_RATE_HZ)
    return output


def read_clock(device) -> float:
    """Return the time in seconds after the device has finished all work."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory_gb(device) -> float:
    """Return the peak memory so far in 10^9 bytes, of a GPU or of this process; NaN where the system does not report
    it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure_run(
    setting: BenchmarkSetting, portrait: Path, sound: Path, started_at: float, count_flops: bool
) -> BenchmarkRun:
    """Measure one run; call it in a process of its own.

    Args:
        setting: Options of the generation.
        portrait: The picture with a face.
        sound: The sound file, repeated until it lasts `setting.seconds`.
        started_at: `time.time()` when the process was started, in seconds.
        count_flops: Whether to make the video a second time and count its operations.

    Returns:
        The measured times, memory and operations.

    Raises:
        InputError: The model, the picture or the sound can't be used.
    """
    from tempfile import TemporaryDirectory

    from diffusers.utils import logging

    from emo.face.selection import load_face_detector
    from emo.hub.resolve import load_pipeline

    logging.disable_progress_bar()
    pipeline = load_pipeline(setting.model, setting.device, setting.dtype)
    load_face_detector()
    start_up, device, flops, rate = time.time() - started_at, pipeline.device, {}, 0.0
    with TemporaryDirectory() as folder:
        repeated, output = repeat_sound(sound, setting.seconds, Path(folder) / "sound.wav"), Path(folder) / "out.mp4"
        meter = StageMeter(lambda: read_clock(device))
        count, first = generate_measured(pipeline, setting, portrait, repeated, output, meter)
        peak = peak_memory_gb(device)
        if count_flops:
            with make_flop_counter() as counter:
                counted = StageMeter(counter.get_total_flops)
                generate_measured(pipeline, setting, portrait, repeated, output, counted)
            flops, rate = counted.totals, measure_matmul_flops(device, pipeline.model.dtype)
    return BenchmarkRun(count, sum(meter.totals.values()), first, start_up, peak, meter.totals, flops, rate)


def measure_in_new_process(*arguments) -> BenchmarkRun:
    """`measure_run` in a new process."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure_run, *arguments).result()


def bench(args: argparse.Namespace) -> None:
    """Measure every setting, print the results and write them as JSON and SVG.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: The folder of the output does not exist, or an input can't be used.
    """
    results = [BenchmarkResult(setting, []) for setting in list_settings(args)]
    if not args.output.parent.is_dir():
        raise InputError(f"there is no folder {args.output.parent}: choose another -o")
    for turn in range(args.repeats):
        for result in results:
            result.runs.append(
                measure_in_new_process(result.setting, args.portrait, args.sound, time.time(), turn == 0)
            )
    print("\n".join(line for result in results for line in result.format_lines()))
    for result in results[1:]:
        middle, low, high = time_ratio(result, results[0])
        print(f"{result.setting}: {middle:.2f} of the time of {results[0].setting} ({low:.2f} to {high:.2f})")
    write_text_atomic(args.output, json.dumps([asdict(result) for result in results], indent=1) + "\n")
    write_text_atomic(args.output.with_suffix(".svg"), plot_svg(results))
    print(f"{args.output}, {args.output.with_suffix('.svg')}")


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


def main() -> None:
    """Run emo-bench, or emo-bench live."""
    if sys.argv[1:2] == ["live"]:
        return run(make_live_parser(), bench_live, sys.argv[2:])
    run(make_parser(), bench)


if __name__ == "__main__":
    main()
