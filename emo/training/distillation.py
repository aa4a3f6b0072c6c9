"""Distillation: a student samples in few steps without guidance what its guided teacher samples in more.

Progressive distillation (arXiv 2202.00512) of a guided teacher (arXiv 2210.03142) in one stage: from x_t the frozen
teacher samples to the student's next timestep s by guided DDIM steps, and the student learns the prediction whose
single DDIM step leads to the same x_s.

Shapes: B samples, F frames, C H W latents.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from emo.core.config import Config, LossConfig
from emo.core.errors import InputError
from emo.data.batch import Batch
from emo.models.conditions import Conditions
from emo.models.emo import EMOModel
from emo.models.loading import load_component
from emo.pipelines.emo import EMOPipeline
from emo.pipelines.guidance import Guidance
from emo.training.distributed import SampleGenerators
from emo.training.losses import compute_target, compute_weighted_error, draw_noise, draw_timesteps, unwrap_model


@dataclass
class Teacher:
    """A trained, frozen model and how it samples."""

    model: EMOModel
    guidance: Guidance
    scheduler: DDIMScheduler  # with all its inference timesteps set

    @property
    def num_steps(self) -> int:
        """Its sampling steps from noise to latents."""
        return self.scheduler.num_inference_steps or 0

    @torch.no_grad()
    def denoise(self, sample: Tensor, timesteps: Tensor, conditions: Conditions, num_steps: int) -> Tensor:
        """Denoise for `num_steps` guided steps of the teacher.

        Args:
            sample: (B F C H W) x_t.
            timesteps: (B,) timesteps of the samples.
            conditions: Conditions of the batch.
            num_steps: Number of the teacher's steps.

        Returns:
            (B F C H W) the sample after these steps.
        """
        encoded = self.guidance.encode_conditions(self.model, conditions, sample.shape)
        for _ in range(num_steps):
            prediction = self.guidance.predict(self.model, sample, timesteps, conditions, encoded).float()
            sample = step_samples(self.scheduler, prediction, timesteps, sample)
            timesteps = timesteps - get_stride(self.scheduler, self.num_steps)
        return sample


def load_teacher(config: Config) -> Teacher:
    """Load the pipeline in `distillation.teacher`, with its own guidance.

    Raises:
        InputError: There is none.
    """
    folder = Path(config.distillation.teacher or "")
    if not (folder / "model_index.json").is_file():
        given = config.distillation.teacher
        raise InputError(f"distillation.teacher={given}: give the folder of a trained pipeline, a run's model/")
    settings = cast(dict, EMOPipeline.load_config(folder))
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(config.distillation.teacher_inference_steps or settings["num_inference_steps"])
    guidance = Guidance(settings["guidance_scale"], settings["guidance_threshold"])
    return Teacher(load_component(folder / "model").requires_grad_(False), guidance, scheduler)


def check_equal_settings(section: str, own: dict, teachers: dict) -> None:
    """Check that a student has its teacher's settings.

    Args:
        section: Name of the section, for the message.
        own: The student's settings.
        teachers: The teacher's settings.

    Raises:
        InputError: A setting differs; the message names the first one.
    """
    for name in own:
        value, expected = (list(v) if isinstance(v, tuple) else v for v in (own[name], teachers.get(name)))
        if not name.startswith("_") and value != expected:
            raise InputError(f"{section}.{name}={value}: the teacher's is {expected}, give the same")


def compute_distillation_loss(
    student: nn.Module,
    teacher: Teacher,
    num_steps: int,
    batch: Batch,
    conditions: Conditions,
    config: LossConfig,
    generators: SampleGenerators,
    channel_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the loss of a student's step against its teacher's steps.

    Args:
        student: The model that is trained, or what a launcher wrapped around it.
        teacher: Whose result it learns.
        num_steps: The student's sampling steps.
        batch: Clean latents and the place of the lips.
        conditions: Those of the batch, some of them perhaps dropped.
        config: Noise and weights.
        generators: One per sample of the batch.
        channel_weights: (C,), see `compute_weighted_error`.

    Returns:
        The losses (B,) and their timesteps (B,), which are among the student's.
    """
    scheduler = teacher.scheduler
    clean = unwrap_model(student).to_diffused(batch.latents, conditions.reference)
    noise = draw_noise(clean, config, generators)
    timesteps = draw_timesteps(scheduler, config.pure_noise_rate, generators, num_steps)
    noisy = scheduler.add_noise(clean, noise, timesteps)
    reached = teacher.denoise(noisy, timesteps, conditions, teacher.num_steps // num_steps)
    target = solve_target(reached, scheduler, noisy, timesteps, timesteps - get_stride(scheduler, num_steps))
    prediction = student(noisy, timesteps, conditions).float()
    losses = compute_weighted_error(prediction, target, scheduler, timesteps, batch.lips, config, channel_weights)
    return losses, timesteps


def solve_target(
    reached: Tensor, scheduler: DDIMScheduler, noisy: Tensor, timesteps: Tensor, next_timesteps: Tensor
) -> Tensor:
    """Solves for the prediction whose single DDIM step leads to a given result (arXiv 2202.00512, algorithm 2).

    Args:
        reached: x_s (B F C H W), the result.
        scheduler: Defines the noise levels and the prediction type of the target.
        noisy: x_t (B F C H W).
        timesteps: T (B,).
        next_timesteps: S (B,), negative at the end.

    Returns:
        (B F C H W).
    """
    alphas = scheduler.alphas_cumprod.to(noisy)[:, None, None, None, None]
    is_end = next_timesteps[:, None, None, None, None] < 0
    alpha_t = alphas[timesteps]
    alpha_s = torch.where(is_end, scheduler.final_alpha_cumprod.to(noisy), alphas[next_timesteps])
    ratio = (1 - alpha_s).sqrt() / (1 - alpha_t).sqrt()
    clean = (reached - ratio * noisy) / (alpha_s.sqrt() - ratio * alpha_t.sqrt())
    return compute_target(scheduler, clean, (noisy - alpha_t.sqrt() * clean) / (1 - alpha_t).sqrt(), timesteps)


def get_stride(scheduler: DDIMScheduler, num_steps: int) -> int:
    """Return the number of timesteps between two sampling steps.

    Args:
        scheduler: Says how many timesteps there are.
        num_steps: Number of sampling steps.

    Returns:
        Timesteps per step.
    """
    return scheduler.config.num_train_timesteps // num_steps


def step_samples(scheduler: DDIMScheduler, prediction: Tensor, timesteps: Tensor, sample: Tensor) -> Tensor:
    """Make one step of the scheduler, each sample from its own timestep.

    Args:
        scheduler: The sampler.
        prediction: (B F C H W) the model's output.
        timesteps: (B,) timesteps of the samples.
        sample: (B F C H W) x_t.

    Returns:
        (B F C H W) the samples one step later.
    """
    rows = zip(prediction.split(1), timesteps.tolist(), sample.split(1), strict=True)
    return torch.cat([scheduler.step(row, timestep, noisy).prev_sample for row, timestep, noisy in rows])
