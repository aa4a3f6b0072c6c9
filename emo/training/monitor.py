"""The one way out for all that a run reports: to the screen and log.jsonl, and where `tracking` asks, to a page."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
from accelerate.utils import gather_object
from torch import Tensor

from emo.config import Config
from emo.training.whole import cannot_write


class Listener(Protocol):
    """Journal or Board (emo.training.board)."""

    def row(self, row: dict[str, float]) -> None:
        """What was measured up to row["step"]."""

    def say(self, line: str) -> None:
        """For a person."""

    def samples(self, step: int, paths: list[Path]) -> None:
        """Files of the task's own kind."""

    def checkpoint(self, step: int, folder: Path) -> None:
        """Finished; it may be removed later."""

    def close(self, exit_code: int) -> None:
        """0: the run ended, or will go on; else it failed."""


class Journal:
    """The screen and log.jsonl."""

    def __init__(self, run: Path, first: int):
        """Takes back what was logged after the step `first`: it is done again."""
        self.path = run / "log.jsonl"
        if self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            part = run / "log.jsonl.part"
            part.write_text("".join(x for x in lines if x.endswith("\n") and json.loads(x)["step"] <= first))
            part.replace(self.path)

    def row(self, row: dict[str, float]) -> None:
        """Raises OutputError."""
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.say("  ".join(f"{name} {value:.6g}" for name, value in row.items()))

    def say(self, line: str) -> None:
        print(line, flush=True)

    def samples(self, step: int, paths: list[Path]) -> None:
        """They lie in samples/."""

    def checkpoint(self, step: int, folder: Path) -> None:
        """It lies in checkpoints/."""

    def close(self, exit_code: int) -> None:
        pass


class Monitor:
    """Gathers what the steps tell, and passes it on; with nobody to listen it is silent."""

    def __init__(self, listeners: list[Listener], samples_per_step: int, device: torch.device):
        self.listeners = listeners
        self.samples_per_step, self.device = samples_per_step, device  # samples of all processes
        self.clear()

    def clear(self) -> None:
        self.values, self.steps, self.skipped, self.waited = defaultdict(list), 0, 0, 0.0
        self.since = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For data."""
        begun = time.perf_counter()
        yield
        self.waited += time.perf_counter() - begun

    def step(self, passed: bool, values: dict[str, Tensor]) -> None:
        """name -> values of any number, whose mean is reported; those of a step that was skipped are left out."""
        self.steps += 1
        self.skipped += not passed
        if passed:
            for name, value in values.items():
                self.values[name] += value.flatten().tolist()

    def report(self, step: int, **now: float) -> None:
        """A row of the means since the row before, `now` beside them. All processes must call it."""
        seconds = time.perf_counter() - self.since
        means = means_over_processes(self.values)
        machine = {
            "seconds_per_step": seconds / self.steps,
            "samples_per_second": self.samples_per_step * self.steps / seconds,
            "data_wait": self.waited / seconds,  # share of the time
            "memory_gib": memory_gib(self.device),
        }
        for listener in self.listeners:
            listener.row({"step": step} | means | now | {"skipped": self.skipped} | machine)
        self.clear()

    def measured(self, step: int, values: dict[str, float]) -> None:
        """A row of what is not measured in every step."""
        for listener in self.listeners:
            listener.row({"step": step} | values)

    def say(self, line: str) -> None:
        for listener in self.listeners:
            listener.say(line)

    def samples(self, step: int, paths: list[Path]) -> None:
        for listener in self.listeners:
            listener.samples(step, paths)

    def checkpoint(self, step: int, folder: Path) -> None:
        for listener in self.listeners:
            listener.checkpoint(step, folder)


@contextmanager
def monitored(run: Path, config: Config, first: int, is_main: bool, device: torch.device):
    """Yields the Monitor of a run that goes on behind the step `first`; only the main process's has listeners."""
    listeners: list[Listener] = [Journal(run, first)] if is_main else []
    if is_main and config.tracking.project:
        from emo.training.board import Board  # wandb takes seconds to import

        listeners.append(Board(run, config))
    exit_code = 1
    try:
        yield Monitor(listeners, config.batch_size, device)
        exit_code = 0
    finally:
        for listener in listeners:
            listener.close(exit_code)


def means_over_processes(values: dict[str, list[float]]) -> dict[str, float]:
    """The means of all that the processes have seen; not all need to have seen each name."""
    everything = defaultdict(list)
    for seen in gather_object([dict(values)]):
        for name, some in seen.items():
            everything[name] += some
    return {name: float(np.mean(everything[name])) for name in sorted(everything)}


def memory_gib(device: torch.device) -> float:
    """The most that was held on a GPU; on a CPU what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
