"""How a step is shared out, and which settings a run can't have."""

import sys
from dataclasses import replace

import pytest
import torch

from emo.core.config import Config
from emo.core.errors import InputError
from emo.training.distributed import in_bf16, make_optimizer, micro_batches
from emo.training.trainer import train


def shares(step: int, processes: int, micro: int) -> list[range]:
    config = Config(batch_size=12, gradient_accumulation_steps=micro)
    return [one for rank in range(processes) for one in micro_batches(step, config, rank, processes)]


def test_a_step_is_shared_out_and_others_go_on_where_it_stopped():
    for before, after in [((1, 1), (4, 3)), ((4, 1), (1, 6)), ((2, 3), (3, 2))]:
        steps = [shares(step, *before) for step in range(3)] + [shares(step, *after) for step in range(3, 5)]
        seen = [sorted(number for share in step for number in share) for step in steps]
        assert sum(seen, []) == list(range(5 * 12))
        assert all(len({len(share) for share in step}) == 1 for step in steps)


def test_a_process_reads_its_micro_batches_in_one_stride():
    """So that the stream reads ahead."""
    config = Config(batch_size=12, gradient_accumulation_steps=3)
    order = [number for step in range(2) for one in micro_batches(step, config, 1, 2) for number in one]
    assert order == list(range(1, 24, 2))


def test_bf16_is_taken_where_the_device_has_it(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for has in (False, True):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        assert in_bf16(Config(precision="bf16"), cpu) == (has and torch.backends.mkldnn.is_available())
    assert in_bf16(Config(precision="bf16"), gpu)
    assert not in_bf16(Config(precision="fp32"), gpu) and not in_bf16(Config(precision="fp32"), cpu)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gradient_accumulation_steps": 3}, "batch_size=2: 1 processes x 3 micro-batches share it, give a multiple"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0: give 1 or more"),
        ({"optimizer": "sgd"}, "optimizer=sgd: choose adamw or adamw8bit"),
        ({"ema_device": "disk"}, "ema_device=disk: choose cpu, or leave it out"),
        ({"precision": "fp16"}, "precision=fp16: choose fp32 or bf16"),
    ],
)
def test_what_can_not_be_is_said(config, changes, words):
    with pytest.raises(InputError, match=words):
        train(replace(config, **changes))


def test_small_networks_are_trained_whole(config):
    eye = replace(config, task="mouth", model={"widths": [16, 16], "dim": 16})
    with pytest.raises(InputError, match="task=mouth draws its batch at once: one process"):
        train(replace(eye, gradient_accumulation_steps=2))
    with pytest.raises(InputError, match="gradient_checkpointing: task=mouth can't"):
        train(replace(eye, gradient_checkpointing=True))


def test_a_compiled_run_leaves_the_same_names_and_weights(config, checkpoint, tmp_path, monkeypatch):
    config = replace(config, steps=2, ema_device="cpu")
    train(replace(config, output=str(tmp_path / "plain")))
    before, compiled = torch.nn.Module.compile, []

    def compile_eagerly(model: torch.nn.Module) -> None:
        compiled.append(model)
        before(model, backend="eager")  # the default one takes minutes

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    train(replace(config, compile=True))
    one, other = checkpoint(tmp_path / "plain", 2), checkpoint(tmp_path / "run", 2)
    assert one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert len(compiled) == 1


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match="adamw8bit needs bitsandbytes: pip install it, or choose adamw"):
        make_optimizer(Config(optimizer="adamw8bit"), [torch.nn.Parameter(torch.zeros(1))])
