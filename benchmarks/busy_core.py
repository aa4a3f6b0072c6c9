"""How much slower mini runs beside a program that keeps one core busy, with and without passive waiting.

    python benchmarks/busy_core.py [--seconds 2] [--repeat 2]

Each run is a process of its own that animates the sample portrait for so many seconds of sound. Prints the seconds per
frame alone and beside a busy loop, and their ratio, for OpenMP's own waiting (threads spin) and for what the commands
set (threads sleep).
"""

import argparse
import os
import subprocess
import sys
import time

from emo.core.parallel import PASSIVE

RUN = """
import time
from emo.core.parallel import set_passive_waiting
{set_waiting}
import numpy as np, torch
from emo.hub.resolve import load_pipeline
from emo.synthetic.sample_portrait import paint_portrait
pipeline = load_pipeline("mini")
wave = (0.1 * np.sin(np.arange(round({seconds} * 16000)) / 9)).astype(np.float32)
frames = pipeline.stream(paint_portrait(), wave, generator=torch.Generator().manual_seed(0))
next(frames)
began = time.perf_counter()
count = sum(1 for _ in frames)
print((time.perf_counter() - began) / count)
"""


def seconds_per_frame(passive: bool, busy: bool, seconds: float) -> float:
    """One run in a process of its own, beside a busy loop where `busy`."""
    environment = {name: value for name, value in os.environ.items() if name not in {*PASSIVE, "OMP_NUM_THREADS"}}
    program = RUN.format(set_waiting="set_passive_waiting()" if passive else "", seconds=seconds)
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    finally:
        if loop is not None:
            loop.kill()
            loop.wait()
    return float(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of sound for each run (default 2)")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each kind; the fastest counts (default 2)")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores; {time.strftime('%Y-%m-%d %H:%M')}")
    for passive in (False, True):
        alone, beside = (
            min(seconds_per_frame(passive, busy, args.seconds) for _ in range(args.repeat)) for busy in (False, True)
        )
        name = "threads sleep while they wait (as commands)" if passive else "threads spin (OpenMP's own)"
        print(f"{name}: alone {alone:.3f} s a frame, beside a busy core {beside:.3f}: {beside / alone:.1f} times")


if __name__ == "__main__":
    main()
