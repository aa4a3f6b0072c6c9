"""The trainer: a resumed run equals an unbroken one, and only trainable weights change."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emo.core.config import Config, load_config
from emo.core.errors import InputError
from emo.training.diffusion import DiffusionTask
from emo.training.trainer import compute_learning_rate, freeze_parameters, train

WEIGHTS = "diffusion_pytorch_model.safetensors"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / WEIGHTS)


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def stop_at(monkeypatch, step: int | None) -> list[int]:
    """Ctrl-C in this step. Returns a list that grows with every step that starts."""
    batch, started = DiffusionTask.make_batch, []

    def stopping(self, rng, device):
        if len(started) == step:
            raise KeyboardInterrupt
        started.append(len(started))
        return batch(self, rng, device)

    monkeypatch.setattr(DiffusionTask, "make_batch", stopping)
    return started


def test_resumed_run_equals_an_unbroken_one(config, read_log, tmp_path, monkeypatch):
    other, last = tmp_path / "unbroken", "checkpoints/step_00000006"
    train(replace(config, output=str(other)))
    for stop, left in [(1, 6), (4, 2), (5, 2)]:  # before, at and after a checkpoint
        run = tmp_path / f"stopped_at_{stop}"
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_at(patch, stop)
            train(replace(config, output=str(run)))
        assert not (run / "model").exists()
        with monkeypatch.context() as patch:
            started = stop_at(patch, None)
            train(replace(config, output=str(run)))
        assert len(started) == left
        assert equal(weights(run / "model"), weights(other / "model"))  # the average
        assert equal(load_file(run / last / "model.safetensors"), load_file(other / last / "model.safetensors"))
        assert not equal(weights(run / "model"), load_file(run / last / "model.safetensors"))
        assert read_log(run) == read_log(other) and [row["step"] for row in read_log(run)] == [1, 2, 3, 4, 5, 6]


def test_sigterm_saves_a_checkpoint_after_its_step(config, read_checkpoint, read_log, tmp_path, monkeypatch):
    batch, handler = DiffusionTask.make_batch, signal.getsignal(signal.SIGTERM)
    kills = iter([False, False, True])

    def killed(self, rng, device):
        if next(kills, False):
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(self, rng, device)

    run, other = tmp_path / "run", tmp_path / "unbroken"
    train(replace(config, output=str(other)))
    monkeypatch.setattr(DiffusionTask, "make_batch", killed)
    config = replace(config, checkpoint_steps=6)
    assert train(config) is None and not (run / "model").exists()
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_00000003"]
    assert signal.getsignal(signal.SIGTERM) == handler
    assert train(config) == run / "model"
    assert equal(read_checkpoint(run, 6), read_checkpoint(other, 6)) and read_log(run) == read_log(other)


def test_partial_checkpoint_is_ignored_and_a_finished_run_continues(config, read_log, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    (folder / "partial_00000002").mkdir(parents=True)
    (folder / "partial_00000002" / "model.safetensors").write_bytes(b"half")
    train(replace(config, steps=3))
    assert [path.name for path in sorted(folder.iterdir())] == ["step_00000002", "step_00000003"]
    (folder / "old_step_00000001").mkdir()
    train(replace(config, steps=4))
    assert [path.name for path in sorted(folder.iterdir())] == [f"step_0000000{step}" for step in (2, 3, 4)]  # 2: best
    assert [row["step"] for row in read_log(tmp_path / "run")] == [1, 2, 3, 4]
    assert load_config(tmp_path / "run" / "config.yaml").steps == 4


def test_folder_of_another_run_is_refused_and_unchanged(config, tmp_path):
    train(replace(config, steps=1))
    before = (tmp_path / "run" / "config.yaml").read_text()
    data = replace(config.data, clips=config.data.clips | {"more": 0.5}, size=128)
    other = replace(config, learning_rate=1e-2, data=data, model=config.model | {"residual_scale": 7.0})
    with pytest.raises(InputError, match="run holds a run with other settings") as caught:
        train(other)
    message = str(caught.value)
    assert "learning_rate: 0.001 -> 0.01" in message and "data.size: 64 -> 128" in message and "\n" not in message
    assert "data.clips.more: None -> 0.5" in message
    assert (
        f"model.residual_scale: {config.model.get('residual_scale')} -> 7.0" in message and "batch_size" not in message
    )
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_run_of_an_earlier_version_is_refused_with_the_new_name(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("data: {lanes: 8}\n")
    with pytest.raises(InputError, match="run/config.yaml: setting 'data.lanes' was renamed: write 'data.open_shards'"):
        train(config)


def test_settings_that_do_not_change_the_training_may_change(config, read_log, tmp_path):
    train(replace(config, steps=1))
    data = replace(config.data, workers=1)
    train(replace(config, steps=2, sample_steps=7, data=data, gradient_accumulation_steps=2, ema_device="cpu"))
    assert [row["step"] for row in read_log(tmp_path / "run")] == [1, 2]
    assert load_config(tmp_path / "run" / "config.yaml").sample_steps == 7


def test_only_trainable_weights_change(config, tmp_path, tiny_model_folder):
    start = str(tiny_model_folder / "model")
    train(replace(config, steps=3, start_from=start, trainable=["*.motion_modules.*", "speed_encoder.*"]))
    before, after = load_file(tiny_model_folder / "model" / WEIGHTS), weights(tmp_path / "run" / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {name for name in before if ".motion_modules." in name or "speed_encoder" in name}
    expected = {name for name in expected if not name.endswith("pos_embed.pe")}  # a buffer, not a parameter
    assert changed == expected


def test_freeze_keeps_gradients_where_a_pattern_matches(tiny_model_folder):
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)})
    assert len(freeze_parameters(model, ["a.*", "*.bias"])) == 3
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["b.weight"]
    with pytest.raises(InputError, match=r"trainable: 'c\.\*' matches no parameter; names look like 'a.weight'"):
        freeze_parameters(model, ["a.*", "c.*"])


def test_start_must_have_all_names_except_new_ones(config, tmp_path, tiny_model_folder):
    start = tmp_path / "start"
    start.mkdir()
    original = load_file(tiny_model_folder / "model" / WEIGHTS)
    kept = {name: value for name, value in original.items() if not name.startswith("face_locator.")}
    save_file(kept, start / WEIGHTS)
    config = replace(config, steps=1, learning_rate=0.0, start_from=str(start))
    with pytest.raises(InputError, match=r"start lacks 'face_locator.net.0.bias' and 5 more"):
        train(config)
    assert not (tmp_path / "run").exists()
    train(replace(config, new_weights=["face_locator.*"]))
    after = weights(tmp_path / "run" / "model")
    assert all(torch.equal(after[name], kept[name]) for name in kept)
    save_file(original | {"strange": torch.zeros(1)}, start / WEIGHTS)
    with pytest.raises(InputError, match="strange"):
        train(replace(config, output=str(tmp_path / "other"), new_weights=["*"]))


def test_learning_rate_warms_up_and_decays():
    config = Config(steps=100, learning_rate=2.0, warmup_steps=10, final_learning_rate_ratio=0.1)
    rates = [compute_learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2, rel=1e-3) and max(rates) == pytest.approx(2.0, rel=0.05)
    assert rates[-1] == pytest.approx(0.2, rel=0.01) and rates[55] == pytest.approx(0.1 * 2 + 0.9 * 2 * 0.42, rel=0.02)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert compute_learning_rate(replace(config, final_learning_rate_ratio=1.0), 99) == 2.0
