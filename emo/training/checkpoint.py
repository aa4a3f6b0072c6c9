"""Checkpoints: write them completely or not at all, keep the last and the best, resume from the newest.

A checkpoint holds model, averaged weights, optimizer and step. There is no other state: a step's samples and noise
follow from the run's seed and the step.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.api import CheckpointException  # of sharded checkpoints; not an Exception

from emo.core.errors import InputError, OutputError
from emo.core.files import checkpoint_write_error, is_disk_error, remove_folder, remove_partial_folders, replace_folder


def list_checkpoints(run: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step_????????"))


def save_checkpoint(accelerator: Accelerator, run: Path, step: int, loss: float | None, keep: int) -> Path:
    """Write checkpoints/step_NNNNNNNN and remove expired ones.

    Args:
        accelerator: Its `save_state` writes; all processes must call this function.
        run: The run's folder.
        step: Finished steps.
        loss: The validation loss, or the mean training loss since the last checkpoint, written to loss.json; None: this
            checkpoint can't be compared with others.
        keep: Number of checkpoints that stay besides the one with the lowest loss; 0: all.

    Returns:
        The checkpoint's folder.

    Raises:
        OutputError: A process can't write. It is raised on all processes; the previous checkpoints are untouched.
    """
    target = run / "checkpoints" / f"step_{step:08d}"
    partial = target.with_name(f"partial_{target.name}")

    def finish() -> None:
        if accelerator.is_main_process:
            (partial / "loss.json").write_text(json.dumps(loss))
            replace_folder(partial, target)

    if accelerator.is_main_process:
        remove_partial_folders(target.parent)
    accelerator.wait_for_everyone()  # or the main process would remove what another one already writes
    try:
        run_on_all_processes(accelerator, target, lambda: accelerator.save_state(str(partial)))
        run_on_all_processes(accelerator, target, finish)
    except OutputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if accelerator.is_main_process:
        for expired in select_expired_checkpoints(list_checkpoints(run), keep):
            remove_folder(expired)
    return target


def run_on_all_processes(accelerator: Accelerator, target: Path, work: Callable[[], object]) -> None:
    """Run this process's part of writing `target`; if the disk fails one process, all of them raise.

    Args:
        accelerator: The run's processes.
        target: File or folder that is written, for the message.
        work: Writes this process's part.

    Raises:
        OutputError: A process could not write its part.
    """
    error = None
    try:
        work()
    except (Exception, CheckpointException) as caught:
        if not is_disk_error(caught):
            raise
        error = caught
    failed = torch.tensor(float(error is not None), device=accelerator.device)
    if torch.as_tensor(accelerator.reduce(failed, "sum")).item() > 0:
        raise checkpoint_write_error(target, error or "another process could not write its part") from error


def select_expired_checkpoints(found: list[Path], keep: int) -> list[Path]:
    """Select the checkpoints to remove: all but the last `keep` and the newest with the lowest loss.

    Args:
        found: Folders of the checkpoints, oldest first.
        keep: Number of checkpoints that stay; 0 keeps all.

    Returns:
        Folders to remove.
    """
    best = min(reversed(found), key=read_checkpoint_loss)
    return [path for path in found[:-keep] if path != best]


def read_checkpoint_loss(checkpoint: Path) -> float:
    """Read the loss of a checkpoint; infinity if it can't be compared."""
    path = checkpoint / "loss.json"
    loss = json.loads(path.read_text()) if path.exists() else None
    return math.inf if loss is None else loss


def load_latest_checkpoint(accelerator: Accelerator, run: Path) -> int:
    """Restore the newest checkpoint of a run, if it has any.

    Args:
        accelerator: Holds the model, the optimizer and the random states that are restored.
        run: Folder of the run.

    Returns:
        The number of finished steps, 0 without a checkpoint.

    Raises:
        InputError: The checkpoint can't be loaded.
    """
    found = list_checkpoints(run)
    if not found:
        return 0
    try:
        accelerator.load_state(str(found[-1]))
    except (Exception, CheckpointException) as error:  # readers of a damaged file raise any exception
        reason = (str(error) or repr(error)).splitlines()[0]
        fix = "if it is damaged, delete it: the run then resumes from the one before"
        raise InputError(f"{found[-1]} can't be loaded ({reason}); {fix}") from error
    accelerator.step = 0  # it counts micro-batches, of which there may be another number now
    return int(found[-1].name.removeprefix("step_"))
