"""A tiny training run, and readers of its checkpoints and log."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo.core.config import Config, DataConfig, SchedulerConfig


@pytest.fixture
def config(tmp_path, clips_folder, tiny_model_folder, tiny_model) -> Config:
    """Six steps of the tiny model on the drawn faces."""
    return Config(
        output=str(tmp_path / "run"),
        device="cpu",
        steps=6,
        batch_size=2,
        learning_rate=1e-3,
        warmup_steps=2,
        final_learning_rate_ratio=0.1,
        log_steps=1,
        checkpoint_steps=2,
        autoencoder=str(tiny_model_folder / "vae"),
        audio_encoder=str(tiny_model_folder / "audio_encoder"),
        model=dict(tiny_model),
        data=DataConfig(clips={str(clips_folder): 1.0}, num_frames=4, contiguous=True, size=64),
        scheduler=SchedulerConfig(prediction_type="sample"),
    )


def load_checkpoint(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step_{step:08d}"
    tensors = load_file(folder / "model.safetensors")
    average = torch.load(folder / "custom_checkpoint_0.pkl", weights_only=True)
    tensors |= {f"average {name}": value for name, value in average["values"].items()}
    for i, state in torch.load(folder / "optimizer.bin", weights_only=True)["state"].items():
        tensors |= {f"optimizer {i} {name}": value for name, value in state.items()}
    return tensors


@pytest.fixture
def read_checkpoint():
    """read_checkpoint(run, step) -> all tensors of model, average and optimizer by name."""
    return load_checkpoint


MACHINE_VALUES = {"seconds_per_step", "samples_per_second", "data_wait", "memory_gib"}


@pytest.fixture
def read_log():
    """read_log(run) -> the rows of its log, without values that differ between machines."""

    def read(run: Path) -> list[dict]:
        rows = [json.loads(line) for line in (run / "log.jsonl").open()]
        return [{key: value for key, value in row.items() if key not in MACHINE_VALUES} for row in rows]

    return read
