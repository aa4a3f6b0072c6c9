"""emo-train: one YAML file, one run; an error is one line."""

import json
import os
import signal
from pathlib import Path

import pytest

from emo.cli import train
from emo.hub.resolve import load_pipeline
from emo.training.diffusion import DiffusionTask


@pytest.fixture
def command(run_main):
    """command(*arguments) -> exit code, stdout, stderr of emo-train."""

    def call(*arguments: str) -> tuple[int, str, str]:
        return run_main(train.main, "emo-train", *arguments)

    return call


@pytest.fixture
def config_path(tmp_path, clips_folder, tiny_model_folder, tiny_model) -> Path:
    """The YAML of two steps of the tiny model."""
    settings = {
        "task": "diffusion",
        "output": str(tmp_path / "run"),
        "device": "cpu",
        "steps": 2,
        "batch_size": 1,
        "log_steps": 1,
        "autoencoder": str(tiny_model_folder / "vae"),
        "audio_encoder": str(tiny_model_folder / "audio_encoder"),
        "model": tiny_model,
        "data": {"clips": {str(clips_folder): 1}, "num_frames": 2, "contiguous": True, "size": 64},
        "scheduler": {"prediction_type": "sample"},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def test_a_run_ends_in_a_model_that_infer_takes(command, config_path, tmp_path):
    code, out, err = command(config_path, "steps=3")
    assert code == 0, err
    assert out.splitlines()[-1] == str(tmp_path / "run" / "model")
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").open()] == [1, 2, 3]
    assert load_pipeline(str(tmp_path / "run" / "model"), "cpu").model.config.num_frames == 6


def test_sigterm_saves_and_ends(command, config_path, tmp_path, monkeypatch):
    batch = DiffusionTask.make_batch

    def killed(self, rng, device):
        os.kill(os.getpid(), signal.SIGTERM)
        return batch(self, rng, device)

    monkeypatch.setattr(DiffusionTask, "make_batch", killed)
    code, out, err = command(config_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "stopped after saving a checkpoint: the same command resumes from it"
    assert (tmp_path / "run" / "checkpoints" / "step_00000001").is_dir() and not (tmp_path / "run" / "model").exists()


def test_another_run_in_the_same_folder_is_refused(command, config_path):
    assert command(config_path)[0] == 0
    code, _, err = command(config_path, "learning_rate=0.5")
    assert code == 2 and err.count("\n") == 1 and "run holds a run with other settings" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stesp=3"], "tiny.yaml: unknown setting 'stesp'. Did you mean 'steps'?"),
        (["steps=many"], "tiny.yaml"),
        (["task=nonsense"], "task 'nonsense' is unknown: choose one of autoencoder"),
        (["autoencoder=nowhere"], "autoencoder=nowhere: give the folder of a trained one"),
        (["audio_encoder=null"], "audio_encoder=None"),
        (["data.clips={nowhere: 1}"], "nowhere holds no prepared clips: make them with emo-prepare"),
        (["data.hold_out=nowhere.txt"], "nowhere.txt can't be read"),
        (["data.num_frames=99"], "data.num_frames=99"),
        (["data.clips=null"], "data.clips"),
        (["data.contiguous=false"], "data.contiguous=false: needs model.temporal=false"),
        (["trainable=[nonsense*]"], "'nonsense*' matches no parameter"),
        (["start_from=nowhere"], "start_from=nowhere: give the folder of a trained one, or a Hub id"),
        (["model.nonsense=1"], "nonsense"),
        (["model.num_frames=99"], "max_frames=8"),
        (["precision=fp7"], "precision"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_settings_that_cannot_be(command, config_path, tmp_path, arguments, words):
    code, out, err = command(config_path, *arguments)
    assert code == 2 and out == "", err
    assert err.startswith("emo-train: ") and err.count("\n") == 1 and words in err, err
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_no_file(command):
    assert command("nowhere.yaml")[::2] == (
        2,
        "emo-train: nowhere.yaml is not a file: name a YAML file such as configs/mini/fine_tune.yaml\n",
    )


def test_no_argument(command):
    code, _, err = command()
    assert code == 2 and err.startswith("emo-train: ") and err.count("\n") == 1
