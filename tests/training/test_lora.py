"""Adapters: fresh ones change nothing, only they learn, and what is loaded is what was trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emo.core.config import LoraConfig
from emo.core.errors import InputError
from emo.hub.resolve import load_pipeline
from emo.models.conditions import Conditions
from emo.models.emo import EMOModel
from emo.models.lora import add_lora, load_lora, merge_lora, save_lora
from emo.training.trainer import train

WEIGHTS = "diffusion_pytorch_model.safetensors"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@pytest.fixture
def model(make_pipeline) -> EMOModel:
    """Of its own, with random weights, always the same."""
    return make_pipeline(audio_margin=0).model.requires_grad_(False)  # torch rounds elsewhere in layers that learn


def predict(model: EMOModel) -> torch.Tensor:
    """(1 4 4 8 8) of fixed noise, portrait, motion and sound."""
    draw = torch.Generator().manual_seed(1)
    shapes = {"reference": (1, 4, 8, 8), "audio": (1, 4, 1, 16), "motion": (1, 2, 4, 8, 8)}
    given = Conditions(**{name: torch.randn(shape, generator=draw) for name, shape in shapes.items()})
    noise = torch.randn(1, 4, 4, 8, 8, generator=draw)
    with torch.no_grad():
        return model(noise, torch.tensor(500), given)


def stir(model: EMOModel) -> None:
    """As if the adapters had learnt."""
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)


@pytest.fixture
def trained(model, tmp_path) -> tuple[torch.Tensor, Path]:
    """What a model with adapters predicts, and their folder."""
    add_lora(model, 2, 4.0, TARGETS)
    stir(model)
    save_lora(model, tmp_path / "lora", "the tiny model")
    return predict(model), tmp_path / "lora"


def test_fresh_adapters_change_nothing_and_sit_at_the_unets_attention(model):
    before, names = predict(model), {name for name, _ in model.named_parameters()}
    add_lora(model, 2, 4.0, TARGETS)
    assert torch.equal(predict(model), before)
    places = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert places == {
        name.removesuffix(".weight")
        for name in names
        if name.startswith("unet.") and name.endswith(tuple(f".{target}.weight" for target in TARGETS))
    }
    stir(model)
    assert not torch.allclose(predict(model), before, atol=1e-3)


def test_what_is_loaded_is_what_was_trained_and_merging_only_rounds(trained, make_pipeline):
    expected, folder = trained
    model = make_pipeline(audio_margin=0).model
    names, before = set(model.state_dict()), predict(model)
    load_lora(model, folder)
    assert torch.equal(predict(model), expected)
    merge_lora(model)
    torch.testing.assert_close(predict(model), expected, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == names and not torch.allclose(before, expected, atol=1e-3)


def test_peft_itself_reads_them(trained, make_pipeline):
    from peft import PeftModel

    expected, folder = trained
    assert torch.equal(predict(PeftModel.from_pretrained(make_pipeline(audio_margin=0).model, str(folder))), expected)


@pytest.mark.parametrize("changes", [{"block_out_channels": [8, 24]}, {"layers_per_block": 2}, {"temporal": False}])
def test_another_model_refuses_them(trained, make_pipeline, changes):
    with pytest.raises(InputError, match="was trained for another model .the tiny model.: load that model") as caught:
        load_lora(make_pipeline(audio_margin=0, **changes).model, trained[1])
    assert "\n" not in str(caught.value)


def test_files_that_are_not_whole_are_refused(trained, model, make_pipeline):
    _, folder = trained
    path = folder / "adapter_model.safetensors"
    whole = load_file(path)
    save_file({name: whole[name] for name in sorted(whole)[1:]}, path)
    with pytest.raises(InputError, match="trained for another model"):
        load_lora(make_pipeline(audio_margin=0).model, folder)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="is not a LoRA"):
        load_lora(make_pipeline(audio_margin=0).model, folder)


@pytest.fixture
def lora_config(config, tiny_model_folder):
    """The settings of a run that trains adapters for the tiny model."""
    return replace(config, start_from=str(tiny_model_folder / "model"), lora=LoraConfig(2, 4.0, TARGETS))


def test_only_adapters_are_trained_and_the_model_is_saved_unchanged(
    lora_config, tiny_model_folder, tiny_pipeline, portrait, wave
):
    model = train(lora_config)
    assert (model / "model" / WEIGHTS).read_bytes() == (tiny_model_folder / "model" / WEIGHTS).read_bytes()
    last = load_file(model.parent / "checkpoints" / "step_00000006" / "model.safetensors")
    for name, before in tiny_pipeline.model.state_dict().items():
        place, kind = name.rsplit(".", 1)
        assert torch.equal(last.get(name, last.get(f"{place}.base_layer.{kind}")), before)
    moved = load_file(model / "lora" / "adapter_model.safetensors")
    assert moved and all(weight.abs().max() > 0 for name, weight in moved.items() if "lora_B" in name)
    config = json.loads((model / "lora" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 4.0)

    def frames(pipeline):
        asked = {"face": "full", "num_inference_steps": 2, "guidance_scale": 1.0}  # the run's own are others
        return pipeline(portrait, wave[:6400], generator=torch.manual_seed(0), **asked).frames.astype(int)

    plain, tuned = (load_pipeline(str(model), "cpu", lora=lora) for lora in (None, str(model)))
    assert tuned.model.state_dict().keys() == plain.model.state_dict().keys()  # merged
    assert (frames(plain) == frames(tiny_pipeline)).all() and abs(frames(tuned) - frames(plain)).max() > 0


def test_impossible_settings_are_refused(lora_config):
    for changes, says in [
        ({"start_from": None}, "lora.rank=2: adapters need a trained model"),
        ({"trainable": ["unet.*"]}, "trainable: with lora.rank only the adapters are trained"),
        ({"lora": LoraConfig(-1)}, "lora.rank=-1 lora.alpha=16.0: give both above 0"),
        ({"lora": LoraConfig(2, target_modules=["to_x"])}, "lora.target_modules: no layer's name ends with 'to_x'"),
        ({"task": "autoencoder"}, "lora.rank=2: task=autoencoder has no UNet"),
    ]:
        with pytest.raises(InputError, match=says):
            train(replace(lora_config, **changes))


def test_folder_without_adapters_is_refused(tiny_model_folder):
    for given, says in [
        (str(tiny_model_folder), "holds no adapter_config.json, and no lora/ with one"),
        ("runs/nowhere/lora", "is not a folder: give one with adapter_config.json, or a Hub id"),
    ]:
        with pytest.raises(InputError, match=f"lora={given} {says}"):
            load_pipeline(str(tiny_model_folder), "cpu", lora=given)
