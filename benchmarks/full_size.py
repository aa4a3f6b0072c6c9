"""Count the parameters, FLOPs and memory of a training step of the full model, for each stage of configs/.

    python benchmarks/full_size.py [--stages 1 2 3] [--size 512] [--run]

Counted by shapes alone (torch's FakeTensorMode), under bfloat16 autocast. Memory is the sum of what is allocated when
the backward pass begins, and the gradients, without the frozen components. With --run one real step is made on the CPU,
on random latents, with weights, gradients and AdamW's states all in bfloat16, so that they fit into 20 GiB: it shows
that the step runs, not how training goes. A CPU without bfloat16 instructions, which would need a day, multiplies in
float32 and rounds.
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bfloat16 import emulate_bfloat16_if_slow
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor
from torch._subclasses import FakeTensorMode
from transformers import Wav2Vec2Config, Wav2Vec2Model

from emo.core.config import Config, load_config
from emo.core.timing import SAMPLE_RATE
from emo.data.batch import Batch
from emo.metrics.speed import make_flop_counter
from emo.models.autoencoder import encode_images
from emo.models.conditions import Conditions
from emo.models.emo import EMOModel
from emo.models.unet import UNetBlock
from emo.training.diffusion import make_model
from emo.training.distributed import SampleGenerators
from emo.training.losses import compute_diffusion_loss
from emo.training.trainer import freeze_parameters

CONFIGS = Path(__file__).parents[1] / "configs"
CLIP_SECONDS = 8.0  # of sound that is encoded for a sample
PEAK, MFU = 312e12, 0.4  # FLOP/s of an A100 in bfloat16, and the share of them that is assumed


class SavedTensorCounter(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes saved for the backward pass, and those of the UNet layer that saves most."""

    def __init__(self, model: EMOModel):
        super().__init__(self.pack, lambda tensor: tensor)
        self.bytes, self.layer = 0, 0
        self.seen = {tensor.untyped_storage()._cdata for tensor in model.state_dict().values()}
        for stage in (module for module in model.modules() if isinstance(module, UNetBlock)):
            stage.layer = partial(self.measure_layer, stage.layer)

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.bytes += 0 if storage._cdata in self.seen else storage.nbytes()
        self.seen.add(storage._cdata)
        return tensor

    def measure_layer(self, layer: Callable, *args):
        before = self.bytes
        result = layer(*args)
        self.layer = max(self.layer, self.bytes - before)
        return result


def random_batch(config: Config, model: EMOModel, size: int) -> Batch:
    """Make `size` random samples of the shapes that the stage is trained on."""
    sizes, frames, side = model.config, config.data.num_frames, config.data.size // 8
    motion = sizes.num_motion_frames if sizes.temporal else 0
    latents = torch.randn(size, frames + motion + 1, sizes.latent_channels, side, side)
    audio_shape = size, frames + 2 * sizes.audio_margin, sizes.audio_layers, sizes.audio_feature_dim
    return Batch(
        latents=latents[:, :frames],
        reference=latents[:, frames],
        motion=latents[:, frames + 1 :],
        audio=torch.randn(audio_shape),
        lips=torch.full((size, frames, 3), 0.5),
        face_region=torch.ones(size, 1, side, side),
        head_speed=torch.zeros(size, frames + 2 * sizes.speed_margin),
    )


def compute_loss(config: Config, model: EMOModel, batch: Batch) -> Tensor:
    given = Conditions(batch.reference, batch.audio, batch.motion, batch.face_region, batch.head_speed)
    scheduler = DDIMScheduler(**vars(config.scheduler))
    generators = SampleGenerators(config.seed, range(len(batch.latents)), torch.device("cpu"))
    return compute_diffusion_loss(model, scheduler, batch, given, config.loss, generators)[0].mean()


def make_full_model(config: Config, checkpointing: bool) -> tuple[EMOModel, list[torch.nn.Parameter]]:
    """Make the stage's model; return it and its trained parameters."""
    model = make_model(config).train()
    if checkpointing:
        model.enable_gradient_checkpointing()
    return model, freeze_parameters(model, config.trainable)


