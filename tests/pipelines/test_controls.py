"""Conditions that a call gives the pipeline, guidance by them, and LoRA adapters."""

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.face.crop import Region
from emo.face.selection import SelectedFace
from emo.models.conditions import Conditions
from emo.models.lora import add_lora, save_lora
from emo.pipelines.guidance import Guidance

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector
TARGETS = ["to_q", "to_v"]


@pytest.fixture
def controlled(make_pipeline):
    """A pipeline whose model has two controls."""
    return make_pipeline(controls=["gaze", "emotion"])


@pytest.fixture
def call(portrait, wave):
    """call(pipeline, **options) -> 8 frames, two windows."""

    def run(pipeline, **options):
        given = {"face": FACE, "crop_only": True, "generator": torch.Generator().manual_seed(0)} | options
        return pipeline(portrait, wave[: 8 * 640], **given).frames

    return run


def test_controls_change_the_frames_and_null_ones_do_not(controlled, call):
    plain = call(controlled)
    for controls in ({"gaze": (0.5, 0.0)}, {"emotion": {"happy": 0.8}}, {"emotion": "sad"}):
        assert (call(controlled, controls=controls) != plain).any(), controls
    np.testing.assert_array_equal(call(controlled, controls={"gaze": None}), plain)
    np.testing.assert_array_equal(call(controlled, controls={"gaze": (np.nan, np.nan)}), plain)


def test_a_curve_of_equal_rows_is_a_constant_and_its_frames_count(controlled, call):
    constant = call(controlled, controls={"gaze": (0.5, 0.1)})
    np.testing.assert_array_equal(call(controlled, controls={"gaze": np.tile([0.5, 0.1], (8, 1))}), constant)
    later = np.tile([0.5, 0.1], (8, 1))
    later[6:] = -0.5
    changed = call(controlled, controls={"gaze": later})
    np.testing.assert_array_equal(changed[:6], constant[:6])  # the first window ends there
    assert (changed[6:] != constant[6:]).any()


def test_head_speed_may_be_a_curve(controlled, call):
    constant = call(controlled, head_speed=0.6)
    np.testing.assert_array_equal(call(controlled, head_speed=[0.6] * 8), constant)
    assert (call(controlled, head_speed=[0.6] * 4 + [0.0] * 4) != constant).any()


def test_conditions_that_the_model_has_not_are_refused(controlled, tiny_pipeline, call):
    with pytest.raises(InputError, match="gaze= is not a control of this model: it has head_speed="):
        call(tiny_pipeline, controls={"gaze": (0, 0)})
    with pytest.raises(InputError, match="'hair' is not a control: the model has head_speed=, gaze=, emotion="):
        call(controlled, controls={"hair": 1.0})
    with pytest.raises(InputError, match="condition_scales=hair is not a condition of this model"):
        call(controlled, condition_scales={"hair": 2.0})
    with pytest.raises(InputError, match="identity: the model has no such condition"):
        call(controlled, identity=np.zeros(512, np.float32))


def test_guidance_by_a_control(controlled, call):
    plain = call(controlled, controls={"gaze": (0.5, 0.0)})
    guided = call(controlled, controls={"gaze": (0.5, 0.0)}, condition_scales={"gaze": 3.0})
    assert (guided != plain).any()
    off = call(controlled, controls={"gaze": (0.5, 0.0)}, condition_scales={"gaze": 1.0})
    np.testing.assert_array_equal(off, plain)


@torch.no_grad()
def test_guidance_by_several_conditions_is_a_sum(controlled):
    """VASA-1 (2404.10667), section 3.2: each condition's own difference, times its scale less one."""
    model, draw = controlled.model, torch.Generator().manual_seed(0)
    shapes = {"reference": (1, 4, 8, 8), "audio": (1, 6, 1, 16), "gaze": (1, 6, 2)}
    values = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    sample, step = torch.randn(1, 6, 4, 8, 8, generator=draw), torch.tensor(400)
    full, silent, no_gaze = (
        model(sample, step, Conditions(**{name: v for name, v in values.items() if name != left_out}))
        for left_out in (None, "audio", "gaze")
    )
    given, guidance = Conditions(**values), Guidance(2.0, condition_scales={"gaze": 4.0})
    encoded = guidance.encode_conditions(model, given, sample.shape)
    made = guidance.predict(model, sample, step, given, encoded)
    torch.testing.assert_close(made, full + (full - silent) + 3 * (full - no_gaze))
    assert len(encoded) == 3


@pytest.fixture
def adapters(make_pipeline, tmp_path):
    """Two folders of adapters for the tiny model."""
    for seed, name in enumerate(("one", "two")):
        model = make_pipeline().model.requires_grad_(False)
        add_lora(model, 2, 4.0, TARGETS)
        torch.manual_seed(seed)
        for parameter in (p for n, p in model.named_parameters() if "lora_B" in n):
            torch.nn.init.normal_(parameter, std=0.3)
        save_lora(model, tmp_path / name)
    return tmp_path / "one", tmp_path / "two"


def latents(pipeline, call) -> torch.Tensor:
    return call(pipeline, output_type="latent")


def test_adapters_are_chosen_weighed_fused_and_removed(make_pipeline, call, adapters):
    pipeline = make_pipeline()
    names, plain = set(pipeline.model.state_dict()), latents(pipeline, call)
    pipeline.load_lora_weights(adapters[0], adapter_name="one")
    one = latents(pipeline, call)
    pipeline.load_lora_weights(adapters[1], adapter_name="two")
    two = latents(pipeline, call)
    assert pipeline.get_list_adapters() == {"model": ["one", "two"]}
    assert (one - plain).abs().max() > 1e-3 and (one - two).abs().max() > 1e-3
    pipeline.set_adapters("one")
    assert torch.equal(latents(pipeline, call), one)
    pipeline.set_adapters(["one", "two"], [1.0, 0.0])
    torch.testing.assert_close(latents(pipeline, call), one)
    pipeline.set_adapters("one", 0.0)
    torch.testing.assert_close(latents(pipeline, call), plain)
    pipeline.set_adapters(["one", "two"], 0.5)
    both = latents(pipeline, call)
    pipeline.fuse_lora()
    torch.testing.assert_close(latents(pipeline, call), both, atol=1e-4, rtol=0)
    pipeline.unfuse_lora()
    torch.testing.assert_close(latents(pipeline, call), both, atol=1e-4, rtol=0)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    torch.testing.assert_close(latents(pipeline, call), both, atol=1e-4, rtol=0)  # fused weights stay
    assert set(pipeline.model.state_dict()) == names and pipeline.get_list_adapters() == {"model": []}


def test_removing_adapters_gives_the_model_back(make_pipeline, call, adapters):
    pipeline = make_pipeline()
    plain = latents(pipeline, call)
    pipeline.load_lora_weights(adapters[0])
    pipeline.unload_lora_weights()
    torch.testing.assert_close(latents(pipeline, call), plain)


def test_adapter_names_that_can_not_be(make_pipeline, adapters):
    pipeline = make_pipeline()
    pipeline.load_lora_weights(adapters[0], "one")
    with pytest.raises(InputError, match="adapter_name='one' is loaded already"):
        pipeline.load_lora_weights(adapters[1], "one")
    with pytest.raises(InputError, match="adapter_names: 'two' is not loaded, there are one"):
        pipeline.set_adapters(["one", "two"])
    with pytest.raises(InputError, match="adapter_weights: 2 for 1 adapters"):
        pipeline.set_adapters("one", [1.0, 2.0])
