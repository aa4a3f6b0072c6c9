"""A sample's chance belongs to the sample."""

import torch

from emo.training.distributed import Generators


def drawn(seed: int, numbers: range) -> list[torch.Tensor]:
    generators = Generators(seed, numbers, torch.device("cpu"))
    return [generators.rand(), generators.randn(2, 3), generators.rand()]


def test_a_sample_draws_the_same_wherever_it_falls_and_no_other_does():
    whole, shared = drawn(0, range(8)), [drawn(0, range(rank, 8, 2)) for rank in range(2)]
    for i, values in enumerate(whole):
        assert torch.equal(values[0::2], shared[0][i]) and torch.equal(values[1::2], shared[1][i])
    assert whole[1].shape == (8, 2, 3)
    assert len(torch.cat([whole[0], whole[2], drawn(1, range(8))[0]]).unique()) == 24


def test_they_are_uniform_and_normal():
    generators = Generators(0, range(4000), torch.device("cpu"))
    uniform, normal = generators.rand(), generators.randn(3)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02 and abs(uniform.var() - 1 / 12) < 0.005
    assert abs(normal.mean()) < 0.03 and abs(normal.var() - 1) < 0.05
