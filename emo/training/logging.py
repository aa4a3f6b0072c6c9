"""A run on a page of Weights & Biases; with WANDB_MODE=offline it stays in the run's folder until `wandb sync`.

A run on a page of Weights & Biases; with WANDB_MODE=offline it stays in the run's folder until `wandb sync`.

The one way out for all that a run reports: to the screen and log.jsonl, and where `tracking` asks, to a page.
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
from typing import Protocol

import numpy as np
import psutil
import torch
import wandb
from accelerate.utils import gather_object
from torch import Tensor

from emo.core.config import Config
from emo.core.errors import InputError
from emo.core.files import cannot_write


class Board:
    """What fails after the start ends the page, not the run."""

    def __init__(self, run: Path, config: Config):
        """Goes on with the run's page. Raises InputError when there can be none: no account, no such project."""
        self.config = config
        try:
            self.page = wandb.init(
                project=config.tracking.project,
                id=page_id(run),
                resume="allow",
                dir=run,
                name=run.name,
                config=asdict(config) | {"commit": commit()},
            )
        except Exception as error:  # wandb's own errors and its service's have no common base
            reason = (str(error) or repr(error)).splitlines()[0]
            mend = "run `wandb login`, set WANDB_MODE=offline, or leave the setting out"
            raise InputError(f"tracking.project={config.tracking.project}: {reason}; {mend}") from error
        self.page.define_metric("step")  # as an axis: after a kill some steps are done, and told, again
        self.page.define_metric("*", step_metric="step")

    def attempt(self, tell: Callable[[], object]) -> None:
        """Tells, unless that failed once."""
        if self.page is None:
            return
        try:
            tell()
        except Exception as error:  # a network or a service that went away
            print(f"Weights & Biases fails ({error!r}): the run goes on without it", flush=True)
            self.page = None

    def row(self, row: dict[str, float]) -> None:
        self.attempt(lambda: self.page.log(row))

    def say(self, line: str) -> None:
        """wandb keeps the screen by itself."""

    def samples(self, step: int, paths: list[Path]) -> None:
        kinds = {".mp4": wandb.Video, ".png": wandb.Image}
        shown = [path for path in paths if path.suffix in kinds]
        named = {f"sample/{sample_name(path)}": path for path in shown}
        self.attempt(lambda: self.page.log({k: kinds[p.suffix](str(p)) for k, p in named.items()} | {"step": step}))

    def checkpoint(self, step: int, folder: Path) -> None:
        """The last one, and those that `artifact_steps` asks for."""
        every = self.config.tracking.artifact_steps
        if step == self.config.steps or (every and step % every == 0):
            self.attempt(lambda: self.page.log_artifact(artifact(f"checkpoint-{self.page.id}", folder, step)))

    def close(self, exit_code: int) -> None:
        self.attempt(lambda: self.page.finish(exit_code))


def sample_name(path: Path) -> str:
    """step_00000010_anna.mp4 -> anna, step_00000010.png -> png: the same at every step."""
    return path.stem.removeprefix("step_")[9:] or path.suffix[1:]


def artifact(name: str, folder: Path, step: int) -> wandb.Artifact:
    made = wandb.Artifact(name, "checkpoint", metadata={"step": step})
    made.add_dir(str(folder))
    return made


def page_id(run: Path) -> str:
    """The run's own, the same after a kill; kept in its folder."""
    path = run / "wandb_id"
    if not path.exists():
        part = run / "wandb_id.part"
        part.write_text(secrets.token_hex(4))
        part.replace(path)
    return path.read_text()


def commit() -> str | None:
    """The commit of this code, with "-dirty" where it was changed since; None when it is no checkout of its own."""
    root = Path(__file__).parents[2]

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        own = Path(git("rev-parse", "--show-toplevel")).resolve() == root.resolve()
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if own else None
    except (OSError, subprocess.CalledProcessError):
        return None


class Listener(Protocol):
    """Journal or Board (emo.training.logging)."""

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
        # wandb takes seconds to import

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
