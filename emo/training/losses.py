"""The diffusion loss of all stages: noise the latents, predict, weigh the squared error.

Shapes: B samples, F frames, C H W latents.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import cv2
import torch
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor, nn

from emo.core.config import LossConfig
from emo.data.batch import Batch
from emo.models.autoencoder import decode_latents
from emo.models.conditions import CONDITIONS, Conditions
from emo.models.emo import EMOModel
from emo.training.distributed import SampleGenerators

PROBE_STEP = 0.5  # by which a channel is changed to see its effect, in standard deviations of the channel


def compute_diffusion_loss(
    model: nn.Module,
    scheduler: DDIMScheduler,
    batch: Batch,
    conditions: Conditions,
    config: LossConfig,
    generators: SampleGenerators,
    channel_weights: Tensor | None = None,
    part_projection: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the loss of a denoising step at random timesteps.

    Args:
        model: EMOModel, or what a launcher wrapped around it.
        scheduler: Adds the noise; its prediction type is what the model predicts.
        batch: Clean latents and the place of the lips.
        conditions: Those of the batch, some of them perhaps dropped.
        config: Noise and weights.
        generators: One per sample of the batch.
        channel_weights: (C,), see `compute_weighted_error`.
        part_projection: (D n) of `MotionAutoencoder.project_parts`; None: lips and lids have no loss of their own.

    Returns:
        The losses (B,) and their timesteps (B,).
    """
    clean = unwrap_model(model).to_diffused(batch.latents, conditions.reference)
    noise = draw_noise(clean, config, generators)
    timesteps = draw_timesteps(scheduler, config.pure_noise_rate, generators)
    if config.motion_frame_noise and conditions.motion is not None:
        conditions = replace(conditions, motion=add_motion_frame_noise(conditions.motion, config, generators))
    prediction = model(scheduler.add_noise(clean, noise, timesteps), timesteps, conditions).float()
    target = compute_target(scheduler, clean, noise, timesteps)
    losses = compute_weighted_error(prediction, target, scheduler, timesteps, batch.lips, config, channel_weights)
    if part_projection is not None:
        parts = (prediction - target).flatten(-3) @ part_projection  # (B F n)
        losses = losses + config.part_weight * parts.square().sum(-1).mean(1)
    return losses, timesteps


def unwrap_model(model: nn.Module) -> EMOModel:
    """Return the model that a launcher has wrapped, or the model itself."""
    return cast(EMOModel, getattr(model, "module", model))


def collect_conditions(batch: Batch, controls: Sequence[str] = ()) -> Conditions:
    """Collect the conditions in a batch.

    Args:
        batch: Has conditions as fields of the same names.
        controls: Names of the optional controls that are used.

    Returns:
        The conditions; those that the batch lacks are None.
    """
    names = [name for name, spec in CONDITIONS.items() if not spec.is_control or name in controls]
    return Conditions(**{name: getattr(batch, name, None) for name in names})


def draw_noise(clean: Tensor, config: LossConfig, generators: SampleGenerators) -> Tensor:
    """Draw noise, with one offset per channel if `noise_offset` is set.

    Args:
        clean: (B F C H W) latents; only their shape is used.
        config: Has `noise_offset`.
        generators: One per sample.

    Returns:
        (B F C H W) noise.
    """
    noise = generators.randn(*clean.shape[1:])
    return noise + config.noise_offset * generators.randn(1, clean.shape[2], 1, 1) if config.noise_offset else noise


def add_motion_frame_noise(motion: Tensor, config: LossConfig, generators: SampleGenerators) -> Tensor:
    """Add noise to motion frames, so that the model does not copy the errors of its own ones from window to window.

    The deviation is drawn for each sample (conditioning augmentation of Ho et al. 2021, arXiv 2106.15282).

    Args:
        motion: (B M C H W) motion frames; frames of zeros, which are missing or the portrait, stay so.
        config: Has `motion_frame_noise`.
        generators: One per sample.

    Returns:
        (B M C H W).
    """
    present = motion.ne(0).flatten(2).any(2)[..., None, None, None]
    deviations = config.motion_frame_noise * generators.rand()[:, None, None, None, None]
    return motion + present * deviations * generators.randn(*motion.shape[1:])


