"""What a run must remember to go on as if it had never stopped: model, EMA, optimizer and step.

A step's samples and noise come from (seed, step) alone, so there is no other state. A checkpoint is whole or not there.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.api import CheckpointException  # of sharded checkpoints; no Exception

from emo.core.errors import InputError, OutputError
from emo.core.files import cannot_write, is_of_disk, remove, remove_halves, settle


def checkpoints(run: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return sorted((run / "checkpoints").glob("step_????????"))


def save_state(accelerator: Accelerator, run: Path, step: int, loss: float | None, keep: int) -> Path:
    """Writes checkpoints/step_NNNNNNNN and returns it; keeps the last `keep` (0: all) and that of the least loss.

    loss: of validation, or the mean of the steps since the checkpoint before, kept in loss.json; None: not to be
    compared. Raises OutputError, on all processes, where one can't write: the checkpoints before are there, the half is
    not.
    """
    target = run / "checkpoints" / f"step_{step:08d}"
    partial = target.with_name(f"partial_{target.name}")

    def finish() -> None:
        if accelerator.is_main_process:
            (partial / "loss.json").write_text(json.dumps(loss))
            settle(partial, target)

    if accelerator.is_main_process:
        remove_halves(target.parent)
    accelerator.wait_for_everyone()  # or one process removes what another already writes
    try:
        together(accelerator, target, lambda: accelerator.save_state(str(partial)))
        together(accelerator, target, finish)
    except OutputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if accelerator.is_main_process:
        for old in superfluous(checkpoints(run), keep):
            remove(old)
    return target


def together(accelerator: Accelerator, target: Path, work: Callable[[], object]) -> None:
    """Does the work of this process; where the disk fails that of any, all raise OutputError."""
    error = None
    try:
        work()
    except (Exception, CheckpointException) as caught:
        if not is_of_disk(caught):
            raise
        error = caught
    failed = torch.tensor(float(error is not None), device=accelerator.device)
    if accelerator.reduce(failed, "sum") > 0:
        raise cannot_write(target, error or "another process could not write its part") from error


def superfluous(found: list[Path], keep: int) -> list[Path]:
    """All of the checkpoints, oldest first, but the last `keep` and the newest of those with the least loss."""
    best = min(reversed(found), key=loss_of)
    return [path for path in found[:-keep] if path != best]


def loss_of(checkpoint: Path) -> float:
    """Endless where it is not to be compared."""
    path = checkpoint / "loss.json"
    loss = json.loads(path.read_text()) if path.exists() else None
    return math.inf if loss is None else loss


def resume_state(accelerator: Accelerator, run: Path) -> int:
    """Loads the newest checkpoint of the run, if any, and returns the step it was written after (or 0).

    Raises InputError for one that can't be read.
    """
    found = checkpoints(run)
    if not found:
        return 0
    try:
        accelerator.load_state(str(found[-1]))
    except (Exception, CheckpointException) as error:  # a damaged file makes its reader raise anything
        reason = (str(error) or repr(error)).splitlines()[0]
        mend = "if it is damaged, delete it: the one before is taken then"
        raise InputError(f"{found[-1]} can't be loaded ({reason}); {mend}") from error
    accelerator.step = 0  # it counts micro-batches, of which there may be others now
    return int(found[-1].name.removeprefix("step_"))
