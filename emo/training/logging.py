"""Log a run: to the terminal and log.jsonl, and to Weights & Biases where `tracking` asks for it.

With WANDB_MODE=offline the W&B run stays in the run's folder until `wandb sync` uploads it.
"""

import json
import secrets
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
import wandb
from accelerate.utils import gather_object
from torch import Tensor

from emo.core.config import Config
from emo.core.errors import InputError
from emo.core.files import checkpoint_write_error, write_text_atomic


class RunLogger(Protocol):
    """Where a run is logged: FileLogger or WandbLogger."""

    def log_row(self, row: dict[str, float]) -> None:
        """Log values by name; row["step"] is the number of finished steps."""

    def log_message(self, message: str) -> None:
        """Log a line of text."""

    def log_samples(self, step: int, paths: list[Path]) -> None:
        """Log files that show what the model produces.

        Args:
            step: Number of finished steps.
            paths: Videos, images or tables.
        """

    def log_checkpoint(self, step: int, folder: Path) -> None:
        """Log a complete checkpoint, which may be removed later.

        Args:
            step: Number of finished steps.
            folder: Folder of the checkpoint.
        """

    def close(self, exit_code: int) -> None:
        """Ends the logging; exit_code 0: the run ended or can be resumed, otherwise it failed."""


class FileLogger:
    """Logs to the terminal and to log.jsonl; samples and checkpoints are in their folders anyway."""

    def __init__(self, run: Path, first_step: int):
        """Open the log, and remove rows of steps that are run again.

        Args:
            run: Folder of the run.
            first_step: Number of finished steps; rows after it are removed.
        """
        self.path = run / "log.jsonl"
        if self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            rows = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= first_step]
            write_text_atomic(self.path, "".join(rows))

    def log_row(self, row: dict[str, float]) -> None:
        """Append a line of JSON, and print the row.

        Raises:
            OutputError: The file can't be written.
        """
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise checkpoint_write_error(self.path, error) from error
        self.log_message("  ".join(f"{name} {value:.6g}" for name, value in row.items()))

    def log_message(self, message: str) -> None:
        """Print the message."""
        print(message, flush=True)

    def log_samples(self, step: int, paths: list[Path]) -> None:
        """Do nothing: the files are in samples/.

        Args:
            step: Number of finished steps.
            paths: Videos, images or tables.
        """

    def log_checkpoint(self, step: int, folder: Path) -> None:
        """Do nothing: the checkpoint is in checkpoints/.

        Args:
            step: Number of finished steps.
            folder: Folder of the checkpoint.
        """

    def close(self, exit_code: int) -> None:
        """Do nothing: each row is written at once."""


class WandbLogger:
    """Logs to Weights & Biases. A failure after the start ends the logging, not the run."""

    def __init__(self, run: Path, config: Config):
        """Start or resume the run's page.

        Args:
            run: Folder of the run.
            config: Settings of the run.

        Raises:
            InputError: That fails: no account, no such project.
        """
        self.config = config
        try:
            self.wandb_run = wandb.init(
                project=config.tracking.project,
                id=read_wandb_id(run),
                resume="allow",
                dir=run,
                name=run.name,
                config=asdict(config) | {"commit": describe_commit()},
            )
        except Exception as error:  # wandb's own errors and those of its service have no common base
            reason = (str(error) or repr(error)).splitlines()[0]
            fix = "run `wandb login`, set WANDB_MODE=offline, or leave the setting out"
            raise InputError(f"tracking.project={config.tracking.project}: {reason}; {fix}") from error
        self.wandb_run.define_metric("step")  # the x axis: W&B's own counter can't log a step again after a kill
        self.wandb_run.define_metric("*", step_metric="step")

    def call_safely(self, call: Callable[[Any], object]) -> None:
        """Call a function with the W&B run; after the first failure that is not used again."""
        if self.wandb_run is None:
            return
        try:
            call(self.wandb_run)
        except Exception as error:  # the network or the service is gone
            print(f"Weights & Biases fails ({error!r}): the run continues without it", flush=True)
            self.wandb_run = None

    def log_row(self, row: dict[str, float]) -> None:
        """Log a row of values."""
        self.call_safely(lambda wandb_run: wandb_run.log(row))

    def log_message(self, message: str) -> None:
        """Do nothing: wandb records the terminal."""

    def log_samples(self, step: int, paths: list[Path]) -> None:
        """Log videos and images.

        Args:
            step: Number of finished steps.
            paths: Videos, images or tables.
        """
        kinds = {".mp4": wandb.Video, ".png": wandb.Image}
        named = {f"sample/{get_sample_name(path)}": path for path in paths if path.suffix in kinds}
        self.call_safely(
            lambda wandb_run: wandb_run.log({k: kinds[p.suffix](str(p)) for k, p in named.items()} | {"step": step})
        )

    def log_checkpoint(self, step: int, folder: Path) -> None:
        """Upload the checkpoint if it is the last one, or `artifact_steps` asks for it.

        Args:
            step: Number of finished steps.
            folder: Folder of the checkpoint.
        """
        every = self.config.tracking.artifact_steps
        if step == self.config.steps or (every and step % every == 0):
            self.call_safely(
                lambda wandb_run: wandb_run.log_artifact(make_artifact(f"checkpoint-{wandb_run.id}", folder, step))
            )

    def close(self, exit_code: int) -> None:
        """Ends the W&B run."""
        self.call_safely(lambda wandb_run: wandb_run.finish(exit_code))


