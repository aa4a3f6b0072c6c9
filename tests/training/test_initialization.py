"""First weights: each is loaded under its name, missing and unused ones are refused, and three stages run in turn."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from emo import EMOPipeline
from emo.core.config import Config, load_config
from emo.core.errors import InputError
from emo.models.autoencoder import encode_images
from emo.models.loading import load_weights
from emo.training.diffusion import initialize_weights, load_frozen_component, make_model
from emo.training.trainer import train

CONFIGS = Path(__file__).parents[2] / "configs"
WEIGHTS = "diffusion_pytorch_model.safetensors"
WIDTHS = (8, 16, 24, 24)
MOTION = dict(block_out_channels=WIDTHS, motion_num_attention_heads=2, motion_norm_num_groups=4)
TINY = ["block_out_channels=[8,16,24,24]", "num_attention_heads=2", "norm_num_groups=4"]
TINY += ["audio_layers=3", "audio_feature_dim=16", "audio_tokens=2", "audio_hidden_dim=8"]


def sd_unet(**sizes) -> UNet2DConditionModel:
    """A UNet in the layout of Stable Diffusion 1.5."""
    down = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    return UNet2DConditionModel(down_block_types=down, up_block_types=up, **sizes)


def tiny_vae() -> AutoencoderKL:
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    return AutoencoderKL(
        down_block_types=down, up_block_types=up, block_out_channels=(4,) * 4, latent_channels=4, norm_num_groups=2
    )


def tiny_wav2vec() -> Wav2Vec2ForCTC:
    sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, conv_dim=[8] * 7)
    return Wav2Vec2ForCTC(Wav2Vec2Config(**sizes, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2))


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Adds random numbers to all weights, some of which start at zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder of tiny published weights: sd (a pipeline's unet/ and vae/), motion and wav2vec."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("published")
    unet = sd_unet(block_out_channels=WIDTHS, norm_num_groups=4, cross_attention_dim=12, attention_head_dim=2)
    fill(unet).save_pretrained(folder / "sd" / "unet")
    tiny_vae().save_pretrained(folder / "sd" / "vae")
    fill(MotionAdapter(**MOTION, use_motion_mid_block=True)).save_pretrained(folder / "motion")
    tiny_wav2vec().save_pretrained(folder / "wav2vec")
    return folder


@pytest.fixture
def stage(published, clips_folder, tmp_path):
    """stage(number, *overrides) -> the Config of configs/stageN.yaml, tiny, on the drawn clips."""

    def make(number: int, *overrides: str) -> Config:
        tokens = [[], ["audio_token_dim=12"], ["audio_token_dim=12", "frame_token_dim=8"]][number - 1]
        sources = [f"initialize.unet={published}/sd"], [f"initialize.motion_adapter={published}/motion"], []
        before = [] if number == 1 else [f"start_from={tmp_path}/stage{number - 1}/model/model"]
        frozen = [f"autoencoder={published}/sd", f"audio_encoder={published}/wav2vec"]
        run = ["device=cpu", "precision=fp32", f"output={tmp_path}/stage{number}", "steps=2", "batch_size=2"]
        data = ["data.shards=[]", "data.hold_out=null", f"data.clips={{{clips_folder}: 1}}", "data.size=64"]
        model = [f"model.{setting}" for setting in TINY + tokens]
        given = [*run, "learning_rate=1e-2", *data, *model, *frozen, *sources[number - 1], *before, *overrides]
        return load_config(CONFIGS / f"stage{number}.yaml", given)

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / WEIGHTS)


def below(net: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{net}."): value for name, value in tensors.items() if name.startswith(f"{net}.")}


def test_every_weight_of_sd_is_in_both_networks(stage, published):
    config = stage(1)
    model, theirs = make_model(config), load_file(published / "sd" / "unet" / WEIGHTS)
    locator = {name: value.clone() for name, value in model.face_locator.state_dict().items()}
    initialize_weights(model, config)
    backbone, reference = model.unet.state_dict(), model.reference_net.state_dict()
    assert all(torch.equal(value, theirs[name]) for net in (backbone, reference) for name, value in net.items())
    text = {name for name in theirs if ".attn2." in name or ".transformer_blocks.0.norm2." in name}
    assert theirs.keys() - backbone.keys() == text and len(text) == 16 * 7 and len(theirs) == 686
    assert reference.keys() < backbone.keys() and len(reference) > 500
    assert all(torch.equal(value, locator[name]) for name, value in model.face_locator.state_dict().items())


@torch.no_grad()
def test_backbone_equals_diffusers_without_text(stage, published):
    sd = UNet2DConditionModel.from_pretrained(published / "sd", subfolder="unet")
    for name, parameter in sd.named_parameters():
        if ".attn2.to_out." in name:
            parameter.zero_()
    image, sample, timestep = make_model(stage(1)), torch.randn(4, 4, 16, 16), torch.tensor(500)
    initialize_weights(image, stage(1))
    expected = sd(sample, timestep, torch.zeros(4, 1, 12)).sample
    predicted = image.unet(sample[:, None], timestep)[0]
    assert expected.std() > 0.1 and torch.allclose(predicted[:, 0], expected, atol=1e-6)

    image.save_pretrained(stage(2).start_from)
    video = make_model(stage(2))
    initialize_weights(video, stage(2))
    motion = UNetMotionModel.from_unet2d(sd, MotionAdapter.from_pretrained(published / "motion"))
    expected = motion(sample[None].transpose(1, 2), timestep, torch.zeros(4, 1, 12)).sample.transpose(1, 2)
    moved = video.unet(sample[None], timestep, torch.randn(1, 4, 2, 12))[0]  # new audio attention starts at zero
    assert torch.allclose(moved, expected, atol=1e-6) and (moved[0] - predicted[:, 0]).abs().max() > 0.1


def test_fine_tuning_starts_from_the_built_in_mini_and_samples_as_it_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # a name, not a folder
    config, mini = load_config(CONFIGS / "mini" / "fine_tune.yaml"), EMOPipeline.from_pretrained("mini")
    vae, audio_encoder = (
        load_frozen_component(setting, getattr(config, setting), part)
        for setting, part in (("autoencoder", "vae"), ("audio_encoder", "audio_encoder"))
    )
    model = make_model(config, vae.components)
    initialize_weights(model, config)
    for ours, theirs in ((model, mini.model), (vae, mini.vae), (audio_encoder, mini.audio_encoder)):
        expected = theirs.state_dict()
        assert ours.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())
    assert {name: mini.config[name] for name in vars(config.sampling)} == vars(config.sampling)
    assert config.data.clips == {"shards/clips": 1.0} and config.data.hold_out is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["new_weights=[]"],
            r"initialize.unet=.*/sd lacks 'face_locator.net.0.bias' and 5 more: .* add to `new_weights`",
        ),
        (
            ["unused_weights=[reference_net.*]"],
            r"sd has weights that the model lacks: 'unet.*attn2.* more: .* add to `unused_weights`",
        ),
        (
            ["new_weights=[face_locator.*,unet.conv_in.*]"],
            r"sd has 'unet.conv_in.bias' and 1 more: it matches `new_weights`",
        ),
        (
            ["new_weights=[face_locator.*,nonsense.*]"],
            r"new_weights: no name of the model matches 'nonsense.\*': remove it",
        ),
        (
            ["unused_weights=[nonsense.*]"],
            r"unused_weights: no name in initialize.unet=.*/sd matches 'nonsense.\*': remove it",
        ),
        (
            ["model.block_out_channels=[8,16,24,32]"],
            r"sd has other shapes than the model: 'reference_net.* the sizes of these",
        ),
        (["initialize.unet=nowhere"], "initialize.unet=nowhere: give the folder of a trained one, or a Hub id"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_weights_that_do_not_fit_are_refused(stage, overrides, message):
    config = stage(1, *overrides)
    model = make_model(config)
    before = model.unet.conv_in.weight.clone()
    with pytest.raises(InputError, match=message) as caught:
        initialize_weights(model, config)
    assert "\n" not in str(caught.value) and torch.equal(model.unet.conv_in.weight, before)


def test_weight_in_two_sources_is_refused():
    layer = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"one and other both have 'bias': leave"):
        load_weights(layer, {"one": layer.state_dict(), "other": {"bias": torch.ones(1)}}, [], [])


def test_our_configs_match_all_published_names_and_shapes():
    """At full size, on the meta device."""
    stages = [load_config(CONFIGS / f"stage{number}.yaml") for number in (1, 2, 3)]
    with torch.device("meta"):
        sd, motion = (
            sd_unet(cross_attention_dim=768),
            MotionAdapter(use_motion_mid_block=True, motion_max_seq_length=32),
        )
        image, video, full = (make_model(config) for config in stages)
    nets = {f"{net}.{name}": value for net in ("unet", "reference_net") for name, value in sd.state_dict().items()}
    adapter = {f"unet.{name}": value for name, value in motion.state_dict().items()}
    sources = [{"sd": nets}, {"stage1": image.state_dict(), "motion": adapter}, {"stage2": video.state_dict()}]
    for model, given, config in zip((image, video, full), sources, stages, strict=True):
        load_weights(model, given, config.new_weights, config.unused_weights)
    assert len(adapter) == 567 and sum(p.numel() for p in full.parameters()) > 2e9


def test_three_stages_run_in_turn(stage, published, tmp_path):
    options = ["sample_steps=2", "sampling.num_inference_steps=1"]
    first, second, third = (weights(train(stage(number, *options))) for number in (1, 2, 3))
    assert all(len(list((tmp_path / f"stage{number}" / "samples").glob("*.mp4"))) == 3 for number in (1, 2, 3))
    assert not [name for name in first if "audio" in name or "motion" in name or ".attn2." in name]
    audio = {name for name in second if "audio_projection." in name or ".attentions." in name and ".attn2." in name}
    temporal = {name for name in second if ".motion_modules." in name}
    assert audio and temporal and all(torch.equal(value, second[name]) for name, value in first.items())
    theirs = load_file(published / "motion" / WEIGHTS)
    moved = {name for name in temporal if not torch.equal(second[name], theirs[name.removeprefix("unet.")])}
    assert moved == {name for name in temporal if not name.endswith("pos_embed.pe")}
    assert all(
        torch.equal(third[name], second[name]) for name in second.keys() - temporal
    )  # among them the audio layers
    assert any(not torch.equal(third[name], second[name]) for name in temporal)
    assert third.keys() - second.keys() == {name for name in third if "_speed." in name or "speed_encoder." in name}


def test_autoencoder_is_loaded_from_a_pipeline_or_its_own_folder(published, tmp_path):
    vae = AutoencoderKL.from_pretrained(published / "sd", subfolder="vae")
    vae.save_pretrained(tmp_path / "half", variant="fp16")
    vae.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    pictures = torch.rand(1, 3, 32, 32)
    for folder in (published / "sd", published / "sd" / "vae", tmp_path / "half", tmp_path / "pickled"):
        loaded = load_frozen_component("autoencoder", str(folder), "vae")
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
        latents = encode_images(loaded, pictures)
        assert torch.equal(latents, 0.18215 * vae.encode(pictures).latent_dist.mode()) and latents.std() > 0


def test_audio_encoder_has_all_weights_of_wav2vec(published, tmp_path):
    theirs = load_file(published / "wav2vec" / "model.safetensors")
    ours = load_frozen_component("audio_encoder", str(published / "wav2vec"), "audio_encoder").model.state_dict()
    assert ours and all(torch.equal(value, theirs[f"wav2vec2.{name}"]) for name, value in ours.items())
    (tmp_path / "config.json").write_text((published / "wav2vec" / "config.json").read_text())
    missing = "wav2vec2.encoder.layer_norm.weight"
    kept = {name: value for name, value in theirs.items() if name != missing}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="can't be loaded .missing weight 'encoder.layer_norm.weight'.: download the"):
        load_frozen_component("audio_encoder", str(tmp_path), "audio_encoder")


@pytest.mark.parametrize(("setting", "has"), [("latent_channels=5", 4), ("audio_layers=2", 3)])
def test_model_that_does_not_match_the_frozen_components_is_refused(stage, setting, has):
    with pytest.raises(InputError, match=f"model.{setting}: autoencoder and audio_encoder give {has}, set it"):
        train(stage(1, f"model.{setting}"))
