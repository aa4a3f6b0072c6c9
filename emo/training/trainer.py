"""The training loop of all tasks; running the same command again resumes where it stopped.

A run's folder holds config.yaml, log.jsonl, checkpoints/, samples/ and, at the end, model/ (`save_pretrained`); with
`tracking` also wandb_id and wandb/.
"""

import copy
import math
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from emo.core.config import Config, flatten_settings, load_config, save_config
from emo.core.errors import InputError
from emo.core.files import atomic_folder
from emo.models.lora import LORA_PATTERN
from emo.training.checkpoint import load_latest_checkpoint, save_checkpoint
from emo.training.distributed import SampleGenerators, clip_gradients, make_accelerator, prepare_model, split_step
from emo.training.ema import ExponentialMovingAverage
from emo.training.logging import TrainingMonitor, open_monitor
from emo.training.task import Task, make_task

# Settings and sections that may change when a run is resumed: they don't change what it learns
MUTABLE_ON_RESUME = (
    "steps",
    "sample_steps",
    "tracking",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "compile",
    "ema_device",
    "data.workers",
)
MAX_DIFFERENCES = 8  # that an error lists


def train(config: Config) -> Path | None:
    """Train until `config.steps`.

    Returns:
        The folder of the saved model with averaged weights; None if SIGTERM stopped the run, after a checkpoint.

    Raises:
        InputError: The output folder holds a run with other settings, a setting is not possible, or loss or gradient
            stay non-finite.
    """
    run, accelerator = Path(config.output), make_accelerator(config)
    check_run_folder(run, config)
    torch.manual_seed(config.seed)
    task = make_task(config)
    if config.batch_size > len(split_step(0, config, 0, accelerator.num_processes)[0]) and not task.splittable_batch:
        raise InputError(f"task={config.task} can't split its batch: use one process, gradient_accumulation_steps=1")
    freeze_parameters(task.model, [LORA_PATTERN] if config.lora.rank else config.trainable)
    run.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        save_config(config, run / "config.yaml")

    eval_model = copy.deepcopy(task.model) if accelerator.is_main_process else None
    model, optimizer = prepare_model(accelerator, task.model, config)
    average = ExponentialMovingAverage(task.model, config.ema_decay, config.ema_device)
    accelerator.register_for_checkpointing(average)
    first_step = load_latest_checkpoint(accelerator, run)
    validation_batches = []
    if accelerator.is_main_process:
        validation_batches = task.make_validation_batches(config.validation_samples, accelerator.device)

    open_log = open_monitor(run, config, first_step, accelerator.is_main_process, accelerator.device)
    with open_log as monitor, catch_sigterm() as stop_requested:
        guard = NonFiniteGuard(config.max_skipped_steps, monitor.log_message)
        if config.precision == "bf16" and accelerator.mixed_precision == "no":
            monitor.log_message("this CPU has no bf16 instructions: precision=fp32 is used")
        if not validation_batches:
            monitor.log_message("there is no validation loss: no clips of people in data.hold_out")
        last_saved, losses, validation_loss = first_step, [], None
        for step in range(first_step, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = compute_learning_rate(config, step)
            model.train()
            loss, metrics, clip_names = accumulate_gradients(accelerator, task, model, config, step, monitor)
            norm = clip_gradients(accelerator, task.model, config.max_gradient_norm)
            mean_loss, stop = reduce_over_processes(accelerator, loss, stop_requested.is_set())
            done = step + 1
            accepted = guard.accept_step(done, loss.item(), mean_loss.item(), norm.item(), clip_names)
            if accepted:
                optimizer.step()
                average.update()
                losses.append(mean_loss.item())
            optimizer.zero_grad()
            monitor.add_step(accepted, {"loss": mean_loss, "gradient_norm": norm} | metrics)

            if done % config.log_steps == 0:
                monitor.log_means(done, lr=compute_learning_rate(config, step), ema_decay=average.decay)
            validates, samples = (done % n == 0 and not stop for n in (config.validation_steps, config.sample_steps))
            if validates or samples:
                with load_average(average, eval_model, accelerator.device) as averaged:
                    if validation_batches and validates:
                        with accelerator.autocast():
                            validation_loss = compute_validation_loss(
                                task, averaged, validation_batches, accelerator.device
                            )
                        monitor.log_values(done, {"validation/loss": validation_loss})
                    if accelerator.is_main_process and samples:
                        monitor.log_samples(done, save_samples(task, averaged, run / "samples" / f"step_{done:08d}"))
            if done % config.checkpoint_steps == 0 or done == config.steps or stop:
                comparable = losses and done - last_saved == config.checkpoint_steps  # a few steps may be lucky
                score = float(np.mean(losses)) if comparable else None
                score = validation_loss if validation_batches else score
                monitor.log_checkpoint(done, save_checkpoint(accelerator, run, done, score, config.keep_checkpoints))
                last_saved, losses, validation_loss = done, [], None
            if stop and done < config.steps:
                return None

        with load_average(average, eval_model, accelerator.device) as averaged:
            if accelerator.is_main_process:
                with atomic_folder(run / "model") as folder:
                    task.save_model(averaged, folder)
        accelerator.wait_for_everyone()
    return run / "model"


def freeze_parameters(model: nn.Module, trainable: list[str]) -> list[nn.Parameter]:
    """Freeze all parameters but those whose names match a pattern.

    Args:
        model: Its parameters' `requires_grad` is set.
        trainable: Patterns with * and ?, as in file names.

    Returns:
        The trainable parameters.

    Raises:
        InputError: A pattern matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in trainable:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"trainable: {pattern!r} matches no parameter; names look like {names[0]!r}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in trainable))
    return [p for p in model.parameters() if p.requires_grad]


def check_run_folder(run: Path, config: Config) -> None:
    """Check that a folder has no other run: only MUTABLE_ON_RESUME may differ.

    Args:
        run: Folder of the run.
        config: Settings of the run that is about to start.

    Raises:
        InputError: The folder holds a run with other settings; the message lists them.
    """
    path = run / "config.yaml"
    if not path.exists():
        return
    differences = list_differences(load_config(path), config)
    if differences:
        more = f", and {len(differences) - MAX_DIFFERENCES} more" if len(differences) > MAX_DIFFERENCES else ""
        changes = ", ".join(differences[:MAX_DIFFERENCES]) + more
        raise InputError(f"{run} holds a run with other settings ({changes}): give another `output=` or delete it")


def list_differences(before: Config, after: Config) -> list[str]:
    """List the settings that differ and must not.

    Args:
        before: Settings of the run in the folder.
        after: Settings of the run that is about to start.

    Returns:
        Each difference as "name: old -> new".
    """
    old, new = flatten_settings(asdict(before)), flatten_settings(asdict(after))
    mutable = tuple(f"{name}." for name in MUTABLE_ON_RESUME)
    names = [name for name in [*old, *(new.keys() - old.keys())] if not f"{name}.".startswith(mutable)]
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def compute_learning_rate(config: Config, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up, times a cosine down to `final_learning_rate_ratio`.

    Args:
        config: The run's settings.
        step: Number of the step, from 0.

    Returns:
        The learning rate.
    """
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    final = config.final_learning_rate_ratio
    return config.learning_rate * warmup * (final + (1 - final) * cosine)


def accumulate_gradients(
    accelerator: Accelerator, task: Task, model: nn.Module, config: Config, step: int, monitor: TrainingMonitor
) -> tuple[Tensor, dict[str, Tensor], list[str]]:
    """Compute the gradient of a step's mean loss over this process's micro-batches.

    Args:
        accelerator: The run's processes.
        task: Makes the batches and computes the loss.
        model: Its gradients are accumulated.
        config: The run's settings.
        step: Number of the step, from 0.
        monitor: Measures the time that data take.

    Returns:
        This process's mean loss (), values to log by name, and the names of its clips.
    """
    losses, metrics, clip_names = [], defaultdict(list), []
    for numbers in split_step(step, config, accelerator.process_index, accelerator.num_processes):
        with monitor.time_data():
            batch = task.make_batch(numbers, accelerator.device)
        generators = SampleGenerators(config.seed, numbers, accelerator.device)
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss, values = task.compute_loss(model, batch, generators)
            accelerator.backward(loss)
        losses.append(loss.detach().float())
        clip_names += getattr(batch, "names", [])
        for name, value in values.items():
            metrics[name].append(value.flatten())
    return torch.stack(losses).mean(), {name: torch.cat(values) for name, values in metrics.items()}, clip_names


def reduce_over_processes(accelerator: Accelerator, loss: Tensor, stop: bool) -> tuple[Tensor, bool]:
    """Average the loss of all processes, and find out whether any of them was asked to stop.

    Args:
        accelerator: The run's processes.
        loss: This process's loss ().
        stop: Whether this process was asked to stop.

    Returns:
        The mean loss (), and whether to stop.
    """
    both = torch.stack([loss.detach().float(), torch.tensor(float(stop), device=loss.device)])
    mean_loss, share = accelerator.reduce(both, "mean")
    return mean_loss, share.item() > 0


class NonFiniteGuard:
    """Skips steps with a non-finite loss or gradient, and stops a run that has too many of them in a row.

    All processes decide alike: they see the same mean loss and gradient norm.
    """

    def __init__(self, max_skipped: int, log_message: Callable[[str], None]):
        """Start with no skipped step.

        Args:
            max_skipped: Consecutive skipped steps that end the run.
            log_message: Called with a line of text for each skipped step.
        """
        self.max_skipped, self.log_message = max_skipped, log_message
        self.skipped = 0  # consecutive steps up to now

    def accept_step(self, step: int, loss: float, mean_loss: float, norm: float, clip_names: list[str]) -> bool:
        """Return whether the step may change the weights.

        Args:
            step: Its number, from 1.
            loss: Loss of this process.
            mean_loss: Mean loss of all processes.
            norm: Norm of the mean gradient.
            clip_names: This process's clips, for the message.

        Returns:
            False if the loss or the gradient is non-finite.

        Raises:
            InputError: `max_skipped` steps in a row are skipped.
        """
        if math.isfinite(mean_loss) and math.isfinite(norm):
            self.skipped = 0
            return True
        self.skipped += 1
        suspects = gather_object([] if math.isfinite(loss) else clip_names) or gather_object(clip_names)
        clips = f"the clips {', '.join(sorted(set(suspects)))}" if suspects else "samples without names"
        if self.skipped == self.max_skipped:
            raise InputError(
                f"loss or gradient was non-finite in {self.max_skipped} steps in a row, last in step {step} with "
                f"{clips}: check these, or lower learning_rate"
            )
        self.log_message(f"step {step} is skipped: loss {mean_loss:g}, gradient norm {norm:g}, {clips}")
        return False


@contextmanager
def catch_sigterm() -> Iterator[Event]:
    """Within it SIGTERM only sets the event: SLURM sends it when the time is over or another job goes first."""
    stop_requested = Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: stop_requested.set())
    try:
        yield stop_requested
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def load_average(
    average: ExponentialMovingAverage, eval_model: nn.Module | None, device: torch.device
) -> Iterator[nn.Module | None]:
    """Load the averaged weights into a copy of the model, on the device and ready for evaluation.

    All processes must enter it; eval_model is the main process's copy, None elsewhere, and so is what it yields.

    Args:
        average: The averaged weights; all processes must gather them.
        eval_model: The main process's copy; None on the other processes.
        device: Where the copy is while it is used.

    Yields:
        The copy; None on the other processes.
    """
    weights = average.gather()
    if eval_model is None:
        yield None
        return
    eval_model.load_state_dict(eval_model.state_dict() | weights)
    yield eval_model.to(device).eval()
    eval_model.to("cpu")


@torch.no_grad()
def compute_validation_loss(task: Task, model: nn.Module, batches: list[Any], device: torch.device) -> float:
    """Compute the mean loss over batches of one sample each, with the same timesteps and noise at every step and run.

    Args:
        task: Computes the loss.
        model: In evaluation mode.
        batches: As `Task.make_validation_batches` gives them.
        device: Where the model is.

    Returns:
        The mean loss.
    """
    generators = (SampleGenerators(0, range(number, number + 1), device) for number in range(len(batches)))
    losses = [task.compute_loss(model, batch, each)[0] for batch, each in zip(batches, generators, strict=True)]
    return torch.stack(losses).mean().item()


@torch.no_grad()
def save_samples(task: Task, model: nn.Module, path: Path) -> list[Path]:
    """Write samples of the model.

    Args:
        task: Writes them.
        model: In evaluation mode.
        path: Start of the files' names.

    Returns:
        The files: `path` plus the task's suffixes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    task.save_samples(model, path)
    return sorted(path.parent.glob(f"{path.name}*"))