def get_sample_name(path: Path) -> str:
    """Return the name of a sample without its step: step_00000010_anna.mp4 -> anna, step_00000010.png -> png."""
    return path.stem.removeprefix("step_")[9:] or path.suffix[1:]


def make_artifact(name: str, folder: Path, step: int) -> wandb.Artifact:
    """Make a W&B artifact with the files of a checkpoint.

    Args:
        name: Name of the artifact.
        folder: Folder of the checkpoint.
        step: Number of finished steps.

    Returns:
        The artifact, not yet uploaded.
    """
    artifact = wandb.Artifact(name, "checkpoint", metadata={"step": step})
    artifact.add_dir(str(folder))
    return artifact


def read_wandb_id(run: Path) -> str:
    """Read the W&B id of a run from its folder, so that a resumed run has the same page; make one at the start."""
    path = run / "wandb_id"
    if not path.exists():
        write_text_atomic(path, secrets.token_hex(4))
    return path.read_text()


def describe_commit() -> str | None:
    """Return the git commit of this code, with "-dirty" if files were changed; None if it is not a git checkout."""
    root = Path(__file__).parents[2]

    def run_git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        is_own = Path(run_git("rev-parse", "--show-toplevel")).resolve() == root.resolve()
        return run_git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if is_own else None
    except (OSError, subprocess.CalledProcessError):
        return None


class TrainingMonitor:
    """Collects values of the steps, and passes their means and messages to loggers; without loggers it is silent."""

    def __init__(self, loggers: list[RunLogger], samples_per_step: int, device: torch.device):
        """Start with no values.

        Args:
            loggers: Where rows and messages go.
            samples_per_step: Samples of a step, over all processes.
            device: Device whose memory is reported.
        """
        self.loggers, self.samples_per_step, self.device = loggers, samples_per_step, device
        self.reset()

    def reset(self) -> None:
        """Start the next row."""
        self.values, self.steps, self.skipped, self.data_seconds = defaultdict(list), 0, 0, 0.0
        self.start = time.perf_counter()

    @contextmanager
    def time_data(self) -> Iterator[None]:
        """Measure the time spent waiting for data."""
        start = time.perf_counter()
        yield
        self.data_seconds += time.perf_counter() - start

    def add_step(self, accepted: bool, values: dict[str, Tensor]) -> None:
        """Add a step.

        Args:
            accepted: False for a skipped step, whose values are left out.
            values: Name -> any number of values, whose mean is logged.
        """
        self.steps += 1
        self.skipped += not accepted
        if accepted:
            for name, value in values.items():
                self.values[name] += value.flatten().tolist()

    def log_means(self, step: int, **current: float) -> None:
        """Log a row: the means since the last one, `current` values and speed. All processes must call it."""
        seconds = time.perf_counter() - self.start
        means = average_over_processes(self.values)
        speed = {
            "seconds_per_step": seconds / self.steps,
            "samples_per_second": self.samples_per_step * self.steps / seconds,
            "data_wait": self.data_seconds / seconds,  # share of the time
            "memory_gib": measure_memory_gib(self.device),
        }
        self.log_values(step, means | current | {"skipped": self.skipped} | speed)
        self.reset()

    def log_values(self, step: int, values: dict[str, float]) -> None:
        """Log a row of values without averaging.

        Args:
            step: Number of finished steps.
            values: Values by name.
        """
        for logger in self.loggers:
            logger.log_row({"step": step} | values)

    def log_message(self, message: str) -> None:
        """Log a line of text."""
        for logger in self.loggers:
            logger.log_message(message)

    def log_samples(self, step: int, paths: list[Path]) -> None:
        """Log files that show what the model produces.

        Args:
            step: Number of finished steps.
            paths: Videos, images or tables.
        """
        for logger in self.loggers:
            logger.log_samples(step, paths)

    def log_checkpoint(self, step: int, folder: Path) -> None:
        """Log a complete checkpoint.

        Args:
            step: Number of finished steps.
            folder: Folder of the checkpoint.
        """
        for logger in self.loggers:
            logger.log_checkpoint(step, folder)


@contextmanager
def open_monitor(
    run: Path, config: Config, first_step: int, is_main: bool, device: torch.device
) -> Iterator[TrainingMonitor]:
    """Open the monitor of a run that continues after `first_step`.

    Args:
        run: Folder of the run.
        config: The run's settings.
        first_step: Number of finished steps.
        is_main: Whether this is the main process; the others have no loggers.
        device: Where sums are collected.

    Yields:
        The monitor; its loggers are closed on exit.
    """
    loggers: list[RunLogger] = [FileLogger(run, first_step)] if is_main else []
    if is_main and config.tracking.project:
        loggers.append(WandbLogger(run, config))
    exit_code = 1
    try:
        yield TrainingMonitor(loggers, config.batch_size, device)
        exit_code = 0
    finally:
        for logger in loggers:
            logger.close(exit_code)


def average_over_processes(values: dict[str, list[float]]) -> dict[str, float]:
    """Return the mean of each name's values over all processes, of which not all need to have each name."""
    merged = defaultdict(list)
    for own in gather_object([dict(values)]):
        for name, some in own.items():
            merged[name] += some
    return {name: float(np.mean(merged[name])) for name in sorted(merged)}


def measure_memory_gib(device: torch.device) -> float:
    """Peak memory on a GPU, or this process's memory now on a CPU, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
