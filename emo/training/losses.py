"""How much of an error in each latent channel the eye sees.

How much of an error in each latent channel the eye sees.

The diffusion loss of all stages: noise on the latents, the model's prediction, the weighted squared error.
"""

from dataclasses import replace

import cv2
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor, nn

from emo.core.config import LossConfig
from emo.data.dataset import Batch
from emo.models.autoencoder import decode_latents
from emo.models.emo import Conditions
from emo.training.distributed import Generators

STEP = 0.5  # of a channel's own deviation


def cielab(x: Tensor) -> Tensor:
    """(N 3 H W) in [-1, 1] -> (N H W 3): L from 0 to 100, a and b; colours 1 apart are just told apart."""
    rgb = ((x.float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(cv2.cvtColor(rgb.reshape(1, -1, 3), cv2.COLOR_RGB2LAB).reshape(rgb.shape))


@torch.no_grad()
def perceived_weights(vae: nn.Module, latents: Tensor) -> Tensor:
    """Scaled latents (N C h w) of pictures -> (C,): the squared CIELAB distance that an error of 1 in a channel makes
    in the decoded pictures, over that of the mean channel."""
    sign = torch.randint(0, 2, latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents) * 2 - 1
    before, seen = cielab(decode_latents(vae, latents)), []
    for channel, step in enumerate(STEP * latents.std((0, 2, 3))):
        changed = latents.clone()
        changed[:, channel] += step * sign
        seen.append((cielab(decode_latents(vae, changed)) - before).square().mean() / step.cpu() ** 2)
    return torch.stack(seen) / torch.stack(seen).mean()


def draw_timesteps(
    scheduler: DDIMScheduler, full_rate: float, generators: Generators, steps: int | None = None
) -> Tensor:
    """(B,) uniform, but a share `full_rate` at the last: pure noise, where sampling begins. steps: only those that
    sampling in so many steps passes, which divide all timesteps."""
    total = scheduler.config.num_train_timesteps
    steps = steps or total
    drawn = ((generators.rand() * steps).long() + 1) * (total // steps) - 1
    return torch.where(generators.rand() < full_rate, total - 1, drawn)


def drop(conditions: Conditions, config: LossConfig, generators: Generators) -> Conditions:
    """Each condition of each sample replaced by its null at its rate (classifier-free guidance, 2207.12598)."""

    def kept(value: Tensor, rate: float, null: float) -> Tensor:
        keep = generators.rand() >= rate
        return torch.where(keep.view(-1, *[1] * (value.ndim - 1)), value, null)

    return replace(
        conditions,
        reference=kept(conditions.reference, config.drop_reference, 0.0),
        audio=kept(conditions.audio, config.drop_audio, 0.0),
        motion=kept(conditions.motion, config.drop_motion, 0.0),
        face_region=kept(conditions.face_region, config.drop_face_region, 1.0),
        head_speed=kept(conditions.head_speed, config.drop_head_speed, torch.nan),
    )


def mouth_map(lips: Tensor, size: int) -> Tensor:
    """lips (B F 3), centre and width in the unit square -> (B F 1 size size), 1 at the mouth, falling off."""
    axis = (torch.arange(size, device=lips.device) + 0.5) / size
    x, y, width = lips[..., None, None].unbind(2)  # each (B F 1 1)
    distance = ((axis - x) ** 2 + (axis[:, None] - y - 0.2 * width) ** 2) / (0.6 * width) ** 2
    return torch.exp(-0.5 * distance)[:, :, None]


def step_weights(scheduler: DDIMScheduler, timesteps: Tensor, gamma: float | None) -> Tensor:
    """(B,) min-SNR weights (arXiv 2303.09556) in the scheduler's kind of prediction; ones without gamma."""
    if gamma is None:
        return torch.ones(len(timesteps), device=timesteps.device)
    snr = compute_snr(scheduler, timesteps)
    capped = snr.clamp(max=gamma)
    kind = scheduler.config.prediction_type
    return {"epsilon": capped / snr, "v_prediction": capped / (snr + 1), "sample": capped}[kind]


def prediction_of(scheduler: DDIMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What is to be predicted of clean and noise (B F C H W), mixed at timesteps (B,): the scheduler's kind."""
    kind = scheduler.config.prediction_type
    known = {"epsilon": noise, "sample": clean}.get(kind)
    return scheduler.get_velocity(clean, noise, timesteps) if known is None else known


def draw_noise(clean: Tensor, config: LossConfig, generators: Generators) -> Tensor:
    """For clean (B F C H W)."""
    noise = generators.randn(*clean.shape[1:])
    return noise + config.noise_offset * generators.randn(1, clean.shape[2], 1, 1) if config.noise_offset else noise


def weighed(
    prediction: Tensor,
    goal: Tensor,
    scheduler: DDIMScheduler,
    timesteps: Tensor,
    lips: Tensor,
    config: LossConfig,
    perceived: Tensor | None,
) -> Tensor:
    """The weighed squared error (B,) of predictions (B F C H W). lips (B F 3): as in a Batch; perceived (C,): the
    channels' weights in the share of the loss that counts what the eye sees (see `perceived_weights`)."""
    weight = step_weights(scheduler, timesteps, config.min_snr_gamma)[:, None, None, None, None]
    weight = weight * (1 + (config.mouth_weight - 1) * mouth_map(lips, goal.shape[-1]))
    if perceived is not None:
        weight = weight * (1 + config.perceived_share * (perceived - 1))[:, None, None]
    return ((prediction - goal) ** 2 * weight).mean((1, 2, 3, 4))


def diffusion_loss(
    model: nn.Module,
    scheduler: DDIMScheduler,
    batch: Batch,
    conditions: Conditions,
    config: LossConfig,
    generators: Generators,
    perceived: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The losses (B,) of the samples and their timesteps (B,). conditions: those of the batch, perhaps with some
    dropped. perceived (C,): see `weighed`."""
    core = getattr(model, "module", model)
    clean = core.to_diffused(batch.latents, conditions.reference)
    noise = draw_noise(clean, config, generators)
    timesteps = draw_timesteps(scheduler, config.full_noise_rate, generators)
    prediction = model(scheduler.add_noise(clean, noise, timesteps), timesteps, conditions).float()
    goal = prediction_of(scheduler, clean, noise, timesteps)
    return weighed(prediction, goal, scheduler, timesteps, batch.lips, config, perceived), timesteps


def by_timestep(losses: Tensor, timesteps: Tensor, total: int) -> dict[str, Tensor]:
    """losses (B,) in those quarters of the `total` timesteps that have any."""
    edges = [-(-total * i // 4) for i in range(5)]
    quarters = timesteps * 4 // total
    return {f"loss/t{edges[i]}-{edges[i + 1] - 1}": losses[quarters == i].detach() for i in quarters.unique().tolist()}
