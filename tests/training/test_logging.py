"""What a run reports: means of what was measured, in log.jsonl and, where asked, in a real offline run of wandb."""

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
from emo.training import logging as board
from emo.training import logging as monitor
from emo.training.diffusion import DiffusionTask
from emo.training.logging import Board, Monitor, commit, monitored, sample_name
from emo.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """wandb without a network; all that it keeps lies in the test's folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb" / name))


def records(path: Path) -> Iterator:
    """The records of a .wandb file: 32-KiB blocks of pieces, each a checksum, a length and a kind (LevelDB's log)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if -at % 32768 < 7:  # the block's rest
            at += -at % 32768
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(record)
            record = b""


def values(items) -> dict:
    return {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}


def pages(run: Path) -> list[list]:
    """The records of each time that the run was on its page, in order."""
    return [
        list(records(path))
        for path in sorted((run / "wandb").glob("offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime_ns)
    ]


def stop_in_fourth_step(monkeypatch) -> None:
    batch, calls = DiffusionTask.batch, iter(range(9))

    def stopping(self, rng, device):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return batch(self, rng, device)

    monkeypatch.setattr(DiffusionTask, "batch", stopping)


def test_a_run_and_what_follows_a_kill_are_on_one_page(config, tmp_path, monkeypatch, offline):
    run = tmp_path / "run"
    config = replace(config, sample_steps=6, sampling=SamplingConfig(2, 1.0), tracking=TrackingConfig("heads"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in_fourth_step(patch)
        train(config)
    train(config)
    before, after = pages(run)
    starts = [next(r.run for r in page if r.HasField("run")) for page in (before, after)]
    assert {(start.project, start.run_id) for start in starts} == {("heads", (run / "wandb_id").read_text())}
    known = values(starts[0].config.update)
    assert known["learning_rate"] == 1e-3 and known["data"]["num_frames"] == 4 and known["commit"] == commit()

    told = [[values(r.history.item) for r in page if r.HasField("history")] for page in (before, after)]
    rows = [[row for row in page if "loss" in row] for page in told]
    assert [[row["step"] for row in page] for page in rows] == [[1, 2, 3], [3, 4, 5, 6]]
    logged = [json.loads(line) for line in (run / "log.jsonl").open()]
    for seen, row in zip(rows[0][:2] + rows[1], logged, strict=True):
        assert {name: seen[name] for name in row} == row
    metrics = [r.metric for r in before if r.HasField("metric")]
    assert any(metric.glob_name == "*" and metric.step_metric == "step" for metric in metrics)

    shown = {name: value for row in told[1] for name, value in row.items() if name.endswith("/path")}
    assert sorted(shown) == [f"sample/{clip}/path" for clip in ("a0", "a1", "b0")]
    media = next((run / "wandb").glob(f"*/files/{shown['sample/a0/path']}"))
    assert media.read_bytes() == (run / "samples" / "step_00000006_a0.mp4").read_bytes()
    artifacts = [r.artifact for page in (before, after) for r in page if r.HasField("artifact")]
    assert [json.loads(artifact.metadata) for artifact in artifacts] == [{"step": 6}]  # the last checkpoint alone
    assert {"model.safetensors", "optimizer.bin"} <= {entry.path for entry in artifacts[0].manifest.contents}


def test_without_a_project_there_is_no_page_and_the_log_tells_all(config, tmp_path, monkeypatch):
    monkeypatch.setattr(board, "Board", lambda *_: pytest.fail("asked for nothing"))
    train(replace(config, steps=2, log_steps=2))
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    by_timestep = [name for name in row if name.startswith("loss/t")]
    assert by_timestep and min(row[n] for n in by_timestep) <= row["loss"] <= max(row[n] for n in by_timestep)
    assert row["gradient_norm"] > 0 and 0 < row["ema_decay"] < 1 and row["lr"] > 0 and row["memory_gib"] > 0.01
    assert 0 < row["data_wait"] < 1 and row["skipped"] == 0
    assert row["samples_per_second"] == pytest.approx(config.batch_size / row["seconds_per_step"])
    assert not (tmp_path / "run" / "wandb").exists()


class Listening:
    """Keeps the rows."""

    def __init__(self):
        self.rows = []

    def row(self, row: dict[str, float]) -> None:
        self.rows.append(row)


def test_means_and_shares_are_of_what_came_since_the_row_before(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 8.0, 8.0, 8.0, 9.0, 10.0, 10.0])
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: next(clock))
    heard = Listening()
    watch = Monitor([heard], samples_per_step=6, device=CPU)  # at 0
    with watch.waiting():  # from 1 to 3
        pass
    watch.step(True, {"loss": torch.tensor(1.0), "loss/t0-249": torch.tensor([1.0, 2.0])})
    watch.step(False, {"loss": torch.tensor(torch.nan)})
    watch.step(True, {"loss": torch.tensor(4.0), "loss/t0-249": torch.tensor([6.0])})
    watch.report(3, lr=0.5)  # at 8
    with watch.waiting():  # from 8 to 9
        pass
    watch.step(False, {"loss": torch.tensor(torch.nan)})
    watch.report(4)  # at 10
    first, second = [{k: v for k, v in row.items() if k != "memory_gib"} for row in heard.rows]
    assert first == {
        **{"step": 3, "loss": 2.5, "loss/t0-249": 3.0, "lr": 0.5, "skipped": 1},
        **{"seconds_per_step": 8 / 3, "samples_per_second": 6 * 3 / 8, "data_wait": 2 / 8},
    }
    assert second == {"step": 4, "skipped": 1, "seconds_per_step": 2.0, "samples_per_second": 3.0, "data_wait": 0.5}


def test_only_the_main_process_reports(config, tmp_path, capsys):
    with monitored(tmp_path, config, 0, False, CPU) as watch:
        watch.say("hello")
        watch.step(True, {"loss": torch.tensor(1.0)})
        watch.report(1)
        watch.checkpoint(1, tmp_path)
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []


class Broken:
    """A page whose network went away."""

    def __init__(self):
        self.calls = 0

    def define_metric(self, *_, **__):
        pass

    def log(self, *_):
        self.calls += 1
        raise ConnectionError("no route")


def test_a_page_that_fails_does_not_end_the_run(config, tmp_path, monkeypatch, capsys):
    page = Broken()
    monkeypatch.setattr(board.wandb, "init", lambda **_: page)
    train(replace(config, steps=3, tracking=TrackingConfig("heads")))
    assert page.calls == 1 and (tmp_path / "run" / "model").exists()
    assert capsys.readouterr().out.count("Weights & Biases fails (ConnectionError('no route')): the run goes on") == 1


def test_no_account_is_said_at_the_door(config, tmp_path, monkeypatch):
    def init(**_):
        raise board.wandb.errors.UsageError("No API key configured.\nUse `wandb login`")

    monkeypatch.setattr(board.wandb, "init", init)
    with pytest.raises(
        InputError, match="^tracking.project=heads: No API key configured.; run `wandb login`, set WANDB_"
    ):
        Board(tmp_path, replace(config, tracking=TrackingConfig("heads")))


def test_samples_have_the_same_name_at_every_step():
    assert [sample_name(Path(p)) for p in ("step_00000010_anna_1.mp4", "step_00000020.png")] == ["anna_1", "png"]


def test_the_commit_is_that_of_the_checkout():
    root = Path(__file__).parents[2]
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True)
    own = head.returncode == 0 and (root / ".git").exists()
    assert (commit() or "").removesuffix("-dirty") == (head.stdout.strip() if own else "")
