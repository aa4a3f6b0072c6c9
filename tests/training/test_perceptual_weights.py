"""What the eye sees of a latent error: CIELAB's own figures, and a decoder of which every channel's part is known."""

from types import SimpleNamespace

import pytest
import torch

from emo.training.losses import cielab, perceived_weights

COLOURS = {  # of sRGB, D65 (Lindbloom's calculator)
    (1, 1, 1): (100, 0, 0),
    (-1, -1, -1): (0, 0, 0),
    (1, -1, -1): (53.24, 80.09, 67.2),
    (-1, -1, 1): (32.3, 79.19, -107.86),
}


class Known(torch.nn.Module):
    """Grey, lighter by the first channel, and by the second half as much; blue by the third; the fourth is not seen."""

    config = SimpleNamespace(scaling_factor=1.0)

    def decode(self, z):
        light, dim, blue, _ = (0.05 * z).unbind(1)
        grey = light + 0.5 * dim
        return SimpleNamespace(sample=torch.stack([grey, grey, grey + blue], 1))


@pytest.mark.parametrize("colour", COLOURS)
def test_cielab_of_known_colours(colour):
    found = cielab(torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1))
    assert found.flatten().tolist() == pytest.approx(COLOURS[colour], abs=0.05)


def test_an_error_weighs_as_it_is_seen():
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents[:, 1] *= 3  # how far a channel spreads is not what an error in it costs
    light, dim, blue, unseen = weights = perceived_weights(Known(), latents)
    assert weights.mean() == pytest.approx(1) and unseen == 0
    assert light / dim == pytest.approx(4, rel=0.05)
    bluer, lighter = torch.tensor([0, 0, 0.01]), torch.full((3,), 0.01)
    grey, bluer, lighter = cielab(torch.stack([torch.zeros(3), bluer, lighter])[..., None, None])
    ratio = (bluer - grey).square().sum() / (lighter - grey).square().sum()
    assert blue / light == pytest.approx(ratio.item(), rel=0.1)
    assert torch.equal(weights, perceived_weights(Known(), latents))
