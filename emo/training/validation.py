"""The loss on people never trained on: samples, timesteps and noise are the same at every step and in every run."""

from typing import Any

import torch
from torch import nn

from emo.training.generators import Generators
from emo.training.task import Task


@torch.no_grad()
def validation_loss(task: Task, model: nn.Module, batches: list[Any], device: torch.device) -> float:
    """The mean over batches of one sample each, as `Task.held_out` gives them. model: in its `eval` mode."""
    chances = (Generators(0, range(number, number + 1), device) for number in range(len(batches)))
    losses = [task.loss(model, batch, chance)[0] for batch, chance in zip(batches, chances, strict=True)]
    return torch.stack(losses).mean().item()
