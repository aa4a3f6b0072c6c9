"""The validation loss: on people excluded from training, the same for the same weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emo.core.config import ConditionConfig, Config
from emo.data.shards import write_shards
from emo.training import trainer
from emo.training.diffusion import DiffusionTask
from emo.training.task import make_task
from emo.training.trainer import compute_validation_loss, train

CPU = torch.device("cpu")
ALWAYS = {name: ConditionConfig(1.0) for name in ("audio", "reference", "motion", "face_region", "head_speed")}


@pytest.fixture
def held_out_config(config, tmp_path, tiny_model_folder) -> Config:
    """The tiny run from given weights, with anna held out."""
    (tmp_path / "out.txt").write_text("anna\n")
    data = replace(config.data, hold_out=str(tmp_path / "out.txt"), audio_variants=2)
    changes = {"validation_steps": 2, "validation_samples": 3, "start_from": str(tiny_model_folder / "model")}
    return replace(config, data=data, **changes)


def use_shards(config: Config, clips_folder: Path, folder: Path) -> Config:
    write_shards([str(clips_folder)], folder, 1, 0.0)
    return replace(config, data=replace(config.data, clips={}, shards=[str(folder)], open_shards=2, workers=0))


def compute_loss(config: Config, run: Path | None = None) -> float:
    """The validation loss of the weights that the run starts from, or of those in a run's folder."""
    task = make_task(replace(config, start_from=str(run / "model" / "model") if run else config.start_from))
    return compute_validation_loss(
        task, task.model.eval(), task.make_validation_batches(config.validation_samples, CPU), CPU
    )


def read_rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").open()]


@pytest.mark.parametrize("streamed", [False, True])
def test_loss_is_of_the_average_on_people_excluded_from_training(
    held_out_config, clips_folder, tmp_path, monkeypatch, capsys, streamed
):
    held_out_config = use_shards(held_out_config, clips_folder, tmp_path / "shards") if streamed else held_out_config
    batch, trained = DiffusionTask.make_batch, set()

    def record(self, numbers, device):
        made = batch(self, numbers, device)
        trained.update(Path(name).stem for name in made.names)
        return made

    monkeypatch.setattr(DiffusionTask, "make_batch", record)
    train(replace(held_out_config, steps=4))
    logged = [(row["step"], row["validation/loss"]) for row in read_rows(tmp_path / "run") if "validation/loss" in row]
    assert [step for step, _ in logged] == [2, 4] and logged[0][1] != logged[1][1]
    assert logged[1][1] == pytest.approx(compute_loss(held_out_config, tmp_path / "run"), rel=1e-6)
    batches = make_task(held_out_config).make_validation_batches(3, CPU)
    assert trained == {"b0"} and {Path(name).stem for one in batches for name in one.names} == {"a0", "a1"}
    assert "there is no validation loss" not in capsys.readouterr().out


@pytest.mark.parametrize("streamed", [False, True])
def test_neither_seed_nor_drop_rates_change_it(held_out_config, clips_folder, tmp_path, streamed):
    held_out_config = use_shards(held_out_config, clips_folder, tmp_path / "shards") if streamed else held_out_config
    loss = compute_loss(held_out_config)
    assert (
        loss
        == compute_loss(held_out_config)
        == compute_loss(replace(held_out_config, seed=5))
        == compute_loss(replace(held_out_config, conditions=ALWAYS))
        > 0
    )


def test_best_checkpoint_has_the_lowest_validation_loss(held_out_config, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(trainer, "compute_validation_loss", lambda *_: next(losses))
    train(replace(held_out_config, steps=9, keep_checkpoints=1))
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step_00000004", "step_00000009"]
    assert [json.loads((path / "loss.json").read_text()) for path in kept] == [1.0, None]


def test_missing_held_out_people_are_reported_once(config, tmp_path, capsys):
    train(replace(config, validation_steps=2))
    message = "there is no validation loss: no clips of people in data.hold_out"
    assert capsys.readouterr().out.count(message) == 1
    assert not any("validation/loss" in row for row in read_rows(tmp_path / "run"))
