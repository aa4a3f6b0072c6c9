"""The model that ships: small, on motion latents, four steps, with every control."""

import json
from inspect import signature

import numpy as np
import pytest
import torch

from emo import EMOPipeline, MotionAutoencoder
from emo.face.crop import Region
from emo.face.selection import SelectedFace
from emo.media.image import images_to_tensor
from emo.models.loading import BUILT_IN_MODELS

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector


@pytest.fixture(scope="module")
def mini() -> EMOPipeline:
    pipeline = EMOPipeline.from_pretrained("mini")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def call(mini, portrait, wave):
    """call(**options) -> three frames of the drawn face, one step."""

    def run(**options):
        given = {"face": FACE, "crop_only": True, "num_inference_steps": 1} | options
        return mini(portrait, wave[: 3 * 640], generator=torch.Generator().manual_seed(0), **given).frames

    return run


def test_it_is_what_the_documents_say(mini):
    files = [path for path in BUILT_IN_MODELS["mini"].rglob("*") if path.is_file()]
    assert 30e6 < sum(path.stat().st_size for path in files) < 36e6
    assert isinstance(mini.vae, MotionAutoencoder)
    settings = [mini.config[name] for name in ("size", "num_inference_steps", "guidance_scale", "overlap_frames")]
    assert settings == [512, 4, 2.0, 2]
    controls = {spec.name for spec in mini.model.conditions if spec.components}
    assert controls == {"head_speed", "gaze", "head_pose", "distance", "emotion"}
    assert mini.audio_encoder.future_seconds == pytest.approx(0.0725)


def test_its_configs_hold_what_its_classes_take_and_no_folder_of_a_machine(mini):
    for name in ("model", "vae", "audio_encoder"):
        config = json.loads((BUILT_IN_MODELS["mini"] / name / "config.json").read_text())
        known = {"_class_name", "_diffusers_version", *signature(type(getattr(mini, name))).parameters}
        assert not config.keys() - known
    assert "_name_or_path" not in json.loads((BUILT_IN_MODELS["mini"] / "model_index.json").read_text())


def test_frames_have_the_size_of_the_square(call):
    frames = call()
    assert frames.shape == (3, 512, 512, 3) and frames.dtype == np.uint8


@pytest.mark.parametrize(
    "options",
    [
        {"controls": {"gaze": (0.4, 0.1)}},
        {"controls": {"head_pose_offset": (0.3, 0.1, 0.0)}},
        {"controls": {"distance": 0.8}},
        {"controls": {"emotion": "happy"}},
        {"head_speed": 1.0},
        {"still": True},
    ],
    ids=lambda options: next(iter(options.get("controls", options))),
)
def test_every_control_changes_the_motion(call, options):
    free, again, controlled = (call(output_type="latent", **given) for given in ({}, {}, options))
    assert torch.equal(free, again) and (controlled - free).abs().max() > 1e-4


@torch.no_grad()
def test_every_painter_paints(mini, portrait):
    """Two painters of earlier weights had died in training: whatever moved, their share was 0."""
    codec = mini.vae
    components = codec.components
    moves = components.deviations.float() * torch.randn(16, len(components.gains), generator=torch.manual_seed(0))
    latents = (moves @ components.basis.float()).view(16, *codec.latent_shape(256))
    square = images_to_tensor(portrait[None], torch.device("cpu"))
    for paint in codec.paint(latents, square, codec.predict_motion(latents), None):
        assert paint.share.max() > 0.3 and (paint.share * paint.change).abs().max() > 0.1
