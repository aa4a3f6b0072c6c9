"""Incomplete models are refused in one line; no test uses the network."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emo.core.errors import InputError
from emo.hub.resolve import find_component, find_weights_file, load_pipeline, resolve_model

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_model_folder, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "broken"))


def refused(model: str | Path, **options) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(InputError) as caught:
        load_pipeline(str(model), **{"device": "cpu"} | options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_a_complete_model_loads_with_the_same_weights(tiny_pipeline, tiny_model_folder):
    loaded = load_pipeline(str(tiny_model_folder), "cpu")
    for name in ("model", "vae", "audio_encoder"):
        ours, theirs = getattr(tiny_pipeline, name).state_dict(), getattr(loaded, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert not getattr(loaded, name).training
    assert loaded.config.size == 64 and loaded.config.num_inference_steps == 2


def test_a_local_model_has_no_revision(tiny_model_folder):
    assert "revision=v1: model=mini is a local folder and has none" in refused("mini", revision="v1")
    assert "revision=v1" in refused(tiny_model_folder, revision="v1")


def test_a_model_loads_as_bfloat16(tiny_model_folder):
    assert load_pipeline(str(tiny_model_folder), "cpu", "bfloat16").model.dtype == torch.bfloat16


@pytest.mark.parametrize("part", ["model", "vae", "audio_encoder"])
def test_missing_and_extra_keys(folder, part):
    path = folder / part / WEIGHTS
    weights = load_file(path)
    name = sorted(weights)[3]
    save_file({key: value for key, value in weights.items() if key != name}, path)
    message = refused(folder)
    assert f"broken/{part} lacks '{name}'" in message
    save_file(weights | {"extra.weight": torch.zeros(2)}, path)
    assert f"broken/{part} has unknown 'extra.weight'" in refused(folder)


def test_a_weight_of_another_shape(folder):
    path = folder / "vae" / WEIGHTS
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file(weights | {name: torch.zeros(1)}, path)
    assert "broken/vae" in refused(folder)


def test_truncated_weights(folder):
    path = folder / "model" / WEIGHTS
    path.write_bytes(path.read_bytes()[:5000])
    assert "broken/model can't be loaded" in refused(folder)


@pytest.mark.parametrize("part", ["model", "vae", "audio_encoder", "scheduler"])
def test_a_missing_component(folder, part):
    shutil.rmtree(folder / part)
    assert "broken" in refused(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"model"', "\x00"])
def test_a_broken_model_index(folder, text):
    (folder / "model_index.json").write_text(text)
    assert "broken" in refused(folder)


def test_a_model_index_without_a_component(folder):
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in index.items() if key != "vae"}))
    assert "broken" in refused(folder)


@pytest.mark.parametrize("name", ["scheduler/scheduler_config.json", "model/config.json"])
def test_a_broken_config(folder, name):
    (folder / name).write_text("not JSON")
    assert "broken" in refused(folder)


@pytest.mark.parametrize("model", ["nonsense", "no/such/folder", "/no/such", "./nobody", ""])
def test_an_unknown_name(model):
    assert "give a folder with model_index.json, a Hub id (OWNER/NAME), or a name: mini" in refused(model)


def test_a_folder_without_a_model(tmp_path):
    assert str(tmp_path) in refused(tmp_path)


def test_a_hub_id_without_network(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "model=nobody/nothing-like-this" in refused("nobody/nothing-like-this")


def test_weights_may_be_a_file_or_on_the_hub(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *given: asked.append(given) or "got")
    (tmp_path / "a.model").touch()
    assert find_weights_file(str(tmp_path / "a.model")) == tmp_path / "a.model"
    for given in ("owner/name", "owner/name/sub/b.model"):
        assert find_weights_file(given) == Path("got")
    assert asked == [("owner/name", "syncnet_v2.model"), ("owner/name", "sub/b.model")]
    for given in (str(tmp_path), "nothing", "./no/such", "/no/such", "../no/such", ""):
        with pytest.raises(InputError, match=f"syncnet={given} is not a file: give syncnet_v2.model, or OWNER/NAME"):
            find_weights_file(given)


def test_weights_of_the_hub_without_network(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for given in ("nobody/nothing-like-this/a.model", "no body/x/y"):
        with pytest.raises(InputError, match=f"syncnet={given}: no such file, and the Hub .+") as error:
            find_weights_file(given)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
    [
        (["vae/config.json", "vae/diffusion_pytorch_model.safetensors"], 1, "vae"),
        (["vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"], 2, "vae"),
        (["config.json", "pytorch_model.bin"], 6, "."),
    ],
)
def test_a_component_is_downloaded_with_one_file_of_weights(tmp_path, monkeypatch, stored, asked, found):
    wanted = []

    def download(name: str, allow_patterns: list[str]) -> str:
        assert name == "owner/name"
        wanted.append(allow_patterns)
        for file in set(stored) & set(allow_patterns):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_component("autoencoder", "owner/name", "vae") == tmp_path / found
    assert len(wanted) == asked and all((tmp_path / file).is_file() for file in stored)


def test_a_missing_component_is_reported(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for given, says in [
        ("nobody/nothing-like-this", "no such folder, and the Hub is not used.+"),
        (None, "give the folder of a trained one, or a Hub id"),
        ("runs/stage1/model", "give the folder"),
        (str(tmp_path), "holds no config.json, and no vae/ with one: give another"),
    ]:
        with pytest.raises(InputError, match=f"autoencoder={given}:? {says}") as error:
            find_component("autoencoder", given, "vae")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"device": "nonsense"}, {"dtype": "float16"}])
def test_unusable_devices_and_dtypes(tiny_model_folder, options):
    assert next(iter(options)) in refused(tiny_model_folder, **options)


def test_a_folder_comes_before_the_hub(tiny_model_folder, tmp_path, monkeypatch):
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name").symlink_to(tiny_model_folder)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("owner/name") == Path("owner/name")
