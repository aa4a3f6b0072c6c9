"""Classifier-free guidance: its formula and the limit of its updates."""

import torch

from emo.models.conditions import Conditions
from emo.pipelines.guidance import Guidance, limit_rms


def test_updates_are_limited_in_size_and_keep_their_direction():
    update = torch.ones(1, 2, 3, 4, 4) * torch.tensor([0.05, -0.2]).view(1, 2, 1, 1, 1)
    assert torch.equal(limit_rms(update, 0.0), update)
    assert torch.allclose(limit_rms(update, 0.1)[0, :, 0, 0, 0], torch.tensor([0.05, -0.1]))
    assert torch.equal(limit_rms(0 * update, 0.1), 0 * update)


@torch.no_grad()
def test_guidance_extrapolates_from_the_prediction_without_audio(make_pipeline):
    """2207.12598, equation 6, with 1 + w for the scale, and without a look at the silence where the scale is 1."""
    model, chance = make_pipeline().model, torch.Generator().manual_seed(0)
    reference, audio = (torch.randn(size, generator=chance) for size in [(2, 4, 8, 8), (2, 6, 1, 16)])
    given, silence = Conditions(reference, audio), Conditions(reference)
    sample, step = torch.randn((2, 6, 4, 8, 8), generator=chance), torch.tensor([300, 999])
    with_audio, without_audio = model(sample, step, given), model(sample, step, silence)
    guided, plain = Guidance(2.5), Guidance()
    made = guided.predict(model, sample, step, given, guided.encode_conditions(model, given, sample.shape))
    assert torch.allclose(made, without_audio + 2.5 * (with_audio - without_audio), atol=1e-5) and not torch.allclose(
        made, with_audio
    )
    encoded = plain.encode_conditions(model, given, sample.shape)
    assert len(encoded) == 1 and torch.equal(plain.predict(model, sample, step, given, encoded), with_audio)
