"""EMOModel: every parameter gets a gradient, every condition counts, a condition left out equals its null value."""

from dataclasses import replace

import pytest
import torch

from emo.models.conditioners import HeadSpeedEncoder
from emo.models.conditions import Conditions
from emo.models.emo import EMOModel

TINY = dict(
    block_out_channels=(8, 16),
    layers_per_block=1,
    num_attention_heads=2,
    norm_num_groups=4,
    audio_layers=3,
    audio_feature_dim=5,
    audio_tokens=2,
    audio_token_dim=6,
    audio_hidden_dim=7,
    num_frames=3,
    num_motion_frames=2,
    max_frames=8,
    frame_token_dim=6,
)
B, F, M = 2, 3, 2
NAMES = ["reference", "audio", "motion", "face_region", "head_speed"]  # of EMO's conditions
CASES = pytest.mark.parametrize(
    "options", [{}, {"residual_scale": 0.5}, {"temporal": False}, {"audio_embedding": True}]
)


def tiny(**options) -> EMOModel:
    torch.manual_seed(0)
    model = EMOModel(**TINY, **options)
    with torch.no_grad():
        for parameter in model.parameters():  # some start at zero
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def inputs() -> tuple[torch.Tensor, torch.Tensor, Conditions]:
    torch.manual_seed(1)
    conditions = Conditions(
        reference=torch.randn(B, 4, 8, 8),
        audio=torch.randn(B, F + 4, 3, 5),
        motion=torch.randn(B, M, 4, 8, 8),
        face_region=torch.rand(B, 1, 8, 8).round(),
        head_speed=torch.rand(B, F + 4),
    )
    return torch.randn(B, F, 4, 8, 8), torch.tensor([3, 700]), conditions


def nulls() -> Conditions:
    return Conditions(
        reference=torch.zeros(B, 4, 8, 8),
        audio=torch.zeros(B, F + 4, 3, 5),
        motion=torch.zeros(B, M, 4, 8, 8),
        face_region=torch.ones(B, 1, 8, 8),
        head_speed=torch.full((B, F + 4), torch.nan),
    )


@CASES
def test_every_parameter_gets_a_gradient(options):
    model = tiny(**options)
    model(*inputs()).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []


@CASES
def test_every_parameter_takes_part_when_all_is_left_out(options):
    model = tiny(**options)
    sample, timestep, _ = inputs()
    model(sample, timestep, Conditions()).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [None, 0.5])
def test_each_condition_counts_and_left_out_equals_null(name, scale):
    model, (sample, timestep, conditions) = tiny(residual_scale=scale), inputs()
    given = model(sample, timestep, conditions)
    without = model(sample, timestep, replace(conditions, **{name: None}))
    null = model(sample, timestep, replace(conditions, **{name: getattr(nulls(), name)}))
    assert (given - without).abs().max() > 1e-4
    assert torch.equal(without, null)


@torch.no_grad()
def test_no_conditions_equal_null_conditions():
    model, (sample, timestep, _) = tiny(), inputs()
    assert torch.equal(model(sample, timestep, Conditions()), model(sample, timestep, nulls()))


@torch.no_grad()
def test_null_conditions_of_one_clip_do_not_change_the_other():
    model, (sample, timestep, conditions) = tiny(), inputs()
    given, null = model(sample, timestep, conditions), nulls()
    half = Conditions(**{name: torch.stack([getattr(null, name)[0], getattr(conditions, name)[1]]) for name in NAMES})
    mixed = model(sample, timestep, half)
    assert torch.allclose(mixed[1], given[1], atol=1e-5)
    assert torch.allclose(mixed[0], model(sample, timestep, Conditions())[0], atol=1e-5)


@torch.no_grad()
@CASES
def test_conditions_encoded_before_give_the_same_prediction(options):
    model, (sample, timestep, conditions) = tiny(**options), inputs()
    portrait = model.encode_reference(conditions.reference)
    encoded = model.encode_conditions(conditions, sample.shape, reference_tokens=portrait)
    assert torch.equal(model(sample, timestep, conditions, encoded), model(sample, timestep, conditions))


