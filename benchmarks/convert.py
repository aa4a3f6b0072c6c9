"""Measure emo-convert on a checkpoint of random numbers as large as Hallo's: peak memory and time.

    python benchmarks/convert.py [--folder /tmp]      # needs 11 GB of disk there
    python benchmarks/convert.py --flops              # operations of a pass, counted by shapes alone
    python benchmarks/convert.py --run 256            # a pass of so many pixels: peak memory and seconds

A pass: 16 frames, of 512 px with --flops, one half of guidance, and the reference net on three images. With --run its
weights are bfloat16 and all the same, which takes as long as others; on the GPU where there is one.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory

import torch
from bfloat16 import emulate_bfloat16_if_slow
from diffusers import AutoencoderKL
from hallo import layout
from torch._subclasses import FakeTensorMode
from transformers import Wav2Vec2Config, Wav2Vec2Model

from emo.hub.convert.hallo import infer_config
from emo.metrics.speed import make_flop_counter
from emo.models.conditions import Conditions
from emo.models.hallo import HalloModel

VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4}


def make_parts(folder: Path) -> None:
    """net.pth in half precision, as it was published (4.85 GB), a VAE and wav2vec 2.0 of full size."""
    weights = {name: torch.randn(shape).half() for name, shape in layout().items()}
    torch.save(weights, folder / "net.pth")
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    AutoencoderKL(**kinds, **VAE).save_pretrained(folder / "sd-vae-ft-mse")
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "wav2vec2-base-960h")


def measure(folder: Path) -> str:
    """In processes of their own: the peak is the converter's."""
    subprocess.run([sys.executable, __file__, "--make", folder], check=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    began = time.perf_counter()
    command = [sys.executable, "-m", "emo.cli.convert", folder, "-o", folder / "out"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit("emo-convert failed")
    written = sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
    peak = used.ru_maxrss / 2**20
    return f"{size / 1e9:.2f} GB read, {written / 1e9:.2f} GB written, peak {peak:.2f} GiB, {seconds:.0f} s"


def count(trained: bool) -> str:
    """TFLOPs of a forward pass of the backbone, and of the ReferenceNet."""
    shapes = {name: torch.Size(shape) for name, shape in layout().items()}
    with FakeTensorMode(), torch.no_grad():
        model, latents = HalloModel(**infer_config(shapes, trained)).eval(), torch.zeros(1, 16, 4, 64, 64)
        clip = Conditions(latents[:, 0], identity=torch.zeros(1, 512))
        with make_flop_counter() as referencing:
            model.encode_reference(clip.reference)
            model.encode_motion(latents[:, :2])
        encoded = model.encode_conditions(clip, latents.shape)
        with make_flop_counter() as denoising:
            model(latents, torch.tensor(1), clip, encoded)
    passes, references = (counter.get_total_flops() / 1e12 for counter in (denoising, referencing))
    return f"denoising {passes:.2f} TFLOP, reference net {references:.2f} TFLOP"


@torch.no_grad()
def run_pass(pixels: int) -> str:
    """One forward pass of the backbone, with encoded conditions."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device("meta"):
        model = HalloModel(**infer_config({name: torch.Size(shape) for name, shape in layout().items()})).eval()
    model = model.to(torch.bfloat16).to_empty(device=device)
    for weight in model.state_dict().values():
        weight.fill_(0.01)
    latents = torch.zeros(1, 16, 4, pixels // 8, pixels // 8, dtype=torch.bfloat16, device=device)
    clip = Conditions(latents[:, 0])
    with emulate_bfloat16_if_slow() if device == "cpu" else nullcontext():
        encoded = model.encode_conditions(clip, latents.shape)
        began = time.perf_counter()
        model(latents, torch.tensor(1, device=device), clip, encoded).sum().item()
    seconds = time.perf_counter() - began
    used = torch.cuda.max_memory_allocated() if device == "cuda" else 1024 * getrusage(RUSAGE_SELF).ru_maxrss
    held = sum(weight.nbytes for weight in model.parameters())
    return f"{pixels} px on {device}: peak {used / 2**30:.2f} GiB, {held / 2**30:.2f} of it weights, {seconds:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work (default: that of temporary files)")
    parser.add_argument("--flops", action="store_true")
    parser.add_argument("--run", type=int, metavar="PIXELS")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make_parts(args.make)
    elif args.run:
        print(run_pass(args.run))
    elif args.flops:
        print(f"as trained: {count(True)}\nas evaluated: {count(False)}")
    else:
        with TemporaryDirectory(dir=args.folder) as folder:
            print(measure(Path(folder)))


if __name__ == "__main__":
    main()
