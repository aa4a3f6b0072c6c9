"""Channel weights of the loss: known CIELAB values, and a decoder with known effects of its channels."""

from types import SimpleNamespace

import pytest
import torch

from emo.training.losses import convert_to_cielab, measure_channel_weights

COLORS = {  # of sRGB, D65 (Lindbloom's calculator)
    (1, 1, 1): (100, 0, 0),
    (-1, -1, -1): (0, 0, 0),
    (1, -1, -1): (53.24, 80.09, 67.2),
    (-1, -1, 1): (32.3, 79.19, -107.86),
}


class KnownDecoder(torch.nn.Module):
    """Gray; the first channel lightens it, the second half as much, the third adds blue, the fourth has no effect."""

    config = SimpleNamespace(scaling_factor=1.0)

    def decode(self, z):
        light, dim, blue, _ = (0.05 * z).unbind(1)
        gray = light + 0.5 * dim
        return SimpleNamespace(sample=torch.stack([gray, gray, gray + blue], 1))


@pytest.mark.parametrize("color", COLORS)
def test_cielab_of_known_colors(color):
    found = convert_to_cielab(torch.tensor(color, dtype=torch.float32).view(1, 3, 1, 1))
    assert found.flatten().tolist() == pytest.approx(COLORS[color], abs=0.05)


def test_channels_are_weighted_by_the_visibility_of_their_errors():
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents[:, 1] *= 3  # a channel's spread must not change its weight
    light, dim, blue, invisible = weights = measure_channel_weights(KnownDecoder(), latents)
    assert weights.mean() == pytest.approx(1) and invisible == 0
    assert light / dim == pytest.approx(4, rel=0.05)
    bluer, lighter = torch.tensor([0, 0, 0.01]), torch.full((3,), 0.01)
    gray, bluer, lighter = convert_to_cielab(torch.stack([torch.zeros(3), bluer, lighter])[..., None, None])
    ratio = (bluer - gray).square().sum() / (lighter - gray).square().sum()
    assert blue / light == pytest.approx(ratio.item(), rel=0.1)
    assert torch.equal(weights, measure_channel_weights(KnownDecoder(), latents))
