"""Keeps what is no number out of the weights: the step is skipped, and a run that goes on like that is stopped.

Keeps what is no number out of the weights: the step is skipped, and a run that goes on like that is stopped.

A polite kill is heeded when the step is done: SLURM sends SIGTERM when the time is up or another job goes first.

The loss on people never trained on: samples, timesteps and noise are the same at every step and in every run.

One trainer for every task and stage: run the same command again and it goes on where it stopped.

A run's folder holds config.yaml, log.jsonl, checkpoints/, samples/ and, at the end, model/ (`save_pretrained`); with
`tracking` also wandb_id and wandb/.
"""

import copy
import math
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from emo.core.config import Config, load_config, save_config
from emo.core.errors import InputError
from emo.core.files import written
from emo.models.lora import LORA_NAMES
from emo.training.checkpoint import resume_state, save_state
from emo.training.distributed import Generators, clip_gradient, make_accelerator, micro_batches, prepare
from emo.training.ema import Average
from emo.training.logging import Monitor, monitored
from emo.training.task import Task, make_task


class Guard:
    """Judges every step, alike on all processes: they see the same mean loss and gradient."""

    def __init__(self, limit: int, say: Callable[[str], None]):
        self.limit = limit  # steps skipped in a row
        self.skipped = 0  # in a row, up to now
        self.say = say  # to the user, once for all processes

    def passes(self, step: int, loss: float, mean_loss: float, norm: float, names: list[str]) -> bool:
        """Whether the step may change the weights. loss: of this process; mean_loss: of all; norm: of the mean
        gradient; names: of this process's clips. Raises InputError when that is the `limit`th step skipped in a row.
        """
        if math.isfinite(mean_loss) and math.isfinite(norm):
            self.skipped = 0
            return True
        self.skipped += 1
        suspects = gather_object([] if math.isfinite(loss) else names) or gather_object(names)
        clips = f"the clips {', '.join(sorted(set(suspects)))}" if suspects else "samples without names"
        if self.skipped == self.limit:
            raise InputError(
                f"loss or gradient was no number in {self.limit} steps in a row, at last in step {step} with {clips}: "
                "look at these, or lower learning_rate"
            )
        self.say(f"step {step} is skipped: loss {mean_loss:g}, gradient norm {norm:g}, {clips}")
        return False


@contextmanager
def told_to_stop() -> Iterator[Event]:
    """Within it SIGTERM does nothing but set the event."""
    told = Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


@torch.no_grad()
def validation_loss(task: Task, model: nn.Module, batches: list[Any], device: torch.device) -> float:
    """The mean over batches of one sample each, as `Task.held_out` gives them. model: in its `eval` mode."""
    chances = (Generators(0, range(number, number + 1), device) for number in range(len(batches)))
    losses = [task.loss(model, batch, chance)[0] for batch, chance in zip(batches, chances, strict=True)]
    return torch.stack(losses).mean().item()


# Settings that may change from one start of a run to the next
NOT_THE_RUN = "steps", "tracking", "gradient_accumulation_steps", "gradient_checkpointing", "compile", "ema_device"


