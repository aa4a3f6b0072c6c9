"""The interface between the trainer and what it trains: a model, batches, a loss, sample files, saved models."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.config import Config, check_arguments
from emo.core.errors import InputError
from emo.training.distributed import SampleGenerators


class Task(Protocol):
    """What a run trains; one of TASKS, constructed from a Config."""

    model_class: Callable  # `config.model` holds its arguments
    model: nn.Module  # everything that is trained
    splittable_batch: bool  # whether a step's batch can be split over processes: each sample is drawn independently

    def make_batch(self, numbers: range, device: torch.device) -> Any:
        """Return the run's samples of these numbers, the same at every call.

        Args:
            numbers: Sample numbers of the run.
            device: Where the tensors go.

        Returns:
            The batch; it may have the `names` of its clips.
        """

    def make_validation_batches(self, count: int, device: torch.device) -> list[Any]:
        """Return fixed batches of people who are excluded from training.

        Args:
            count: Number of batches, of one sample each.
            device: Where the tensors go.

        Returns:
            The batches; [] if there are none.
        """
        return []

    def compute_loss(
        self, model: nn.Module, batch: Any, generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch.

        Randomness that regularizes, such as dropped conditions, is used only while `model.training`.

        Args:
            model: The trained module, perhaps wrapped by accelerate.
            batch: What `make_batch` returns.
            generators: One random generator per sample.

        Returns:
            The loss, a scalar, and values (any number of them) to log by name.
        """
        ...

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write examples of what the model produces.

        Args:
            model: The trained module, in evaluation mode.
            path: Start of the files' names; the task adds suffixes.
        """

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the trained model in the layout of `save_pretrained`.

        Args:
            model: The trained module.
            folder: Where it is written.
        """


TASKS = {  # name -> module and class, imported when used
    "autoencoder": ("emo.training.autoencoder", "AutoencoderTask"),
    "motion_autoencoder": ("emo.training.motion_autoencoder", "MotionAutoencoderTask"),
    "audio_encoder": ("emo.training.audio_encoder", "AudioEncoderTask"),
    "face_detector": ("emo.training.face_networks", "FaceDetectorTask"),
    "landmark_refiner": ("emo.training.face_networks", "LandmarkRefinerTask"),
    "diffusion": ("emo.training.diffusion", "DiffusionTask"),
    "distillation": ("emo.training.diffusion", "DistillationTask"),
}


def make_task(config: Config) -> Task:
    """Build the task that `config.task` names.

    Raises:
        InputError: The task is unknown, `config.model` has arguments that its model does not take, or LoRA is asked for
            where there is no UNet.
    """
    if config.task not in TASKS:
        raise InputError(f"task {config.task!r} is unknown: choose one of {', '.join(TASKS)}")
    if config.lora.rank and config.task not in ("diffusion", "distillation"):
        raise InputError(f"lora.rank={config.lora.rank}: task={config.task} has no UNet for adapters, give 0")
    module, name = TASKS[config.task]
    task_class = getattr(import_module(module), name)
    check_arguments("model", config.model, task_class.model_class)
    return task_class(config)


def make_batch_rng(seed: int, numbers: range) -> np.random.Generator:
    """Return the random generator of a batch whose samples are drawn together.

    Args:
        seed: Seed of the run.
        numbers: Sample numbers of the batch; the first one counts.

    Returns:
        The generator.
    """
    return np.random.default_rng([seed, numbers.start])
