"""Guidance: limited in size, and one formula for whoever guides."""

import torch

from emo.models.emo import Conditions
from emo.pipelines.guidance import Guidance, limited


def test_what_guidance_adds_to_a_frame_is_limited_in_size_and_keeps_its_direction():
    update = torch.ones(1, 2, 3, 4, 4) * torch.tensor([0.05, -0.2]).view(1, 2, 1, 1, 1)
    assert torch.equal(limited(update, 0.0), update)
    assert torch.allclose(limited(update, 0.1)[0, :, 0, 0, 0], torch.tensor([0.05, -0.1]))
    assert torch.equal(limited(0 * update, 0.1), 0 * update)


@torch.no_grad()
def test_it_goes_from_the_silent_prediction_through_the_heard_one(make_pipeline):
    """2207.12598, equation 6, with 1 + w for the scale, and without a look at the silence where the scale is 1."""
    model, chance = make_pipeline().model, torch.Generator().manual_seed(0)
    reference, audio = (torch.randn(size, generator=chance) for size in [(2, 4, 8, 8), (2, 6, 1, 16)])
    given, silence = Conditions(reference, audio), Conditions(reference)
    sample, step = torch.randn((2, 6, 4, 8, 8), generator=chance), torch.tensor([300, 999])
    heard, silent = model(sample, step, given), model(sample, step, silence)
    guided, plain = Guidance(2.5), Guidance()
    made = guided.predict(model, sample, step, given, guided.look(model, given, sample.shape))
    assert torch.allclose(made, silent + 2.5 * (heard - silent), atol=1e-5) and not torch.allclose(made, heard)
    seen = plain.look(model, given, sample.shape)
    assert len(seen) == 1 and torch.equal(plain.predict(model, sample, step, given, seen), heard)
