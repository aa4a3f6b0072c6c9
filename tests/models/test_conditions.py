"""The list of conditions: null values, drop rates, controls by frame, and what callers may give."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.models.conditioners import ControlEncoder
from emo.models.conditions import (
    CONDITIONS,
    EMOTIONS,
    Conditions,
    EncodedConditions,
    drop_conditions,
    find_controls,
    parse_value,
    slice_curve,
    value_or_null,
)
from emo.models.emo import EMOModel

CONTROLS = ("gaze", "head_pose", "distance", "emotion")
B, F, M = 2, 3, 2
SIZES = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "num_attention_heads": 2,
    "norm_num_groups": 4,
    "audio_layers": 3,
    "audio_feature_dim": 5,
    "audio_tokens": 2,
    "audio_token_dim": 6,
    "audio_hidden_dim": 7,
    "num_frames": 3,
    "num_motion_frames": 2,
    "max_frames": 8,
    "frame_token_dim": 6,
}


def randomize(model: torch.nn.Module) -> None:
    """Some weights start at zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.fixture
def model() -> EMOModel:
    torch.manual_seed(0)
    model = EMOModel(**SIZES, controls=CONTROLS).eval()
    randomize(model)
    return model


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, Conditions]:
    """Noisy latents, timesteps and a value for every condition."""
    torch.manual_seed(1)
    given = Conditions(
        reference=torch.randn(B, 4, 8, 8),
        audio=torch.randn(B, F + 4, 3, 5),
        motion=torch.randn(B, M, 4, 8, 8),
        face_region=torch.rand(B, 1, 8, 8).round(),
        head_speed=torch.rand(B, F + 4),
        gaze=torch.randn(B, F, 2),
        head_pose=torch.randn(B, F, 3),
        distance=torch.rand(B, F, 1) + 0.5,
        emotion=torch.rand(B, F, len(EMOTIONS)),
    )
    return torch.randn(B, F, 4, 8, 8), torch.tensor([3, 700]), given


def test_the_list_names_fields_of_both_dataclasses():
    assert set(CONDITIONS) <= {field.name for field in fields(Conditions)}
    assert {spec.enters for spec in CONDITIONS.values()} <= {field.name for field in fields(EncodedConditions)}
    assert all(name == spec.name for name, spec in CONDITIONS.items())
    assert list(CONDITIONS)[:5] == [
        "reference",
        "audio",
        "motion",
        "face_region",
        "head_speed",
    ]  # order of random draws


@torch.no_grad()
@pytest.mark.parametrize("name", ["reference", "audio", "motion", "face_region", "head_speed", *CONTROLS])
def test_left_out_is_null_and_a_value_counts(model, inputs, name):
    sample, timestep, given = inputs
    full = model(sample, timestep, given)
    without = model(sample, timestep, replace(given, **{name: None}))
    null = value_or_null(replace(given, **{name: None}), name, model.config, sample.shape, sample.device, sample.dtype)
    assert null.shape == getattr(given, name).shape
    assert torch.equal(without, model(sample, timestep, replace(given, **{name: null})))
    assert (full - without).abs().max() > 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["reference", "audio", "motion", "face_region", "head_speed", *CONTROLS])
def test_leaving_out_of_encoded_conditions_is_encoding_without(model, inputs, name):
    sample, timestep, given = inputs
    encoded = model.encode_conditions(given, sample.shape)
    without = model.encode_without(encoded, given, sample.shape, [name])
    expected = model(sample, timestep, replace(given, **{name: None}))
    torch.testing.assert_close(model(sample, timestep, given, without), expected)


@torch.no_grad()
def test_controls_that_are_null_change_no_bit(model, inputs):
    """A model that gains controls gives what it gave before, and old checkpoints have all its other weights."""
    sample, timestep, given = inputs
    plain = EMOModel(**SIZES).eval()
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing == [] and all(name.startswith("control_encoders.") for name in unexpected)
    null = replace(given, **dict.fromkeys(CONTROLS))
    assert torch.equal(model(sample, timestep, null), plain(sample, timestep, given))


@torch.no_grad()
def test_new_control_encoders_change_no_bit(model, inputs):
    sample, timestep, given = inputs
    fresh = EMOModel(**SIZES, controls=CONTROLS).eval()
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("control_encoders.")}
    fresh.load_state_dict(weights, strict=False)
    assert torch.equal(
        fresh(sample, timestep, given), fresh(sample, timestep, replace(given, **dict.fromkeys(CONTROLS)))
    )


@torch.no_grad()
def test_an_emotion_of_the_clip_is_that_of_every_frame(model, inputs):
    sample, timestep, given = inputs
    clip = given.emotion[:, 0]
    frames = replace(given, emotion=clip[:, None].expand(-1, F, -1))
    assert torch.equal(model(sample, timestep, replace(given, emotion=clip)), model(sample, timestep, frames))


@torch.no_grad()
def test_a_control_of_one_frame_leaves_the_tokens_of_the_others_alone(model, inputs):
    sample, _, given = inputs
    changed = given.gaze.clone()
    changed[:, 1] += 0.5
    tokens = [
        model.encode_conditions(replace(given, gaze=gaze), sample.shape).frame_tokens for gaze in (given.gaze, changed)
    ]
    moved = (tokens[0] - tokens[1]).abs().amax((0, 2))
    assert moved[1] > 1e-5 and moved[0] == 0 and moved[2] == 0


