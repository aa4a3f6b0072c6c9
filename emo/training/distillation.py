"""A student goes in few steps, without guidance, the way that its teacher goes in more, guided.

Progressive distillation (arXiv 2202.00512) of a guided teacher (2210.03142), all of a step at once: from x_t the frozen
teacher goes to the student's next timestep s by guided DDIM steps, and the student learns the prediction whose one DDIM
step leads to the same x_s. Shapes: B samples, F frames, C H W latents.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from diffusers import DDIMScheduler
from torch import Tensor, nn

from emo.core.config import Config, LossConfig
from emo.core.errors import InputError
from emo.data.dataset import Batch
from emo.models.emo import Conditions, EMOModel
from emo.models.loading import load_part
from emo.pipelines.emo import EMOPipeline
from emo.pipelines.guidance import Guidance
from emo.training.diffusion import DiffusionTask
from emo.training.distributed import Generators
from emo.training.losses import draw_noise, draw_timesteps, prediction_of, weighed


@dataclass
class Teacher:
    """A trained pipeline's way from noise to latents, frozen."""

    model: EMOModel
    guidance: Guidance
    scheduler: DDIMScheduler  # of all its timesteps

    @torch.no_grad()
    def walk(self, sample: Tensor, timesteps: Tensor, conditions: Conditions, steps: int) -> Tensor:
        """x_t (B F C H W) at timesteps (B,) -> where so many of its steps lead (B F C H W)."""
        seen = self.guidance.look(self.model, conditions, sample.shape)
        for _ in range(steps):
            prediction = self.guidance.predict(self.model, sample, timesteps, conditions, seen).float()
            sample = stepped(self.scheduler, prediction, timesteps, sample)
            timesteps = timesteps - stride(self.scheduler, self.scheduler.num_inference_steps)
        return sample


class DistillationTask(DiffusionTask):
    """Learns from a teacher on the run's clips; what is noised is the clips' latents, in training and in validation."""

    def __init__(self, config: Config):
        """Raises InputError for what a student can't be, or can't learn from its teacher."""
        super().__init__(config)
        self.teacher = load_teacher(config)
        self.teacher.model.to(PartialState().device)
        differing("model", dict(self.model.config), dict(self.teacher.model.config))
        differing("scheduler", dict(self.scheduler.config), dict(self.teacher.scheduler.config))
        steps, every = config.sampling.num_inference_steps, self.teacher.scheduler.num_inference_steps
        total = config.scheduler.num_train_timesteps
        if total % every or every % steps:
            wrong = f"sampling.num_inference_steps={steps} and its teacher's {every}"
            raise InputError(f"{wrong}: give a divisor of the teacher's steps, and those must divide {total}")
        if config.sampling.guidance_scale != 1:
            raise InputError(f"sampling.guidance_scale={config.sampling.guidance_scale}: a student has none, give 1")
        if config.loss.min_snr_gamma is not None:
            raise InputError("loss.min_snr_gamma: pure noise, where a student begins, would not count; give null")

    def losses(
        self, model: nn.Module, batch: Batch, given: Conditions, generators: Generators
    ) -> tuple[Tensor, Tensor]:
        steps = self.config.sampling.num_inference_steps
        return distillation_loss(model, self.teacher, steps, batch, given, self.config.loss, generators, self.perceived)


def distillation_loss(
    student: nn.Module,
    teacher: Teacher,
    steps: int,
    batch: Batch,
    conditions: Conditions,
    config: LossConfig,
    generators: Generators,
    perceived: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The losses (B,) of the samples and their timesteps (B,), which are among the student's `steps`. Else as
    `diffusion_loss`."""
    scheduler = teacher.scheduler
    clean = getattr(student, "module", student).to_diffused(batch.latents, conditions.reference)
    noise = draw_noise(clean, config, generators)
    timesteps = draw_timesteps(scheduler, config.full_noise_rate, generators, steps)
    noisy = scheduler.add_noise(clean, noise, timesteps)
    reached = teacher.walk(noisy, timesteps, conditions, scheduler.num_inference_steps // steps)
    goal = leading_to(reached, scheduler, noisy, timesteps, timesteps - stride(scheduler, steps))
    prediction = student(noisy, timesteps, conditions).float()
    return weighed(prediction, goal, scheduler, timesteps, batch.lips, config, perceived), timesteps


def leading_to(
    reached: Tensor, scheduler: DDIMScheduler, noisy: Tensor, timesteps: Tensor, following: Tensor
) -> Tensor:
    """The prediction (B F C H W) with which one DDIM step goes from x_t, `noisy`, to x_s, `reached`: 2202.00512,
    algorithm 2. timesteps, following (B,): t and s, which is below 0 at the end."""
    alphas = scheduler.alphas_cumprod.to(noisy)[:, None, None, None, None]
    end = following[:, None, None, None, None] < 0
    now, then = alphas[timesteps], torch.where(end, scheduler.final_alpha_cumprod.to(noisy), alphas[following])
    kept = (1 - then).sqrt() / (1 - now).sqrt()  # of x_t
    clean = (reached - kept * noisy) / (then.sqrt() - kept * now.sqrt())
    return prediction_of(scheduler, clean, (noisy - now.sqrt() * clean) / (1 - now).sqrt(), timesteps)


def stride(scheduler: DDIMScheduler, steps: int) -> int:
    """Timesteps from one of so many steps to the next."""
    return scheduler.config.num_train_timesteps // steps


def stepped(scheduler: DDIMScheduler, prediction: Tensor, timesteps: Tensor, sample: Tensor) -> Tensor:
    """One step of the scheduler, each sample (B F C H W) from its own timestep (B,)."""
    rows = zip(prediction.split(1), timesteps.tolist(), sample.split(1), strict=True)
    return torch.cat([scheduler.step(row, timestep, noisy).prev_sample for row, timestep, noisy in rows])


def load_teacher(config: Config) -> Teacher:
    """The pipeline in `distillation.teacher`, guided as it samples. Raises InputError where there is none."""
    folder = Path(config.distillation.teacher or "")
    if not (folder / "model_index.json").is_file():
        given = config.distillation.teacher
        raise InputError(f"distillation.teacher={given}: give the folder of a trained pipeline, a run's model/")
    settings = EMOPipeline.load_config(folder)
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(config.distillation.teacher_steps or settings["num_inference_steps"])
    guidance = Guidance(settings["guidance_scale"], settings["guidance_threshold"])
    return Teacher(load_part(folder / "model").requires_grad_(False), guidance, scheduler)


def differing(section: str, own: dict, teachers: dict) -> None:
    """Raises InputError for the first setting in which a student is not as its teacher."""
    for name in own:
        value, expected = (list(v) if isinstance(v, tuple) else v for v in (own[name], teachers.get(name)))
        if not name.startswith("_") and value != expected:
            raise InputError(f"{section}.{name}={value}: the teacher's is {expected}, give the same")
