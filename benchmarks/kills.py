"""Is a set of shards the same after kills as without? emo-prepare, killed at random points, against an unbroken run.

    python benchmarks/kills.py RAW [--kills 10] [--size 256] [--workers 1]

Prints after how many seconds each kill came, and how many files of the shards' folder differ (the bar: none).
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def start(raw: Path, out: Path, options: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "emo.cli.prepare", str(raw), str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def finish(raw: Path, out: Path, options: list[str]) -> float:
    """Runs to the end; the seconds it took."""
    began = time.perf_counter()
    if start(raw, out, options).wait():
        raise SystemExit("emo-prepare failed")
    return time.perf_counter() - began


def digests(folder: Path) -> dict[str, str]:
    """What counts of a run: its shards and their index."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".tar", ".parquet")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    options = ["--size", str(args.size), "--workers", str(args.workers), "--limits", "min_seconds=1"]
    options += ["--megabytes", "1"]
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        complete, killed = Path(folder) / "complete", Path(folder) / "killed"
        seconds = finish(args.raw, complete, options)
        print(f"unbroken: {seconds:.0f} s, {len(digests(complete))} files")
        for _ in range(args.kills):
            process, moment = start(args.raw, killed, options), moments.uniform(0, seconds / args.kills * 3)
            time.sleep(moment)
            ended = process.poll() is not None
            os.killpg(process.pid, signal.SIGKILL) if not ended else None
            process.wait()
            print(f"killed after {moment:.1f} s" + (", had ended" if ended else ""), flush=True)
        finish(args.raw, killed, options)
        one, other = digests(complete), digests(killed)
        wrong = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        print(f"{len(wrong)} of {len(one)} files differ {' '.join(wrong)}")


if __name__ == "__main__":
    main()
