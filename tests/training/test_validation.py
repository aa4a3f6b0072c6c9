"""The validation loss: of people never trained on, the same number for the same weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emo.core.config import Config, LossConfig
from emo.data.shards import write_shards
from emo.training import trainer
from emo.training.diffusion import DiffusionTask
from emo.training.task import make_task
from emo.training.trainer import train, validation_loss

CPU = torch.device("cpu")
ALWAYS = LossConfig(**{f"drop_{name}": 1.0 for name in ("audio", "reference", "motion", "face_region", "head_speed")})


@pytest.fixture
def aside(config, tmp_path, tiny_model_folder) -> Config:
    """The tiny run from given weights, anna held out."""
    (tmp_path / "out.txt").write_text("anna\n")
    data = replace(config.data, hold_out=str(tmp_path / "out.txt"), sound_variants=2)
    changes = {"validation_steps": 2, "validation_samples": 3, "start_from": str(tiny_model_folder / "model")}
    return replace(config, data=data, **changes)


def in_shards(config: Config, clips_folder: Path, folder: Path) -> Config:
    write_shards([str(clips_folder)], folder, 1, 0.0)
    return replace(config, data=replace(config.data, clips={}, shards=[str(folder)], lanes=2, workers=0))


def loss_of(config: Config, run: Path | None = None) -> float:
    """Of the weights the run starts from, or of those in a folder."""
    task = make_task(replace(config, start_from=str(run / "model" / "model") if run else config.start_from))
    return validation_loss(task, task.model.eval(), task.held_out(config.validation_samples, CPU), CPU)


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").open()]


@pytest.mark.parametrize("streamed", [False, True])
def test_it_is_of_the_average_on_people_the_run_does_not_learn_from(
    aside, clips_folder, tmp_path, monkeypatch, capsys, streamed
):
    aside = in_shards(aside, clips_folder, tmp_path / "shards") if streamed else aside
    batch, learnt = DiffusionTask.batch, set()

    def noted(self, numbers, device):
        made = batch(self, numbers, device)
        learnt.update(Path(name).stem for name in made.names)
        return made

    monkeypatch.setattr(DiffusionTask, "batch", noted)
    train(replace(aside, steps=4))
    told = [(row["step"], row["validation/loss"]) for row in rows(tmp_path / "run") if "validation/loss" in row]
    assert [step for step, _ in told] == [2, 4] and told[0][1] != told[1][1]
    assert told[1][1] == pytest.approx(loss_of(aside, tmp_path / "run"), rel=1e-6)
    held = make_task(aside).held_out(3, CPU)
    assert learnt == {"b0"} and {Path(name).stem for one in held for name in one.names} == {"a0", "a1"}
    assert "there is no validation loss" not in capsys.readouterr().out


@pytest.mark.parametrize("streamed", [False, True])
def test_neither_seed_nor_drops_change_it(aside, clips_folder, tmp_path, streamed):
    aside = in_shards(aside, clips_folder, tmp_path / "shards") if streamed else aside
    loss = loss_of(aside)
    assert loss == loss_of(aside) == loss_of(replace(aside, seed=5)) == loss_of(replace(aside, loss=ALWAYS)) > 0


def test_the_best_checkpoint_is_that_of_the_least_validation_loss(aside, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(trainer, "validation_loss", lambda *_: next(losses))
    train(replace(aside, steps=9, keep_checkpoints=1))
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step_00000004", "step_00000009"]
    assert [json.loads((path / "loss.json").read_text()) for path in kept] == [1.0, None]


def test_where_nobody_is_held_out_that_is_said_once(config, tmp_path, capsys):
    train(replace(config, validation_steps=2))
    said = "there is no validation loss: the task has no clips of people held out (data.hold_out)"
    assert capsys.readouterr().out.count(said) == 1
    assert not any("validation/loss" in row for row in rows(tmp_path / "run"))