def draw_timesteps(
    scheduler: DDIMScheduler, pure_noise_rate: float, generators: SampleGenerators, num_steps: int | None = None
) -> Tensor:
    """Draw a timestep (B,) for each sample.

    Args:
        scheduler: Defines how many timesteps there are.
        pure_noise_rate: Share of samples at the last timestep, where sampling starts; the others are uniform.
        generators: One per sample of the batch.
        num_steps: Draw only from the timesteps of sampling in so many steps, which must divide all timesteps.

    Returns:
        (B,) timesteps.
    """
    total = scheduler.config.num_train_timesteps
    num_steps = num_steps or total
    drawn = ((generators.rand() * num_steps).long() + 1) * (total // num_steps) - 1
    return torch.where(generators.rand() < pure_noise_rate, total - 1, drawn)


def compute_target(scheduler: DDIMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return what the model should predict: noise, clean latents or velocity, by the scheduler's prediction type.

    Args:
        scheduler: Defines the prediction type.
        clean: (B F C H W) latents.
        noise: (B F C H W) noise that is mixed into them.
        timesteps: (B,) timesteps of the mixture.

    Returns:
        (B F C H W) target.
    """
    target = {"epsilon": noise, "sample": clean}.get(scheduler.config.prediction_type)
    return scheduler.get_velocity(clean, noise, timesteps) if target is None else target


def compute_weighted_error(
    prediction: Tensor,
    target: Tensor,
    scheduler: DDIMScheduler,
    timesteps: Tensor,
    lips: Tensor,
    config: LossConfig,
    channel_weights: Tensor | None,
) -> Tensor:
    """Compute the weighted mean squared error of each sample.

    Args:
        prediction: (B F C H W).
        target: (B F C H W).
        scheduler: Defines the noise levels, for min-SNR weights.
        timesteps: (B,).
        lips: (B F 3) center x, y and width in the unit square.
        config: The weights.
        channel_weights: (C,) from `measure_channel_weights`, applied to the share `perceptual_channel_weight` of the
            loss; None: all channels weigh the same.

    Returns:
        (B,).
    """
    weight = compute_snr_weights(scheduler, timesteps, config.min_snr_gamma)[:, None, None, None, None]
    weight = weight * (1 + (config.mouth_weight - 1) * make_mouth_map(lips, target.shape[-1]))
    if channel_weights is not None:
        weight = weight * (1 + config.perceptual_channel_weight * (channel_weights - 1))[:, None, None]
    return ((prediction - target) ** 2 * weight).mean((1, 2, 3, 4))


def compute_snr_weights(scheduler: DDIMScheduler, timesteps: Tensor, gamma: float | None) -> Tensor:
    """Compute min-SNR weights for the scheduler's prediction type (arXiv 2303.09556, section 3.4).

    Args:
        scheduler: Defines the noise levels.
        timesteps: (B,) timesteps.
        gamma: Upper limit of the signal-to-noise ratio; None for no weighting.

    Returns:
        (B,) weights, ones without gamma.
    """
    if gamma is None:
        return torch.ones(len(timesteps), device=timesteps.device)
    snr = compute_snr(scheduler, timesteps)
    capped = snr.clamp(max=gamma)
    kind = scheduler.config.prediction_type
    return {"epsilon": capped / snr, "v_prediction": capped / (snr + 1), "sample": capped}[kind]


def make_mouth_map(lips: Tensor, size: int) -> Tensor:
    """Return a Gaussian around the mouth, 1 at its peak.

    Args:
        lips: (B F 3) center x, y and width in the unit square.
        size: Height and width of the map.

    Returns:
        (B F 1 size size). Its center lies a fifth of the width below the lips' center: the lower lip moves.
    """
    axis = (torch.arange(size, device=lips.device) + 0.5) / size
    x, y, width = lips[..., None, None].unbind(2)  # each (B F 1 1)
    distance = ((axis - x) ** 2 + (axis[:, None] - y - 0.2 * width) ** 2) / (0.6 * width) ** 2
    return torch.exp(-0.5 * distance)[:, :, None]


@torch.no_grad()
def measure_channel_weights(vae: nn.Module, latents: Tensor) -> Tensor:
    """Measure how visible an error in each latent channel is.

    Args:
        vae: Decodes the latents.
        latents: (N C h w) scaled latents of images.

    Returns:
        (C,) squared CIELAB distance that an error of 1 in the channel causes in the decoded images, over the mean of
        all channels.
    """
    sign = torch.randint(0, 2, latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents) * 2 - 1
    before, effects = convert_to_cielab(decode_latents(vae, latents)), []
    for channel, step in enumerate(PROBE_STEP * latents.std((0, 2, 3))):
        changed = latents.clone()
        changed[:, channel] += step * sign
        after = convert_to_cielab(decode_latents(vae, changed))
        effects.append((after - before).square().mean() / step.cpu() ** 2)
    return torch.stack(effects) / torch.stack(effects).mean()


def convert_to_cielab(images: Tensor) -> Tensor:
    """(N 3 H W) sRGB in [-1, 1] -> (N H W 3) CIELAB, L from 0 to 100; a distance of 1 is just noticeable."""
    rgb = ((images.float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(cv2.cvtColor(rgb.reshape(1, -1, 3), cv2.COLOR_RGB2LAB).reshape(rgb.shape))


def group_by_timestep(losses: Tensor, timesteps: Tensor, total: int) -> dict[str, Tensor]:
    """Group losses by quarters of the timesteps.

    Args:
        losses: (B,) loss of each sample.
        timesteps: (B,) timestep of each sample.
        total: Number of all timesteps.

    Returns:
        Losses by name of the quarter; quarters without a sample are left out.
    """
    edges = [-(-total * i // 4) for i in range(5)]
    quarters = timesteps * 4 // total
    return {f"loss/t{edges[i]}-{edges[i + 1] - 1}": losses[quarters == i].detach() for i in quarters.unique().tolist()}