def freeze(model: nn.Module, trainable: list[str]) -> list[nn.Parameter]:
    """Leaves gradients to the parameters whose names match a pattern, and returns them.

    Raises InputError for a pattern that matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in trainable:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"trainable: {pattern!r} matches no parameter; names look like {names[0]!r}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in trainable))
    return [p for p in model.parameters() if p.requires_grad]


def learning_rate(config: Config, step: int) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate` of the full rate."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * warm * (config.final_learning_rate + (1 - config.final_learning_rate) * cosine)


@contextmanager
def averaged(average: Average, shown: nn.Module | None, device: torch.device) -> Iterator[nn.Module | None]:
    """`shown`, the main process's own copy of the model, whole and on the device, with the averaged weights; to the
    other processes None. All must enter it."""
    weights = average.whole()
    if shown is None:
        yield None
        return
    shown.load_state_dict(shown.state_dict() | weights)
    yield shown.to(device).eval()
    shown.to("cpu")


def train(config: Config) -> Path | None:
    """Trains until `config.steps` and returns the folder of the averaged model; after SIGTERM it saves a checkpoint
    and returns None.

    Raises InputError when the run's folder belongs to other settings, a setting can't be, or loss or gradient stay no
    numbers.
    """
    run, accelerator = Path(config.output), make_accelerator(config)
    torch.manual_seed(config.seed)
    task = make_task(config)
    if config.batch_size > len(micro_batches(0, config, 0, accelerator.num_processes)[0]) and not task.splittable:
        raise InputError(f"task={config.task} draws its batch at once: one process, gradient_accumulation_steps=1")
    freeze(task.model, [LORA_NAMES] if config.lora.rank else config.trainable)
    claim(run, config, accelerator.is_main_process)

    shown = copy.deepcopy(task.model) if accelerator.is_main_process else None
    model, optimizer = prepare(accelerator, task.model, config)
    average = Average(task.model, config.ema_decay, config.ema_device)
    accelerator.register_for_checkpointing(average)
    first = resume_state(accelerator, run)
    held_out = task.held_out(config.validation_samples, accelerator.device) if accelerator.is_main_process else []

    watch = monitored(run, config, first, accelerator.is_main_process, accelerator.device)
    with watch as monitor, told_to_stop() as told:
        guard = Guard(config.max_skipped_steps, monitor.say)
        if config.precision == "bf16" and accelerator.mixed_precision == "no":
            monitor.say("this CPU has no bf16 of its own: precision=fp32 is used")
        saved, losses, validated = first, [], None
        if not held_out:
            monitor.say("there is no validation loss: the task has no clips of people held out (data.hold_out)")
        for step in range(first, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            model.train()
            loss, parts, names = add_gradients(accelerator, task, model, config, step, monitor)
            norm = clip_gradient(accelerator, task.model, config.clip_norm)
            mean_loss, stop = over_processes(accelerator, loss, told.is_set())
            done = step + 1
            passed = guard.passes(done, loss.item(), mean_loss.item(), norm.item(), names)
            if passed:
                optimizer.step()
                average.step()
                losses.append(mean_loss.item())
            optimizer.zero_grad()
            monitor.step(passed, {"loss": mean_loss, "gradient_norm": norm} | parts)

            if done % config.log_steps == 0:
                monitor.report(done, lr=learning_rate(config, step), ema_decay=average.decay)
            validates, shows = (done % n == 0 and not stop for n in (config.validation_steps, config.sample_steps))
            if validates or shows:
                with averaged(average, shown, accelerator.device) as best:
                    if held_out and validates:
                        with accelerator.autocast():
                            validated = validation_loss(task, best, held_out, accelerator.device)
                        monitor.measured(done, {"validation/loss": validated})
                    if accelerator.is_main_process and shows:
                        monitor.samples(done, look(task, best, run / "samples" / f"step_{done:08d}"))
            if done % config.checkpoint_steps == 0 or done == config.steps or stop:
                compared = losses and done - saved == config.checkpoint_steps  # few steps may be lucky
                mean = float(np.mean(losses)) if compared else None
                mean = validated if held_out else mean
                monitor.checkpoint(done, save_state(accelerator, run, done, mean, config.keep_checkpoints))
                saved, losses, validated = done, [], None
            if stop and done < config.steps:
                return None

        with averaged(average, shown, accelerator.device) as best:
            if accelerator.is_main_process:
                with written(run / "model") as folder:
                    task.save(best, folder)
        accelerator.wait_for_everyone()
    return run / "model"


def add_gradients(
    accelerator: Accelerator, task: Task, model: nn.Module, config: Config, step: int, monitor: Monitor
) -> tuple[Tensor, dict[str, Tensor], list[str]]:
    """Leaves the gradient of the step's mean loss, and returns of this process that loss (), what the task reports
    beside it, and the names of its clips."""
    losses, parts, names = [], defaultdict(list), []
    for numbers in micro_batches(step, config, accelerator.process_index, accelerator.num_processes):
        with monitor.waiting():
            batch = task.batch(numbers, accelerator.device)
        generators = Generators(config.seed, numbers, accelerator.device)
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss, told = task.loss(model, batch, generators)
            accelerator.backward(loss)
        losses.append(loss.detach().float())
        names += getattr(batch, "names", [])
        for name, values in told.items():
            parts[name].append(values.flatten())
    return torch.stack(losses).mean(), {name: torch.cat(values) for name, values in parts.items()}, names


def over_processes(accelerator: Accelerator, loss: Tensor, told: bool) -> tuple[Tensor, bool]:
    """The mean loss () of all processes, and whether any was told to stop."""
    both = torch.stack([loss.detach().float(), torch.tensor(float(told), device=loss.device)])
    mean_loss, share = accelerator.reduce(both, "mean")
    return mean_loss, share.item() > 0


@torch.no_grad()
def look(task: Task, model: nn.Module, path: Path) -> list[Path]:
    """Samples of the model; the files are `path` and what the task puts behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    task.sample(model, path)
    return sorted(path.parent.glob(f"{path.name}*"))


def claim(run: Path, config: Config, write: bool) -> None:
    """Makes the run's folder, or checks that it is this run's: but for its length, its tracking and what only spreads
    its work, the settings must be the same. One process writes."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / "config.yaml"
    if path.exists():
        before = load_config(path)
        before.data.workers = config.data.workers
        for name in NOT_THE_RUN:
            setattr(before, name, getattr(config, name))
        if before != config:
            raise InputError(f"{run} holds a run with other settings: give another `output=` or delete it")
    if write:
        save_config(config, path)
