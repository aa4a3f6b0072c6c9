"""The chance in a loss: each sample has its own, whichever process or micro-batch it falls to."""

import numpy as np
import torch
from torch import Tensor


class Generators:
    """One torch.Generator for each sample of a batch, from the run's seed and the sample's number alone."""

    def __init__(self, seed: int, numbers: range, device: torch.device):
        seeds = [np.random.SeedSequence([seed, number, 2]).generate_state(1, np.uint64)[0] for number in numbers]
        self.each = [torch.Generator(device).manual_seed(int(value)) for value in seeds]

    def rand(self, *shape: int) -> Tensor:
        """(B *shape) uniform in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=one, device=one.device) for one in self.each])

    def randn(self, *shape: int) -> Tensor:
        """(B *shape) of the standard normal distribution."""
        return torch.stack([torch.randn(shape, generator=one, device=one.device) for one in self.each])