@torch.no_grad()
def test_one_component_may_be_unknown():
    torch.manual_seed(0)
    encoder = ControlEncoder(2, 4)
    randomize(encoder)
    nan = torch.nan
    both, one, zero, none = (encoder(torch.tensor([[v]]), 1) for v in ([0.3, 0.1], [0.3, nan], [0.3, 0.0], [nan, nan]))
    assert not torch.equal(both, one) and not torch.equal(one, zero) and not none.any()


def test_every_parameter_takes_part_when_all_is_left_out(model, inputs):
    sample, timestep, _ = inputs
    model(sample, timestep, Conditions()).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_controls_survive_saving(model, inputs, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = EMOModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(*inputs), model(*inputs))
    assert [spec.name for spec in loaded.conditions if spec.is_control] == list(CONTROLS)


def test_controls_need_a_known_name_and_speed_layers():
    with pytest.raises(ValueError, match="'hair' is not a control: choose among"):
        EMOModel(**SIZES, controls=("hair",))
    with pytest.raises(ValueError, match="need temporal=true and a frame_token_dim"):
        EMOModel(**SIZES | {"frame_token_dim": None}, controls=("gaze",))
    assert [spec.name for spec in find_controls(["emotion", "gaze"])] == ["gaze", "emotion"]


class Draws:
    """Uniform draws (B,), counted."""

    def __init__(self, seed: int):
        self.generator, self.count = torch.Generator().manual_seed(seed), 0

    def rand(self) -> torch.Tensor:
        self.count += 1
        return torch.rand(B, generator=self.generator)


def test_conditions_are_dropped_by_one_draw_each_in_the_lists_order(inputs):
    given = replace(inputs[2], **dict.fromkeys(CONTROLS))
    rates = {"reference": 0.5, "audio": 0.3, "motion": 0.6, "face_region": 0.5, "head_speed": 0.4}
    for seed in range(8):
        draws, expected = Draws(seed), torch.Generator().manual_seed(seed)
        dropped = drop_conditions(given, rates, draws.rand)
        for name, rate in rates.items():
            keep = torch.rand(B, generator=expected) >= rate
            null = torch.full_like(getattr(given, name), CONDITIONS[name].null)
            for i in range(B):
                kept = getattr(given, name)[i] if keep[i] else null[i]
                assert torch.equal(getattr(dropped, name)[i].nan_to_num(9.0), kept.nan_to_num(9.0)), name
        assert draws.count == 5 and dropped.gaze is None


def test_drop_rates_of_none_all_and_the_default(inputs):
    given = inputs[2]
    untouched = drop_conditions(given, dict.fromkeys(CONDITIONS, 0.0), Draws(0).rand)
    assert all(torch.equal(getattr(untouched, name), getattr(given, name)) for name in CONDITIONS if name != "identity")
    nulls = drop_conditions(given, dict.fromkeys(CONDITIONS, 1.0), Draws(0).rand)
    assert nulls.gaze.isnan().all() and (nulls.face_region == 1).all() and not nulls.audio.any()
    assert CONDITIONS["audio"].drop_rate == 0.05
    always_low = drop_conditions(given, {}, lambda: torch.full((B,), 0.049))
    assert not always_low.audio.any()
    assert torch.equal(drop_conditions(given, {}, lambda: torch.full((B,), 0.06)).audio, given.audio)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("head_speed", 0.4, [0.4]),
        ("head_speed", [0.1, 0.2, 0.3], [[0.1], [0.2], [0.3]]),
        ("gaze", (0.1, -0.2), [0.1, -0.2]),
        ("gaze", {"yaw": 0.1}, [0.1, np.nan]),
        ("head_pose", np.zeros((5, 3)), np.zeros((5, 3))),
        ("distance", 1.2, [1.2]),
        ("emotion", "happy", [0, 1, 0, 0, 0, 0, 0]),
        ("emotion", {"sad": 0.6, "angry": 0.2}, [0, 0, 0.6, 0.2, 0, 0, 0]),
    ],
)
def test_values_that_callers_may_give(name, value, expected):
    np.testing.assert_allclose(parse_value(name, value), np.array(expected, np.float32), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gaze", 0.1, r"gaze has shape \(\): give \(2,\) or \(frames, 2\) of yaw, pitch"),
        ("gaze", (1, 2, 3), "gaze has shape"),
        ("gaze", {"roll": 1.0}, "gaze: 'roll' is unknown, choose among yaw, pitch"),
        ("emotion", "bored", "emotion: 'bored' is unknown, choose among neutral, happy"),
        ("gaze", ("left", "up"), r"gaze=\('left', 'up'\): give 2 numbers \(yaw, pitch\)"),
        ("head_pose", np.zeros((0, 3)), "head_pose has shape"),
    ],
)
def test_values_that_do_not_fit_are_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        parse_value(name, value)


def test_a_curve_goes_on_beyond_its_ends():
    curve = np.array([[1.0], [2.0], [3.0]], np.float32)
    assert slice_curve(curve, -2, 5)[:, 0].tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert slice_curve(np.array([4.0], np.float32), 10, 12)[:, 0].tolist() == [4, 4]


def test_controls_are_dropped_together(inputs):
    given, kept = inputs[2], dict.fromkeys(CONDITIONS, 0.0)
    dropped = drop_conditions(given, kept, lambda: torch.tensor([0.4, 0.6]), controls_rate=0.5)
    for name in ("head_speed", *CONTROLS):
        assert getattr(dropped, name)[0].isnan().all()
        assert torch.equal(getattr(dropped, name)[1], getattr(given, name)[1])
    assert torch.equal(dropped.audio, given.audio) and torch.equal(dropped.reference, given.reference)
