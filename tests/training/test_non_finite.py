"""Non-finite losses and gradients: the step is skipped, and step and clips are named."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from emo.core.errors import InputError
from emo.training.diffusion import DiffusionTask
from emo.training.trainer import NonFiniteGuard, train


def make_non_finite(monkeypatch, steps: list[int], kind: str) -> None:
    """Makes the loss, or only its gradient, non-finite in these steps, counted from 0."""
    loss, calls = DiffusionTask.compute_loss, iter(range(1000))

    def compute(self, model: nn.Module, batch, generator):
        value, parts = loss(self, model, batch, generator)
        if next(calls) not in steps:
            return value, parts
        return (
            value * torch.nan if kind == "loss" else value + (0 * value).sqrt()
        ), parts  # 0 with an infinite gradient

    monkeypatch.setattr(DiffusionTask, "compute_loss", compute)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_non_finite_step_changes_nothing(config, read_checkpoint, read_log, monkeypatch, capsys, clips_folder, kind):
    make_non_finite(monkeypatch, [3], kind)
    run = train(replace(config, steps=4, checkpoint_steps=1)).parent
    before, after = read_checkpoint(run, 3), read_checkpoint(run, 4)
    assert len(before) > 50 and before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    rows = read_log(run)
    assert [row["skipped"] for row in rows] == [0, 0, 0, 1] and ["loss" in row for row in rows] == [True] * 3 + [False]
    messages = [line for line in capsys.readouterr().out.splitlines() if "is skipped" in line]
    assert len(messages) == 1 and messages[0].startswith("step 4 is skipped: ")
    assert f"the clips {clips_folder}/" in messages[0]


def test_too_many_in_a_row_end_the_run_and_name_the_clips(config, monkeypatch, clips_folder):
    make_non_finite(monkeypatch, [0, 1, 3, 4, 5], "loss")
    message = rf"in 3 steps in a row, last in step 6 with the clips {clips_folder}/[ab][01]\.json.*: check these"
    with pytest.raises(InputError, match=message) as caught:
        train(replace(config, max_skipped_steps=3))
    assert "\n" not in str(caught.value)


def test_only_clips_of_the_process_with_the_bad_loss_are_named():
    """A bad gradient may come from the clips of any process."""
    messages = []
    guard = NonFiniteGuard(9, messages.append)
    assert not guard.accept_step(1, torch.nan, torch.nan, 1.0, ["b", "a", "b"])
    assert not guard.accept_step(2, 1.0, 1.0, torch.inf, ["c"])
    assert not guard.accept_step(3, 1.0, 1.0, torch.nan, [])
    assert guard.accept_step(4, 1.0, 1.0, 1.0, ["d"])
    assert messages == [
        "step 1 is skipped: loss nan, gradient norm 1, the clips a, b",
        "step 2 is skipped: loss 1, gradient norm inf, the clips c",
        "step 3 is skipped: loss 1, gradient norm nan, samples without names",
    ]
