"""Random numbers belong to a sample, not to its batch."""

import torch

from emo.training.distributed import SampleGenerators


def draw(seed: int, numbers: range) -> list[torch.Tensor]:
    generators = SampleGenerators(seed, numbers, torch.device("cpu"))
    return [generators.rand(), generators.randn(2, 3), generators.rand()]


def test_sample_has_the_same_random_numbers_in_every_split():
    full, split = draw(0, range(8)), [draw(0, range(rank, 8, 2)) for rank in range(2)]
    for i, values in enumerate(full):
        assert torch.equal(values[0::2], split[0][i]) and torch.equal(values[1::2], split[1][i])
    assert full[1].shape == (8, 2, 3)
    assert len(torch.cat([full[0], full[2], draw(1, range(8))[0]]).unique()) == 24


def test_random_numbers_are_uniform_and_normal():
    generators = SampleGenerators(0, range(4000), torch.device("cpu"))
    uniform, normal = generators.rand(), generators.randn(3)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02 and abs(uniform.var() - 1 / 12) < 0.005
    assert abs(normal.mean()) < 0.03 and abs(normal.var() - 1) < 0.05
