"""A loss or gradient that is no number: the step leaves no trace, and clips and step are named."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from emo.core.errors import InputError
from emo.training.diffusion import DiffusionTask
from emo.training.trainer import Guard, train


def spoil(monkeypatch, steps: list[int], kind: str) -> None:
    """From now on the loss, or only its gradient, is no number in these steps; the first is 0."""
    loss, calls = DiffusionTask.loss, iter(range(1000))

    def spoilt(self, model: nn.Module, batch, generator):
        honest, parts = loss(self, model, batch, generator)
        if next(calls) not in steps:
            return honest, parts
        return (honest * torch.nan if kind == "loss" else honest + (0 * honest).sqrt()), parts  # 0, of endless slope

    monkeypatch.setattr(DiffusionTask, "loss", spoilt)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_spoilt_step_leaves_no_trace(config, checkpoint, logged, monkeypatch, capsys, clips_folder, kind):
    spoil(monkeypatch, [3], kind)
    run = train(replace(config, steps=4, checkpoint_steps=1)).parent
    before, after = checkpoint(run, 3), checkpoint(run, 4)
    assert len(before) > 50 and before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    rows = logged(run)
    assert [row["skipped"] for row in rows] == [0, 0, 0, 1] and ["loss" in row for row in rows] == [True] * 3 + [False]
    said = [line for line in capsys.readouterr().out.splitlines() if "is skipped" in line]
    assert len(said) == 1 and said[0].startswith("step 4 is skipped: ") and f"the clips {clips_folder}/" in said[0]


def test_too_many_in_a_row_end_the_run_and_name_the_clips(config, monkeypatch, clips_folder):
    spoil(monkeypatch, [0, 1, 3, 4, 5], "loss")
    words = rf"in 3 steps in a row, at last in step 6 with the clips {clips_folder}/[ab][01]\.json.*: look at these"
    with pytest.raises(InputError, match=words) as caught:
        train(replace(config, max_skipped_steps=3))
    assert "\n" not in str(caught.value)


def test_only_the_clips_of_a_bad_loss_are_named_where_there_is_one():
    """A gradient alone may come from any process's clips; a loss tells whose."""
    said = []
    guard = Guard(9, said.append)
    assert not guard.passes(1, torch.nan, torch.nan, 1.0, ["b", "a", "b"])
    assert not guard.passes(2, 1.0, 1.0, torch.inf, ["c"])
    assert not guard.passes(3, 1.0, 1.0, torch.nan, [])
    assert guard.passes(4, 1.0, 1.0, 1.0, ["d"])
    assert said == [
        "step 1 is skipped: loss nan, gradient norm 1, the clips a, b",
        "step 2 is skipped: loss 1, gradient norm inf, the clips c",
        "step 3 is skipped: loss 1, gradient norm nan, samples without names",
    ]
