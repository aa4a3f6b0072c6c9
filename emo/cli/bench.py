"""emo-bench: how fast videos are made, and where the time goes: per stage, beside the best this machine could do."""

import argparse
import json
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

from emo.cli.infer import face, number, square, whole
from emo.cli.main import Parser, run
from emo.core.errors import InputError
from emo.core.files import write_whole
from emo.metrics.speed import Figures, Meter, Run, Setting, plot, ratio, watched

EPILOG = """Each run is a process of its own, in turn one of each setting. Stages: face finds it, audio hears the sound,
reference looks at portrait and motion, denoise makes latents, decode pictures of them, paste puts these into the
portrait, encode writes the video."""


def parser() -> Parser:
    out = Parser("emo-bench", description="Measures how fast portraits are made to talk.", epilog=EPILOG)
    out.add_argument("portrait", type=Path, help="a picture with a face")
    out.add_argument("sound", type=Path, help="a sound, repeated until it lasts long enough")
    out.add_argument("-o", "--output", type=Path, default=Path("bench.json"), help="(default bench.json) and its .svg")
    out.add_argument("--model", default="mini", help="folder or Hub id (default mini)")
    out.add_argument("--seconds", type=number(0.1, 36000), nargs="+", default=[4.0], help="of sound (default 4)")
    out.add_argument("--size", type=square, nargs="+", default=[None], help="pixels of the square, 64, 128, ...")
    out.add_argument("--steps", type=whole(1, 1000), nargs="+", default=[None], help="denoising steps per window")
    out.add_argument("--guidance", type=number(0, 20), help="how strongly to follow the sound; 1: off")
    out.add_argument("--fps", type=number(1, 120), default=25.0, help="frames per second (default 25)")
    out.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    out.add_argument("--face", type=face, help="x0,y0,x1,y1 in pixels, forehead to chin, or full: don't search")
    out.add_argument("--device", help="cpu, cuda, mps, ... (default: the best there is)")
    out.add_argument(
        "--vs", action="append", default=[], metavar="CHANGES", help="the same with NAME=VALUE,... changed"
    )
    out.add_argument("--repeats", type=whole(1, 1000), default=3, help="runs of each setting (default 3)")
    return out


def settings(args: argparse.Namespace) -> list[Setting]:
    """Each length with each size with each number of steps, then what they are held against."""
    same = {name: getattr(args, name) for name in ("model", "guidance", "fps", "dtype", "device", "face")}
    grid = product(args.seconds, args.size, args.steps)
    found = [Setting(seconds=seconds, size=size, steps=steps, **same) for seconds, size, steps in grid]
    return found + [found[0].changed(changes) for changes in args.vs]


def stages(pipeline, writer) -> list[tuple[object, str, str]]:
    """Which calls are which stage, for `watched`."""
    model, vae = pipeline.model, pipeline.vae
    looks = [(model, name, "reference") for name in ("look", "look_at_portrait")]
    heard = [(pipeline.audio_encoder, "forward", "audio"), (model.audio_projection, "forward", "audio")]
    seen = [(vae, "encode", "reference"), (vae, "decode", "decode"), (pipeline, "_denoise", "denoise")]
    return [*looks, *heard, *seen, (writer, "write", "encode"), (writer, "_finish", "encode")]


def generate(pipeline, setting: Setting, portrait: Path, sound: Path, output: Path, meter: Meter) -> tuple[int, float]:
    """Makes the video as emo-infer does -> frames, and the meter's reading at the first less that at the beginning."""
    import torch

    from emo.face.selection import locate
    from emo.media.audio import read_audio
    from emo.media.image import read_image
    from emo.media.video_writer import VideoWriter

    writer = VideoWriter(output, setting.fps, sound, overwrite=True)
    with watched(meter, stages(pipeline, writer)), meter.stage("paste"), torch.no_grad():
        began, first, count = meter.read(), None, 0
        image, wave = read_image(portrait), read_audio(sound, pipeline.audio_encoder.sample_rate)
        with meter.stage("face"):
            found = locate(image, setting.face, str(portrait))
        asked = dict(num_inference_steps=setting.steps, guidance_scale=setting.guidance, size=setting.size)
        chance = torch.Generator().manual_seed(0)
        with writer:
            for frame in pipeline.stream(image, wave, fps=setting.fps, face=found, generator=chance, **asked):
                writer.write(frame)
                count, first = count + 1, first or meter.read() - began
    return count, first


def lasting(sound: Path, seconds: float, output: Path) -> Path:
    """The sound again and again, a wav of so many seconds."""
    import numpy as np

    from emo.media.audio import read_audio, write_wav

    rate = 16000
    write_wav(output, np.resize(read_audio(sound, rate), round(seconds * rate)), rate)
    return output


def clock(device) -> float:
    """Seconds, when all that was asked of the device is done."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_gb(device) -> float:
    """The most memory so far: of a GPU, or of this process."""
    import resource
    import sys

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def one_run(setting: Setting, portrait: Path, sound: Path, asked_at: float, count_flops: bool) -> Run:
    """In a process of its own; asked_at: `time.time()` when that was started."""
    from tempfile import TemporaryDirectory

    from diffusers.utils import logging

    from emo.face.selection import packaged_detector
    from emo.hub.resolve import load_pipeline
    from emo.models.flops import flop_counter, matmul_flops_per_second

    logging.disable_progress_bar()
    pipeline = load_pipeline(setting.model, setting.device, setting.dtype)
    packaged_detector()
    start_up, device, flops, rate = time.time() - asked_at, pipeline.device, {}, 0.0
    with TemporaryDirectory() as folder:
        heard, output = lasting(sound, setting.seconds, Path(folder) / "sound.wav"), Path(folder) / "out.mp4"
        meter = Meter(lambda: clock(device))
        count, first = generate(pipeline, setting, portrait, heard, output, meter)
        peak = peak_gb(device)
        if count_flops:
            with flop_counter() as counter:
                counted = Meter(counter.get_total_flops)
                generate(pipeline, setting, portrait, heard, output, counted)
            flops, rate = counted.taken, matmul_flops_per_second(device, pipeline.model.dtype)
    return Run(count, sum(meter.taken.values()), first, start_up, peak, meter.taken, flops, rate)


def apart(*what) -> Run:
    """`one_run` in a new process."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(one_run, *what).result()


def bench(args: argparse.Namespace) -> None:
    found = [Figures(setting, []) for setting in settings(args)]
    if not args.output.parent.is_dir():
        raise InputError(f"{args.output.parent} is no folder: choose another -o")
    for turn in range(args.repeats):
        for figures in found:
            figures.runs.append(apart(figures.setting, args.portrait, args.sound, time.time(), turn == 0))
    print("\n".join(line for figures in found for line in figures.lines()))
    for figures in found[1:]:
        middle, least, most = ratio(figures, found[0])
        print(f"{figures.setting}: {middle:.2f} of the time of {found[0].setting} ({least:.2f} to {most:.2f})")
    write_whole(args.output, json.dumps([asdict(figures) for figures in found], indent=1) + "\n")
    write_whole(args.output.with_suffix(".svg"), plot(found))
    print(f"{args.output}, {args.output.with_suffix('.svg')}")


def main() -> None:
    run(parser(), bench)


if __name__ == "__main__":
    main()
