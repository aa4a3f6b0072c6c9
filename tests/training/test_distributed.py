"""How a step is split over processes and micro-batches, and which settings are refused."""

import sys
from dataclasses import replace

import pytest
import torch

from emo.core.config import Config
from emo.core.errors import InputError
from emo.training.distributed import make_optimizer, split_step, uses_bf16
from emo.training.trainer import train


def split(step: int, processes: int, micro: int) -> list[range]:
    config = Config(batch_size=12, gradient_accumulation_steps=micro)
    return [one for rank in range(processes) for one in split_step(step, config, rank, processes)]


def test_every_split_of_steps_has_the_same_samples():
    for before, after in [((1, 1), (4, 3)), ((4, 1), (1, 6)), ((2, 3), (3, 2))]:
        steps = [split(step, *before) for step in range(3)] + [split(step, *after) for step in range(3, 5)]
        seen = [sorted(number for share in step for number in share) for step in steps]
        assert sum(seen, []) == list(range(5 * 12))
        assert all(len({len(share) for share in step}) == 1 for step in steps)


def test_process_reads_its_samples_at_a_constant_stride():
    """So that the data stream can read ahead."""
    config = Config(batch_size=12, gradient_accumulation_steps=3)
    order = [number for step in range(2) for one in split_step(step, config, 1, 2) for number in one]
    assert order == list(range(1, 24, 2))


def test_bf16_is_used_where_the_device_supports_it(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for has in (False, True):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        assert uses_bf16(Config(precision="bf16"), cpu) == (has and torch.backends.mkldnn.is_available())
    assert uses_bf16(Config(precision="bf16"), gpu)
    assert not uses_bf16(Config(precision="fp32"), gpu) and not uses_bf16(Config(precision="fp32"), cpu)


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
def test_impossible_settings_are_refused(config, changes, words):
    with pytest.raises(InputError, match=words):
        train(replace(config, **changes))


def test_small_networks_support_neither_splitting_nor_checkpointing(config):
    small = replace(config, task="audio_encoder", model={"widths": [16, 16], "dim": 16})
    with pytest.raises(InputError, match="task=audio_encoder can't split its batch: use one process"):
        train(replace(small, gradient_accumulation_steps=2))
    with pytest.raises(InputError, match="gradient_checkpointing: task=audio_encoder does not support it"):
        train(replace(small, gradient_checkpointing=True))


def test_compiled_run_saves_the_same_names_and_weights(config, read_checkpoint, tmp_path, monkeypatch):
    config = replace(config, steps=2, ema_device="cpu")
    train(replace(config, output=str(tmp_path / "plain")))
    before, compiled = torch.nn.Module.compile, []

    def compile_eagerly(model: torch.nn.Module) -> None:
        compiled.append(model)
        before(model, backend="eager")  # the default backend takes minutes

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    train(replace(config, compile=True))
    one, other = read_checkpoint(tmp_path / "plain", 2), read_checkpoint(tmp_path / "run", 2)
    assert one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    assert len(compiled) == 1


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match="adamw8bit needs bitsandbytes: pip install it, or choose adamw"):
        make_optimizer(Config(optimizer="adamw8bit"), [torch.nn.Parameter(torch.zeros(1))])
