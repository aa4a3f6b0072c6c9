"""One trainer for every task and stage: run the same command again and it goes on where it stopped.

A run's folder holds config.yaml, log.jsonl, checkpoints/, samples/ and, at the end, model/ (`save_pretrained`).
"""

import json
import math
import time
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
from emo.training.guard import Guard
from emo.training.state import resume_state, save_state
from emo.training.stop import told_to_stop
from emo.training.task import Task, make_task


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


def randomness(config: Config, step: int, rank: int, device: torch.device) -> torch.Generator:
    """All chance of one step's loss on one process; its samples have their own."""
    rng = np.random.default_rng([config.seed, step, rank])
    return torch.Generator(device).manual_seed(int(rng.integers(2**62)))


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
    claim(run, config)

    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    model, optimizer = accelerator.prepare(task.model, optimizer)
    ema = EMAModel(task.model.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)
    first = resume_state(accelerator, run)
    if accelerator.is_main_process:
        rewind_log(run, first)

    guard = Guard(config.max_skipped_steps, accelerator.print)
    losses, skipped, since = [], 0, time.perf_counter()
    with told_to_stop() as told:
        for step in range(first, config.steps):
            rank, processes = accelerator.process_index, accelerator.num_processes
            generator = randomness(config, step, rank, accelerator.device)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            model.train()
            batch = task.batch(numbers_of(step, config.batch_size, rank, processes), accelerator.device)
            with accelerator.autocast():
                loss = task.loss(model, batch, generator)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(parameters, config.clip_norm).item()
            mean_loss, stop = over_processes(accelerator, loss, told.is_set())
            done = step + 1
            if guard.passes(done, loss.item(), mean_loss, norm, getattr(batch, "names", [])):
                optimizer.step()
                ema.step(task.model.parameters())
                losses.append(mean_loss)
            else:
                skipped += 1
            optimizer.zero_grad()

            if accelerator.is_main_process and done % config.log_steps == 0:
                row = {"step": done} | ({"loss": float(np.mean(losses))} if losses else {})
                seconds = (time.perf_counter() - since) / (len(losses) + skipped)
                log(run, **row, lr=learning_rate(config, step), skipped=skipped, seconds_per_step=seconds)
                losses, skipped, since = [], 0, time.perf_counter()
            if accelerator.is_main_process and done % config.sample_steps == 0 and not stop:
                look(task, ema, run / "samples" / f"step_{done:08d}")
            if done % config.checkpoint_steps == 0 or done == config.steps or stop:
                save_state(accelerator, run, done)
            if stop and done < config.steps:
                return None

    if accelerator.is_main_process:
        with averaged(ema, task.model.eval()) as best:
            task.save(best, run / "model")
    accelerator.wait_for_everyone()
    return run / "model"


def over_processes(accelerator: Accelerator, loss: Tensor, told: bool) -> tuple[float, bool]:
    """The mean loss of all processes, and whether any was told to stop."""
    both = torch.stack([loss.detach().float(), torch.tensor(float(told), device=loss.device)])
    mean_loss, share = accelerator.reduce(both, "mean").tolist()
    return mean_loss, share > 0


def look(task: Task, ema: EMAModel, path: Path) -> None:
    """A sample of the averaged model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with averaged(ema, task.model.eval()) as model, torch.no_grad():
        task.sample(model, path)


def claim(run: Path, config: Config) -> None:
    """Makes the run's folder, or checks that it is this run's: only its length and number of readers may differ."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / "config.yaml"
    if path.exists():
        before = load_config(path)
        before.steps, before.data.workers = config.steps, config.data.workers
        if before != config:
            raise InputError(f"{run} holds a run with other settings: give another `output=` or delete it")
    save_config(config, path)


def rewind_log(run: Path, step: int) -> None:
    """Takes back what was logged after this step: it is done again."""
    path = run / "log.jsonl"
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step))


def log(run: Path, **row: float) -> None:
    """One line of log.jsonl, also on the screen."""
    with (run / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print("  ".join(f"{k} {v:.6g}" for k, v in row.items()), flush=True)