@torch.no_grad()
def test_motion_frames_are_encoded_independently():
    model, (_, _, conditions) = tiny(), inputs()
    maps = model.encode_motion(conditions.motion)
    first = model.encode_motion(conditions.motion[:, :1])
    assert all(torch.allclose(m[:, :1], f, atol=1e-5) for m, f in zip(maps, first, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("embedding", [False, True])
def test_audio_reaches_only_the_frames_within_the_margin(embedding):
    model = tiny(temporal=False, audio_embedding=embedding)
    sample, timestep, conditions = inputs()
    given = model(sample, timestep, conditions)
    audio = conditions.audio.clone()
    audio[:, 0] += 1.0  # two frames before the window
    changed = model(sample, timestep, replace(conditions, audio=audio))
    moved = (changed - given).abs().amax((0, 2, 3, 4))
    assert moved[0] > 1e-5 and moved[1] == 0 and moved[2] == 0


@torch.no_grad()
def test_a_new_audio_embedding_changes_nothing():
    plain, fresh, given = tiny(), EMOModel(**TINY, audio_embedding=True).eval(), inputs()
    fresh.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(fresh(*given), plain(*given))


@torch.no_grad()
def test_from_diffused_inverts_to_diffused():
    model, (sample, _, conditions) = tiny(residual_scale=0.5), inputs()
    diffused = model.to_diffused(sample, conditions.reference)
    assert torch.allclose(model.from_diffused(diffused, conditions.reference), sample, atol=1e-5)
    assert torch.allclose(diffused[:, 1], (sample[:, 1] - conditions.reference) * 0.5)
    free = tiny()
    assert free.to_diffused(sample, conditions.reference) is sample
    assert free.from_diffused(sample, conditions.reference) is sample


@torch.no_grad()
def test_the_threshold_shrinks_differences_and_removes_faint_ones():
    model, reference = tiny(residual_scale=2.0, residual_threshold=0.3), torch.randn(1, 4, 1, 3)
    strength = torch.tensor([0.0, 0.29, 1.3])  # RMS over the channels, of each place
    diffused = strength * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None].expand(1, 1, 4, 1, 3)
    change = 2.0 * (model.from_diffused(diffused, reference) - reference[:, None])
    assert torch.allclose(change, diffused * torch.tensor([0.0, 0.0, 1.0 / 1.3]), atol=1e-6)


def test_more_frames_than_positions_raise_an_error():
    with pytest.raises(ValueError, match="max_frames=8"):
        EMOModel(**TINY | {"num_frames": 7})
    assert EMOModel(**TINY | {"num_frames": 6}).config.num_frames == 6


@torch.no_grad()
@CASES
def test_saved_and_loaded_models_are_equal(options, tmp_path):
    model = tiny(**options)
    model.save_pretrained(tmp_path)
    loaded = EMOModel.from_pretrained(tmp_path)
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in model.state_dict().items())
    assert torch.equal(loaded(*inputs()), model(*inputs()))


@CASES
def test_gradient_checkpointing_gives_the_same_gradients(options):
    model, gradients = tiny(**options).train(), []
    for on in (False, True):
        model.enable_gradient_checkpointing() if on else model.disable_gradient_checkpointing()
        model.zero_grad()
        model(*inputs()).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_speed_buckets_are_emo_equation_3():
    encoder = HeadSpeedEncoder((0.0, 0.5), (0.1, 0.25), margin=1, dim=4)
    expected = torch.tensor([[0.3 / 0.1 * 3, -0.2 / 0.25 * 3], [0.5 / 0.1 * 3, 0.0]]).tanh()
    assert torch.allclose(encoder.buckets(torch.tensor([0.3, 0.5])), expected, atol=1e-6)
    assert torch.equal(encoder.buckets(torch.tensor([torch.nan])), torch.zeros(1, 2))
