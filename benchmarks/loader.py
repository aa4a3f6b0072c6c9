"""How fast samples are read from shards, and how long a training step waits for them.

    python benchmarks/loader.py CONFIG [SETTING=VALUE ...] [--workers 1 2 4] [--steps 20]

CONFIG is a run on data.shards, as for emo-train. First the reading alone, in one process of one thread: frames that a
model learns from, and all that are read for them, per second of a core. Then training with each number of workers: the
share of a step that is spent waiting for samples, and that spent encoding them.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import torch
from accelerate import Accelerator

from emo.core.config import Config, load_config
from emo.core.errors import InputError
from emo.training.distributed import SampleGenerators, make_accelerator
from emo.training.task import Task, make_task
from emo.training.trainer import freeze_parameters


def read_alone(config: Config, steps: int) -> None:
    """Prints frames per core-second."""
    task = make_task(replace(config, data=replace(config.data, workers=0)))
    torch.set_num_threads(1)
    task.samples.stream.take(range(1))  # opens the shards
    began, wall, used, read, count = time.process_time(), time.perf_counter(), 0, 0, 0
    for sample in task.samples.stream.take(range(1, 1 + steps * config.batch_size)):
        used, read, count = used + config.data.num_frames, read + len(sample.frames), count + 1
    spent, wall = time.process_time() - began, time.perf_counter() - wall
    print(
        f"one core: {count / spent:.1f} samples, {used / spent:.1f} frames to learn from, {read / spent:.1f} frames "
        f"with motion frames and portraits per second of a core, of which it had {min(1.0, spent / wall):.0%}",
        flush=True,
    )


def timed(spent: dict[str, float], what: str, work: Callable) -> Callable:
    """`work`, its seconds added up, the device's included."""

    def call(*args):
        began = time.perf_counter()
        result = work(*args)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent[what] += time.perf_counter() - began
        return result

    return call


def train(config: Config, accelerator: Accelerator, workers: int, steps: int) -> None:
    """Prints the shares of a step; the first one starts the workers and is not counted."""
    task = make_task(replace(config, data=replace(config.data, workers=workers)))
    parameters = freeze_parameters(task.model, config.trainable)
    model, optimizer = accelerator.prepare(task.model, torch.optim.AdamW(parameters, lr=config.learning_rate))
    spent = defaultdict(float)
    task.samples.stream.take = timed(spent, "waiting", task.samples.stream.take)
    batch = timed(spent, "batch", task.make_batch)
    for step in range(steps + 1):
        if step == 1:
            spent.clear()
            began = time.perf_counter()
        one_step(config, task, accelerator, model, optimizer, batch, step)
    seconds = time.perf_counter() - began
    encoding = spent["batch"] - spent["waiting"]
    print(
        f"{workers} workers: {seconds / steps:.3f} s a step, {spent['waiting'] / seconds:.1%} waiting, "
        f"{encoding / seconds:.1%} encoding, {steps * config.batch_size / seconds:.1f} samples/s",
        flush=True,
    )


def one_step(config: Config, task: Task, accelerator: Accelerator, model, optimizer, batch: Callable, step: int):
    device = accelerator.device
    numbers = range(step * config.batch_size, (step + 1) * config.batch_size)
    given = batch(numbers, device)
    with accelerator.autocast():
        loss, _ = task.compute_loss(model, given, SampleGenerators(config.seed, numbers, device))
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    loss.item()  # waits for the device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    config = load_config(args.config, args.overrides)
    if not config.data.shards:
        raise SystemExit("data.shards: name a folder of shards, such as data.shards=[shards]")
    accelerator = make_accelerator(config)
    try:
        read_alone(config, args.steps)
        for workers in args.workers:
            train(config, accelerator, workers, args.steps)
    except InputError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
