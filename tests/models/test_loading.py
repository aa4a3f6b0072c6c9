"""Where published models look for their classes: these paths stand in files that others hold.

When this test fails, a file was moved or a class renamed: let the old path go on to lead there."""

import json
from importlib import import_module

import pytest

import emo
from emo.hub.registry import BUILT_IN_MODELS
from emo.models.loading import list_components

PINNED = {
    "EMOPipeline": "emo.pipelines.emo",
    "EMOModel": "emo.models.emo",
    "Autoencoder": "emo.models.autoencoder",
    "MotionAutoencoder": "emo.models.motion_autoencoder",
    "MelEncoder": "emo.models.audio",
    "Wav2VecEncoder": "emo.models.audio",
}
WRITTEN = {
    "_class_name": "EMOPipeline",
    "audio_encoder": ["emo.models.audio", "MelEncoder"],
    "model": ["emo.models.emo", "EMOModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
}
AUTOENCODERS = {"mini": "MotionAutoencoder", "saved now": "Autoencoder"}


@pytest.mark.parametrize("name", PINNED)
def test_classes_are_importable_by_the_paths_of_published_models(name):
    found = getattr(import_module(PINNED[name]), name)
    assert found.__module__ == PINNED[name] and found.__name__ == name
    assert getattr(emo, name) is found  # of config.json, which names the class alone


@pytest.mark.parametrize("which", AUTOENCODERS)
def test_model_index_names_these_paths(which, tiny_model_folder):
    folder = BUILT_IN_MODELS.get(which, tiny_model_folder)
    index = json.loads((folder / "model_index.json").read_text())
    written = WRITTEN | {"vae": [PINNED[AUTOENCODERS[which]], AUTOENCODERS[which]]}
    assert {name: value for name, value in index.items() if name == "_class_name" or isinstance(value, list)} == written
    for name in list_components(folder):
        assert json.loads((folder / name / "config.json").read_text())["_class_name"] == written[name][1]


def test_a_model_saved_under_an_old_name_of_an_argument_is_loaded(tiny_pipeline, tmp_path):
    tiny_pipeline.model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"frame_token_dim"', '"speed_token_dim"'))
    assert emo.EMOModel.from_pretrained(tmp_path).config.frame_token_dim == 8
