"""One trainer for every task and stage: run the same command again and it goes on where it stopped.

A run's folder holds config.yaml, log.jsonl, checkpoints/, samples/ and, at the end, model/ (`save_pretrained`); with
`tracking` also wandb_id and wandb/.
"""

import math
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from emo.config import Config, load_config, save_config
from emo.errors import InputError
from emo.training.generators import Generators
from emo.training.guard import Guard
from emo.training.monitor import monitored
from emo.training.state import resume_state, save_state
from emo.training.stop import told_to_stop
from emo.training.task import Task, make_task
from emo.training.whole import written


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


def numbers_of(step: int, batch_size: int, rank: int, processes: int) -> range:
    """Which of the run's samples one process has in a step. With other processes a run goes on where it stopped."""
    return range(step * batch_size + rank, (step + 1) * batch_size, processes)


@contextmanager
def averaged(ema: EMAModel, model: nn.Module):
    """The model with its averaged weights, for a look or for good."""
    ema.store(model.parameters())
    ema.copy_to(model.parameters())
    try:
        yield model
    finally:
        ema.restore(model.parameters())


def train(config: Config) -> Path | None:
    """Trains until `config.steps` and returns the folder of the averaged model; after SIGTERM it saves a checkpoint
    and returns None.

    Raises InputError when the run's folder belongs to other settings, a setting can't be, or loss or gradient stay no
    numbers.
    """
    if config.mixed_precision not in ("no", "bf16"):
        raise InputError(f"mixed_precision={config.mixed_precision}: choose no or bf16")
    run = Path(config.output)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision=config.mixed_precision,
        step_scheduler_with_optimizer=False,
    )
    if config.batch_size % accelerator.num_processes:
        shared = f"{accelerator.num_processes} processes share a step's batch"
        raise InputError(f"batch_size={config.batch_size}: {shared}, give a multiple of that")
    torch.manual_seed(config.seed)
    task = make_task(config)
    parameters = freeze(task.model, config.trainable)
    claim(run, config, accelerator.is_main_process)

    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    model, optimizer = accelerator.prepare(task.model, optimizer)
    ema = EMAModel(task.model.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)
    first = resume_state(accelerator, run)

    watch = monitored(run, config, first, accelerator.is_main_process, accelerator.device)
    with watch as monitor, told_to_stop() as told:
        guard = Guard(config.max_skipped_steps, monitor.say)
        saved, losses = first, []
        for step in range(first, config.steps):
            rank, processes = accelerator.process_index, accelerator.num_processes
            numbers = numbers_of(step, config.batch_size, rank, processes)
            generators = Generators(config.seed, numbers, accelerator.device)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            model.train()
            with monitor.waiting():
                batch = task.batch(numbers, accelerator.device)
            with accelerator.autocast():
                loss, parts = task.loss(model, batch, generators)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(parameters, config.clip_norm)
            mean_loss, stop = over_processes(accelerator, loss, told.is_set())
            done = step + 1
            passed = guard.passes(done, loss.item(), mean_loss.item(), norm.item(), getattr(batch, "names", []))
            if passed:
                optimizer.step()
                ema.step(task.model.parameters())
                losses.append(mean_loss.item())
            optimizer.zero_grad()
            monitor.step(passed, {"loss": mean_loss, "gradient_norm": norm} | parts)

            if done % config.log_steps == 0:
                decay = ema.get_decay(ema.optimization_step)
                monitor.report(done, lr=learning_rate(config, step), ema_decay=decay)
            if accelerator.is_main_process and done % config.sample_steps == 0 and not stop:
                monitor.samples(done, look(task, ema, run / "samples" / f"step_{done:08d}"))
            if done % config.checkpoint_steps == 0 or done == config.steps or stop:
                compared = losses and done - saved == config.checkpoint_steps  # few steps may be lucky
                mean = float(np.mean(losses)) if compared else None
                monitor.checkpoint(done, save_state(accelerator, run, done, mean, config.keep_checkpoints))
                saved, losses = done, []
            if stop and done < config.steps:
                return None

        if accelerator.is_main_process:
            with averaged(ema, task.model.eval()) as best, written(run / "model") as folder:
                task.save(best, folder)
        accelerator.wait_for_everyone()
    return run / "model"


def over_processes(accelerator: Accelerator, loss: Tensor, told: bool) -> tuple[Tensor, bool]:
    """The mean loss () of all processes, and whether any was told to stop."""
    both = torch.stack([loss.detach().float(), torch.tensor(float(told), device=loss.device)])
    mean_loss, share = accelerator.reduce(both, "mean")
    return mean_loss, share.item() > 0


def look(task: Task, ema: EMAModel, path: Path) -> list[Path]:
    """Samples of the averaged model; the files are `path` and what the task puts behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with averaged(ema, task.model.eval()) as model, torch.no_grad():
        task.sample(model, path)
    return sorted(path.parent.glob(f"{path.name}*"))


def claim(run: Path, config: Config, write: bool) -> None:
    """Makes the run's folder, or checks that it is this run's: only its length, its tracking and its number of readers
    may differ. One process writes."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / "config.yaml"
    if path.exists():
        before = load_config(path)
        before.steps, before.tracking, before.data.workers = config.steps, config.tracking, config.data.workers
        if before != config:
            raise InputError(f"{run} holds a run with other settings: give another `output=` or delete it")
    if write:
        save_config(config, path)
