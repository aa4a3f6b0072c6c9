"""What operators and users are asked."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.generation import generate
from emo.provenance.policy import needs_notice, remember_notice


def test_an_operator_refuses(portrait, sound_path, tmp_path, monkeypatch):
    (tmp_path / "house_rules.py").write_text(
        "def check(image, audio):\n    return f'{image.shape[1]} pixels, {audio.name}' if image.mean() > 0 else None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EMO_POLICY", "house_rules:check")
    options = {"face": "full", "pipeline": lambda: pytest.fail("a model is loaded")}
    with pytest.raises(InputError, match=r"refused by the operator.*192 pixels, sound\.wav"):
        generate(portrait, sound_path, tmp_path / "x.mp4", **options)
    with pytest.raises(pytest.fail.Exception):  # allowed: it goes on to load the model
        generate(np.zeros_like(portrait), sound_path, tmp_path / "x.mp4", **options)


@pytest.mark.parametrize("name", ["nothing:check", "os:nothing", "os"])
def test_a_policy_that_cannot_be_loaded_allows_nothing(portrait, sound_path, tmp_path, monkeypatch, name):
    monkeypatch.setenv("EMO_POLICY", name)
    with pytest.raises(InputError, match=f"EMO_POLICY={name}: no such function"):
        generate(portrait, sound_path, tmp_path / "x.mp4", face="full", pipeline=lambda: pytest.fail("loaded"))


def test_the_notice_is_remembered(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "new"))
    assert needs_notice()
    remember_notice()
    assert not needs_notice()
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, "/dev/null")
    remember_notice()  # no place to remember: no error
    assert needs_notice()
