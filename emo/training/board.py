"""A run on a page of Weights & Biases; with WANDB_MODE=offline it stays in the run's folder until `wandb sync`."""

import secrets
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import wandb

from emo.config import Config
from emo.errors import InputError


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
