"""The diffusion loss: weights as in the paper, dropped conditions equal their null value, the mouth weighs more."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from emo.core.config import LossConfig, SchedulerConfig
from emo.data.batch import Batch
from emo.media.image import images_to_tensor
from emo.models.autoencoder import encode_images
from emo.models.conditions import Conditions, drop_conditions
from emo.models.emo import EMOModel
from emo.training.distributed import SampleGenerators
from emo.training.losses import (
    add_motion_frame_noise,
    compute_diffusion_loss,
    compute_snr_weights,
    draw_timesteps,
    group_by_timestep,
    make_mouth_map,
)

B, F, M, C, S = 3, 4, 2, 4, 4
NAMES = ["reference", "audio", "motion", "face_region", "head_speed"]
KEEP_ALL = {name: 0.0 for name in NAMES}
LOSS = LossConfig()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generators(seed: int = 0, count: int = B) -> SampleGenerators:
    return SampleGenerators(seed, range(count), torch.device("cpu"))


def scheduler(kind: str = "sample", zero_snr: bool = False) -> DDIMScheduler:
    return DDIMScheduler(**vars(SchedulerConfig(prediction_type=kind, rescale_betas_zero_snr=zero_snr)))


def conditions() -> Conditions:
    rng = generator(5)
    return Conditions(
        reference=torch.randn(B, C, S, S, generator=rng),
        audio=torch.randn(B, F, 1, 16, generator=rng),
        motion=torch.randn(B, M, C, S, S, generator=rng),
        face_region=torch.rand(B, 1, S, S, generator=rng),
        head_speed=torch.rand(B, F + 4, generator=rng),
    )


def batch(given: Conditions) -> Batch:
    latents = torch.randn(B, F, C, S, S, generator=generator(6))
    lips = torch.tensor([0.5, 0.7, 0.3]).expand(B, F, 3)
    return Batch(latents, given.reference, given.motion, given.audio, lips, given.face_region, given.head_speed)


class ConstantModel(torch.nn.Module):
    """A model with a fixed prediction, which records its input."""

    def __init__(self, prediction: torch.Tensor | float, scale: float = 2.0):
        super().__init__()
        self.prediction, self.scale = prediction, scale

    def to_diffused(self, latents, reference):
        return (latents - reference[:, None]) * self.scale

    def forward(self, sample, timesteps, given):
        self.sample, self.timesteps, self.conditions = sample, timesteps, given
        return self.prediction + torch.zeros_like(sample)


def compute_mean_loss(*arguments) -> torch.Tensor:
    return compute_diffusion_loss(*arguments)[0].mean()


def are_equal(one: Conditions, other: Conditions, except_name: str = "") -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in NAMES if name != except_name]
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_condition_dropped_at_rate_one_equals_its_null_value(make_pipeline, name):
    model, given = make_pipeline().model, conditions()
    dropped = drop_conditions(given, KEEP_ALL | {name: 1.0}, generators().rand)
    assert are_equal(dropped, given, except_name=name)
    sample, step = torch.randn(B, F, C, S, S, generator=generator()), torch.tensor([3, 500, 900])
    without = model(sample, step, replace(given, **{name: None}))
    assert torch.equal(model(sample, step, dropped), without)
    assert not torch.equal(model(sample, step, given), without)


def test_condition_dropped_at_rate_zero_is_unchanged():
    assert are_equal(drop_conditions(conditions(), KEEP_ALL, generators().rand), conditions())


def test_rate_is_the_share_of_samples_that_lose_the_condition():
    given = Conditions(*(torch.ones(4000, *size) for size in [(1, 2, 2), (2, 2, 2), (1, 1, 2, 2), (1, 2, 2), (3,)]))
    rates = {"reference": 0.1, "audio": 0.2, "motion": 0.3, "face_region": 0.0, "head_speed": 0.5}
    dropped = drop_conditions(given, rates, generators(count=4000).rand)
    for name in ("reference", "audio", "motion", "head_speed"):
        is_dropped = getattr(dropped, name).flatten(1).ne(1)
        assert torch.equal(is_dropped.any(1), is_dropped.all(1))
        assert is_dropped.any(1).float().mean() == pytest.approx(rates[name], abs=0.03)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weights_are_those_of_the_paper(kind):
    """arXiv 2303.09556, section 3.4: min(SNR, g) on the clean sample, over SNR on the noise, over SNR + 1 on v."""
    made, steps = scheduler(kind), torch.tensor([0, 10, 300, 700, 999])
    alpha = made.alphas_cumprod[steps]
    snr = alpha / (1 - alpha)
    assert snr[0] > 5 > snr[-1] > 0
    expected = torch.minimum(snr, torch.tensor(5.0)) / {"epsilon": snr, "v_prediction": snr + 1, "sample": 1}[kind]
    assert torch.allclose(compute_snr_weights(made, steps, 5.0), expected, rtol=1e-4)
    assert torch.equal(compute_snr_weights(made, steps, None), torch.ones(5))


def test_weights_are_finite_at_pure_noise():
    for kind in ("v_prediction", "sample"):
        assert compute_snr_weights(scheduler(kind, zero_snr=True), torch.tensor([999]), 5.0).isfinite().all()


def test_timesteps_are_uniform_except_for_those_of_pure_noise():
    steps = draw_timesteps(scheduler(), 0.25, generators(count=8000))
    assert steps.min() >= 0 and steps.max() == 999
    assert (steps == 999).float().mean() == pytest.approx(0.25, abs=0.02)
    assert steps[steps < 999].float().mean() == pytest.approx(500, abs=15)
    assert (draw_timesteps(scheduler(), 1.0, generators(count=100)) == 999).all()


def test_mouth_map_peaks_at_the_mouth():
    lips = torch.tensor([[[0.3, 0.6, 0.2], [0.7, 0.5, 0.1]]])
    found = make_mouth_map(lips, 64)
    assert found.shape == (1, 2, 1, 64, 64) and found.max() <= 1 and found.min() >= 0
    for frame, (x, y, width) in enumerate(lips[0].tolist()):
        row, column = np.unravel_index(int(found[0, frame, 0].argmax()), (64, 64))
        assert (column + 0.5) / 64 == pytest.approx(x, abs=1 / 64)
        assert y <= (row + 0.5) / 64 + 1 / 64 and (row + 0.5) / 64 <= y + width  # the lower lip moves
        assert found[0, frame, 0, row, column] > 0.98
        away = found[0, frame, 0, int(0.05 * 64)]
        assert away.max() < 0.01


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_loss_is_the_weighted_squared_error(kind):
    made, given = scheduler(kind), conditions()
    target = (batch(given).latents - given.reference[:, None]) * 2.0
    chance = generators(7)
    noise = chance.randn(*target.shape[1:])
    steps = draw_timesteps(made, 0.0, chance)
    prediction = {"epsilon": noise, "sample": target, "v_prediction": made.get_velocity(target, noise, steps)}[kind]
    plain = replace(LOSS, min_snr_gamma=None)
    model = ConstantModel(prediction)
    assert compute_mean_loss(model, made, batch(given), given, plain, generators(7)) == 0
    assert torch.allclose(model.sample, made.add_noise(target, noise, steps)) and torch.equal(model.timesteps, steps)
    wrong = compute_mean_loss(ConstantModel(prediction + 0.5), made, batch(given), given, plain, generators(7))
    assert wrong == pytest.approx(0.25)
    weighted = compute_mean_loss(ConstantModel(prediction + 0.5), made, batch(given), given, LOSS, generators(7))
    assert weighted == pytest.approx(0.25 * compute_snr_weights(made, steps, 5.0).mean().item(), rel=1e-4)
    at_mouth = replace(plain, mouth_weight=6.0)
    more = compute_mean_loss(ConstantModel(prediction + 0.5), made, batch(given), given, at_mouth, generators(7))
    assert more == pytest.approx(0.25 * (1 + 5 * make_mouth_map(batch(given).lips, S).mean().item()), rel=1e-4)


def test_channel_weights_apply_to_their_share_of_the_loss():
    made, given, weights = scheduler(), conditions(), torch.tensor([4.0, 0.0, 0.0, 0.0])
    target = (batch(given).latents - given.reference[:, None]) * 2.0
    for share, cost in [(0.0, (1, 1)), (0.5, (2.5, 0.5)), (1.0, (4, 0))]:
        options = replace(LOSS, min_snr_gamma=None, perceptual_channel_weight=share)
        for channel, weight in enumerate(cost):
            wrong = target.clone()
            wrong[:, :, channel] += 1
            found = compute_mean_loss(ConstantModel(wrong), made, batch(given), given, options, generators(), weights)
            assert found == pytest.approx(weight / C)


def test_losses_are_per_sample_and_grouped_by_timestep():
    made, given, plain = scheduler(), conditions(), replace(LOSS, min_snr_gamma=None)
    target = (batch(given).latents - given.reference[:, None]) * 2.0
    off = torch.tensor([0.5, 0.0, 2.0])
    model = ConstantModel(target + off[:, None, None, None, None])
    losses, steps = compute_diffusion_loss(model, made, batch(given), given, plain, generators(7))
    assert torch.allclose(losses, off**2, atol=1e-5) and torch.equal(steps, model.timesteps)
    found = group_by_timestep(torch.arange(6.0), torch.tensor([999, 0, 250, 249, 750, 998]), 1000)
    assert {name: values.tolist() for name, values in found.items()} == {
        "loss/t0-249": [1.0, 3.0],
        "loss/t250-499": [2.0],
        "loss/t750-999": [0.0, 4.0, 5.0],
    }


def test_noise_offset_is_one_number_per_channel():
    made, given = scheduler(), conditions()
    options = replace(LOSS, min_snr_gamma=None, pure_noise_rate=1.0)
    plain, offset = ConstantModel(0.0), ConstantModel(0.0)
    compute_diffusion_loss(plain, made, batch(given), given, options, generators())
    compute_diffusion_loss(offset, made, batch(given), given, replace(options, noise_offset=0.5), generators())
    shift = offset.sample - plain.sample
    assert torch.allclose(shift, shift[:, :1, :, :1, :1].expand_as(shift), atol=1e-4) and shift.abs().max() > 0.1


def test_noise_of_motion_frames_leaves_missing_ones_out():
    motion = torch.randn(B, M, C, S, S)
    motion[:, 0] = 0  # missing
    options = replace(LOSS, motion_frame_noise=0.5)
    noisy = add_motion_frame_noise(motion, options, generators())
    difference = (noisy - motion).flatten(2).std(2)
    assert (difference[:, 0] == 0).all() and ((difference[:, 1] > 0) & (difference[:, 1] < 0.7)).all()
    assert len(set(difference[:, 1].tolist())) == B
    assert torch.equal(noisy, add_motion_frame_noise(motion, options, generators()))
    seen, plain = ConstantModel(0.0), ConstantModel(0.0)
    given = replace(conditions(), motion=motion)
    compute_diffusion_loss(seen, scheduler(), batch(given), given, options, generators())
    compute_diffusion_loss(plain, scheduler(), batch(given), given, LOSS, generators())
    assert torch.equal(plain.conditions.motion, motion) and not torch.equal(seen.conditions.motion, motion)


def test_two_frames_are_overfitted(tiny_pipeline, tiny_model, draw):
    """Closed and open mouth of one portrait, which differ only in their audio: the loss falls to almost nothing."""
    torch.manual_seed(0)
    model, made, options = EMOModel(**tiny_model | {"temporal": False}), scheduler(), replace(LOSS, min_snr_gamma=1)
    images = images_to_tensor(np.stack([draw(opening, 64) for opening in (0, 1)]))
    with torch.no_grad():
        latents = encode_images(tiny_pipeline.vae, images).expand(4, -1, -1, -1, -1)
    audio = torch.randn(1, 2, 1, 16).expand(4, -1, -1, -1)
    given = Conditions(latents[:, 0], audio)
    sample = Batch(latents, latents[:, 0], None, audio, torch.full((4, 2, 3), 0.5), None, None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for step in range(70):
        loss = compute_mean_loss(model, made, sample, given, options, generators(step, 4))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < losses[0] / 20
