"""What a run must remember to go on as if it had never stopped: model, EMA, optimizer and step.

A step's samples and noise come from (seed, step) alone, so there is no other state. A checkpoint is written
to a temporary folder and renamed: there is never half of one.
"""

import os
import shutil
from pathlib import Path

from accelerate import Accelerator

KEEP = 2


def checkpoints(run: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return sorted((run / "checkpoints").glob("step_????????"))


def save_state(accelerator: Accelerator, run: Path, step: int) -> None:
    """Writes checkpoints/step_NNNNNNNN and keeps the last KEEP."""
    target = run / "checkpoints" / f"step_{step:08d}"
    partial = target.with_name(f"partial_{step:08d}")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()  # or one process removes what another already writes
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        for old in checkpoints(run)[:-KEEP]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def resume_state(accelerator: Accelerator, run: Path) -> int:
    """Loads the newest checkpoint of the run, if any, and returns the step it was written after (or 0)."""
    found = checkpoints(run)
    if not found:
        return 0
    accelerator.load_state(str(found[-1]))
    return int(found[-1].name.removeprefix("step_"))
