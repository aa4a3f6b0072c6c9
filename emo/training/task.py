"""What a task gives the trainer: a model, samples, a loss, a look at the result, and its files."""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.config import Config
from emo.core.errors import InputError
from emo.training.distributed import Generators


class Task(Protocol):
    """One of autoencoder, mouth, face, part, diffusion, distillation; constructed from a Config."""

    model: nn.Module  # all that is trained
    splittable: bool  # whether processes and micro-batches can share out a step: each sample is drawn by itself

    def batch(self, numbers: range, device: torch.device) -> Any:
        """The run's samples of these numbers, the same whenever they are asked for. Its `names`, where it has any, are
        those of its clips."""

    def held_out(self, count: int, device: torch.device) -> list[Any]:
        """So many fixed samples of people never trained on, each a batch; nothing where there is nobody."""
        return []

    def loss(self, model: nn.Module, batch: Any, generators: Generators) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and what to report beside it: name -> values of any number. Chance that is there to teach, such as
        dropped conditions, only while `model.training`."""

    def sample(self, model: nn.Module, path: Path) -> None:
        """Writes something to look at: path + a suffix of the task's own."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes the trained model in the layout of `save_pretrained`."""


TASKS = {
    "autoencoder": ("emo.training.autoencoder", "AutoencoderTask"),
    "mouth": ("emo.training.audio_encoder", "MouthTask"),
    "face": ("emo.training.face_networks", "FaceTask"),
    "part": ("emo.training.face_networks", "PartTask"),
    "diffusion": ("emo.training.diffusion", "DiffusionTask"),
    "distillation": ("emo.training.distillation", "DistillationTask"),
}


def chance(seed: int, numbers: range) -> np.random.Generator:
    """For a batch of these samples."""
    return np.random.default_rng([seed, numbers.start])


def make_task(config: Config) -> Task:
    """The task that `config.task` names. Raises InputError for an unknown one, or one that can have no LoRA."""
    if config.task not in TASKS:
        raise InputError(f"task {config.task!r} is none of {', '.join(TASKS)}")
    if config.lora.rank and config.task not in ("diffusion", "distillation"):
        raise InputError(f"lora.rank={config.lora.rank}: task={config.task} has no UNet for it, give 0")
    module, name = TASKS[config.task]
    return getattr(import_module(module), name)(config)
