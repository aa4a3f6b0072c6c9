"""Checkpoints: complete or absent, the last ones and the best are kept, and a full disk damages none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from emo.core.errors import InputError, OutputError
from emo.core.files import atomic_folder
from emo.training.checkpoint import select_expired_checkpoints
from emo.training.diffusion import DiffusionTask
from emo.training.trainer import train

resource = pytest.importorskip("resource")  # what limits a file's size, on all but Windows


class FullDisk:
    """Within it the system refuses to let any file grow beyond `size` bytes."""

    def __init__(self, size: int):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("too_large", ["model.safetensors", "optimizer.bin"])
def test_full_disk_damages_no_checkpoint(config, read_checkpoint, tmp_path, monkeypatch, too_large):
    """The two files are written by different libraries."""
    run, save_state, saved = tmp_path / "run", Accelerator.save_state, []

    def save(self, folder):
        saved.append(folder)
        if len(saved) < 3:
            return save_state(self, folder)
        sizes = {path.name: path.stat().st_size for path in (run / "checkpoints" / "step_00000004").iterdir()}
        with FullDisk(sizes[too_large] - 1000):
            return save_state(self, folder)

    train(replace(config, output=str(tmp_path / "unbroken")))
    with monkeypatch.context() as patch, pytest.raises(OutputError) as caught:
        patch.setattr(Accelerator, "save_state", save)
        train(config)
    message = str(caught.value)
    assert message.startswith(f"{run}/checkpoints/step_00000006 can't be written (") and "\n" not in message
    assert "free some space" in message and len(saved) == 3
    assert names(run / "checkpoints") == ["step_00000002", "step_00000004"]
    train(config)
    ended, unbroken = read_checkpoint(run, 6), read_checkpoint(tmp_path / "unbroken", 6)
    assert ended.keys() == unbroken.keys() and all(torch.equal(ended[name], unbroken[name]) for name in ended)


def test_full_disk_at_the_end_damages_no_model(config, tmp_path, monkeypatch):
    save = DiffusionTask.save_model

    def save_on_full_disk(*args):
        with FullDisk(10_000):
            save(*args)

    model = train(replace(config, steps=2))
    before = (model / "model_index.json").stat().st_mtime_ns
    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"run/model can't be written \(.*\); free"):
        patch.setattr(DiffusionTask, "save_model", save_on_full_disk)
        train(replace(config, steps=3))
    assert (model / "model_index.json").stat().st_mtime_ns == before
    assert names(tmp_path / "run") == ["checkpoints", "config.yaml", "log.jsonl", "model"]
    train(replace(config, steps=3))
    assert (model / "model_index.json").stat().st_mtime_ns != before
    assert names(tmp_path / "run") == ["checkpoints", "config.yaml", "log.jsonl", "model"]


def test_errors_other_than_of_the_disk_are_raised_unchanged(tmp_path):
    with pytest.raises(RuntimeError, match="^out of memory$"), atomic_folder(tmp_path / "model") as folder:
        folder.mkdir()
        raise RuntimeError("out of memory")
    assert list(tmp_path.iterdir()) == []


def test_all_but_the_last_and_the_best_expire(tmp_path):
    paths = [tmp_path / f"step_{step:08d}" for step in range(6)]
    for path, loss in zip(paths, [0.1, 0.4, None, 0.3, 0.5, 0.2], strict=True):
        path.mkdir()
        (path / "loss.json").write_text(json.dumps(loss))
    assert select_expired_checkpoints(paths, 2) == paths[1:4]  # 0 is the best
    assert select_expired_checkpoints(paths[1:], 1) == paths[1:5]  # the last is the best
    assert select_expired_checkpoints(paths[1:5], 1) == [paths[1], paths[2]]
    assert select_expired_checkpoints(paths, 0) == []
    (paths[3] / "loss.json").unlink()
    assert select_expired_checkpoints(paths[2:4], 1) == [paths[2]]  # none can be compared


def test_run_keeps_the_checkpoint_with_the_lowest_loss(config, tmp_path, monkeypatch):
    losses = iter([5.0, 5.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 0.5])

    def loss(self, model, batch, generator):
        return next(losses) + 0 * sum(p.sum() for p in model.parameters()), {}

    monkeypatch.setattr(DiffusionTask, "compute_loss", loss)
    train(replace(config, steps=9, keep_checkpoints=1))
    kept = tmp_path / "run" / "checkpoints"
    assert names(kept) == ["step_00000004", "step_00000009"]
    recorded = [json.loads((path / "loss.json").read_text()) for path in sorted(kept.iterdir())]
    assert recorded == [1.5, None]  # a single step may be lucky: the last one is not compared


def test_damaged_checkpoint_is_named(config, tmp_path):
    train(replace(config, steps=2))
    path = tmp_path / "run" / "checkpoints" / "step_00000002"
    (path / "optimizer.bin").write_bytes(b"half")
    with pytest.raises(
        InputError, match=r"step_00000002 can't be loaded \(.*\); if it is damaged, delete it"
    ) as caught:
        train(replace(config, steps=3))
    assert "\n" not in str(caught.value)
