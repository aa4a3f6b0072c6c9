"""What a run logs: means of its steps, in log.jsonl and, where asked, in a real offline run of wandb."""

import json
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from emo.core.config import SamplingConfig, TrackingConfig
from emo.core.errors import InputError
from emo.training import logging
from emo.training.diffusion import DiffusionTask
from emo.training.logging import TrainingMonitor, WandbLogger, describe_commit, get_sample_name, open_monitor
from emo.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """wandb without a network; all its files are in the test's folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb" / name))


def records(path: Path) -> Iterator:
    """The records of a .wandb file: 32-KiB blocks of chunks with checksum, length and type (the log of LevelDB)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if -at % 32768 < 7:  # padding of the block
            at += -at % 32768
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or its last chunk
            yield Record.FromString(record)
            record = b""


def values(items) -> dict:
    return {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}


def wandb_runs(run: Path) -> list[list]:
    """The records of each start of the run, in order."""
    return [
        list(records(path))
        for path in sorted((run / "wandb").glob("offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime_ns)
    ]


def stop_in_fourth_step(monkeypatch) -> None:
    batch, calls = DiffusionTask.make_batch, iter(range(9))

    def stopping(self, rng, device):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return batch(self, rng, device)

    monkeypatch.setattr(DiffusionTask, "make_batch", stopping)


def test_run_and_its_resumption_are_one_wandb_run(config, tmp_path, monkeypatch, offline):
    run = tmp_path / "run"
    config = replace(config, sample_steps=6, sampling=SamplingConfig(2, 1.0), tracking=TrackingConfig("heads"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in_fourth_step(patch)
        train(config)
    train(config)
    before, after = wandb_runs(run)
    starts = [next(r.run for r in page if r.HasField("run")) for page in (before, after)]
    assert {(start.project, start.run_id) for start in starts} == {("heads", (run / "wandb_id").read_text())}
    logged_config = values(starts[0].config.update)
    assert logged_config["learning_rate"] == 1e-3 and logged_config["data"]["num_frames"] == 4
    assert logged_config["commit"] == describe_commit()

    history = [[values(r.history.item) for r in page if r.HasField("history")] for page in (before, after)]
    rows = [[row for row in page if "loss" in row] for page in history]
    assert [[row["step"] for row in page] for page in rows] == [[1, 2, 3], [3, 4, 5, 6]]
    logged = [json.loads(line) for line in (run / "log.jsonl").open()]
    for sent, row in zip(rows[0][:2] + rows[1], logged, strict=True):
        assert {name: sent[name] for name in row} == row
    metrics = [r.metric for r in before if r.HasField("metric")]
    assert any(metric.glob_name == "*" and metric.step_metric == "step" for metric in metrics)

    media_files = {name: value for row in history[1] for name, value in row.items() if name.endswith("/path")}
    assert sorted(media_files) == [f"sample/{clip}/path" for clip in ("a0", "a1", "b0")]
    media = next((run / "wandb").glob(f"*/files/{media_files['sample/a0/path']}"))
    assert media.read_bytes() == (run / "samples" / "step_00000006_a0.mp4").read_bytes()
    artifacts = [r.artifact for page in (before, after) for r in page if r.HasField("artifact")]
    assert [json.loads(artifact.metadata) for artifact in artifacts] == [{"step": 6}]  # only the last checkpoint
    assert {"model.safetensors", "optimizer.bin"} <= {entry.path for entry in artifacts[0].manifest.contents}


def test_without_a_project_only_the_log_file_is_written(config, tmp_path, monkeypatch):
    monkeypatch.setattr(logging, "WandbLogger", lambda *_: pytest.fail("wandb is used"))
    train(replace(config, steps=2, log_steps=2))
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    by_timestep = [name for name in row if name.startswith("loss/t")]
    assert by_timestep and min(row[n] for n in by_timestep) <= row["loss"] <= max(row[n] for n in by_timestep)
    assert row["gradient_norm"] > 0 and 0 < row["ema_decay"] < 1 and row["lr"] > 0 and row["memory_gib"] > 0.01
    assert 0 < row["data_wait"] < 1 and row["skipped"] == 0
    assert row["samples_per_second"] == pytest.approx(config.batch_size / row["seconds_per_step"])
    assert not (tmp_path / "run" / "wandb").exists()


class RecordingLogger:
    """Records the rows."""

    def __init__(self):
        self.rows = []

    def log_row(self, row: dict[str, float]) -> None:
        self.rows.append(row)


def test_row_has_the_means_since_the_last_row(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 8.0, 8.0, 8.0, 9.0, 10.0, 10.0])
    monkeypatch.setattr(logging.time, "perf_counter", lambda: next(clock))
    logger = RecordingLogger()
    monitor = TrainingMonitor([logger], samples_per_step=6, device=CPU)  # at 0
    with monitor.time_data():  # from 1 to 3
        pass
    monitor.add_step(True, {"loss": torch.tensor(1.0), "loss/t0-249": torch.tensor([1.0, 2.0])})
    monitor.add_step(False, {"loss": torch.tensor(torch.nan)})
    monitor.add_step(True, {"loss": torch.tensor(4.0), "loss/t0-249": torch.tensor([6.0])})
    monitor.log_means(3, lr=0.5)  # at 8
    with monitor.time_data():  # from 8 to 9
        pass
    monitor.add_step(False, {"loss": torch.tensor(torch.nan)})
    monitor.log_means(4)  # at 10
    first, second = [{k: v for k, v in row.items() if k != "memory_gib"} for row in logger.rows]
    assert first == {
        **{"step": 3, "loss": 2.5, "loss/t0-249": 3.0, "lr": 0.5, "skipped": 1},
        **{"seconds_per_step": 8 / 3, "samples_per_second": 6 * 3 / 8, "data_wait": 2 / 8},
    }
    assert second == {"step": 4, "skipped": 1, "seconds_per_step": 2.0, "samples_per_second": 3.0, "data_wait": 0.5}


def test_only_the_main_process_logs(config, tmp_path, capsys):
    with open_monitor(tmp_path, config, 0, False, CPU) as monitor:
        monitor.log_message("hello")
        monitor.add_step(True, {"loss": torch.tensor(1.0)})
        monitor.log_means(1)
        monitor.log_checkpoint(1, tmp_path)
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []


class UnreachableRun:
    """A wandb run that has lost its network."""

    def __init__(self):
        self.calls = 0

    def define_metric(self, *_, **__):
        pass

    def log(self, *_):
        self.calls += 1
        raise ConnectionError("no route")


def test_failing_wandb_does_not_end_the_run(config, tmp_path, monkeypatch, capsys):
    unreachable = UnreachableRun()
    monkeypatch.setattr(logging.wandb, "init", lambda **_: unreachable)
    train(replace(config, steps=3, tracking=TrackingConfig("heads")))
    assert unreachable.calls == 1 and (tmp_path / "run" / "model").exists()
    assert capsys.readouterr().out.count("Weights & Biases fails (ConnectionError('no route')): the run continues") == 1


def test_missing_account_is_reported_at_the_start(config, tmp_path, monkeypatch):
    def init(**_):
        raise logging.wandb.errors.UsageError("No API key configured.\nUse `wandb login`")

    monkeypatch.setattr(logging.wandb, "init", init)
    with pytest.raises(
        InputError, match="^tracking.project=heads: No API key configured.; run `wandb login`, set WANDB_"
    ):
        WandbLogger(tmp_path, replace(config, tracking=TrackingConfig("heads")))


def test_sample_has_the_same_name_at_every_step():
    assert [get_sample_name(Path(p)) for p in ("step_00000010_anna_1.mp4", "step_00000020.png")] == ["anna_1", "png"]


def test_commit_is_that_of_the_checkout():
    root = Path(__file__).parents[2]
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    is_checkout = head.returncode == 0 and (root / ".git").exists()
    assert (describe_commit() or "").removesuffix("-dirty") == (head.stdout.strip() if is_checkout else "")