def count_flops(config: Config) -> int:
    """Count the FLOPs of the forward and backward pass of one sample, with gradient checkpointing."""
    model, _ = make_full_model(config, True)
    with make_flop_counter() as counter, torch.autocast("cpu", torch.bfloat16):
        compute_loss(config, model, random_batch(config, model, 1)).backward()
    return counter.get_total_flops()


def count_saved_tensors(config: Config, checkpointing: bool, size: int) -> SavedTensorCounter:
    model, _ = make_full_model(config, checkpointing)
    counter = SavedTensorCounter(model)
    with counter, torch.autocast("cpu", torch.bfloat16):
        compute_loss(config, model, random_batch(config, model, size))
    return counter


def count_activations(config: Config) -> str:
    """Describe the memory of activations in GiB, without and with gradient checkpointing.

    With checkpointing, the largest layer, which is recomputed, is added to what is saved. Half-precision copies of the
    weights count with the first sample.
    """
    without, checkpointed = ([count_saved_tensors(config, on, size) for size in (1, 2)] for on in (False, True))
    one, two = (counter.bytes / 2**30 for counter in without)
    less, more = ((saved.bytes + all_.layer) / 2**30 for saved, all_ in zip(checkpointed, without, strict=True))
    return f"{one:.1f} and {two - one:.2f} with each sample more; with checkpointing {less:.1f} and {more - less:.2f}"


def count_frozen(config: Config, model: EMOModel) -> float:
    """Count the FLOPs of the autoencoder for one sample's frames, and of wav2vec 2.0 for the sound of its clip."""
    blocks = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    vae = AutoencoderKL(**blocks, block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4)
    encoder, batch = Wav2Vec2Model(Wav2Vec2Config()).eval(), random_batch(config, model, 1)
    frames = batch.latents.shape[1] + batch.motion.shape[1] + 1
    with make_flop_counter() as counter, torch.no_grad():
        encode_images(vae, torch.zeros(frames, 3, config.data.size, config.data.size))
        encoder(torch.zeros(1, int(CLIP_SECONDS * SAMPLE_RATE)))
    return counter.get_total_flops()


def report(number: int, config: Config) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        model, trained = make_full_model(config, True)
        counts = [sum(p.numel() for p in parameters) for parameters in (model.parameters(), trained)]
        flops, frozen, activations = count_flops(config), count_frozen(config, model), count_activations(config)
    state_bytes = 8 * counts[0] + 12 * counts[1]  # weights, average, gradients and AdamW's states
    days = config.steps * config.batch_size * (flops + frozen) / (8 * PEAK * MFU) / 86400
    print(
        f"stage {number}, {config.data.size} px: {counts[0] / 1e6:.0f} M parameters, {counts[1] / 1e6:.0f} M trained; "
        f"a sample {flops / 1e12:.1f} TFLOP, and {frozen / 1e12:.1f} of the frozen components; "
        f"GiB: {state_bytes / 2**30:.1f} of weights, average, gradients and AdamW's states, activations {activations}; "
        f"{config.steps} steps of {config.batch_size}: {days:.2f} days of 8 GPUs at {MFU * PEAK / 1e12:.0f} TFLOP/s",
        flush=True,
    )


def run_step(config: Config) -> str:
    """Make one real step of one sample, all in bfloat16; describe its time, memory and loss."""
    torch.set_default_dtype(torch.bfloat16)
    model, trained = make_full_model(config, True)
    for parameter in (p for p in model.parameters() if not p.any()):  # no gradient would pass branches of zeros
        torch.nn.init.normal_(parameter, std=0.02)
    batch = random_batch(config, model, 1)
    torch.set_default_dtype(torch.float32)
    began = time.perf_counter()
    with emulate_bfloat16_if_slow():
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute_loss(config, model, batch)
        loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in trained])  # fails where one has none
    torch.optim.AdamW(trained, lr=config.learning_rate).step()
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{seconds:.0f} s, peak {peak:.1f} GiB, loss {loss.item():.3g}, gradient {norm.item():.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--run", action="store_true")
    args = parser.parse_args()
    for number in args.stages:
        config = load_config(CONFIGS / f"stage{number}.yaml", [f"data.size={args.size}"])
        if args.run:
            print(f"stage {number} at {args.size} px, one step: {run_step(config)}", flush=True)
        else:
            report(number, config)


if __name__ == "__main__":
    main()
