"""emo-infer against its limits on this machine: seconds per frame, start-up, peak memory, and memory over length.

    python benchmarks/speed.py [--seconds 10 600] [--model MODEL]

Each length runs in a process of its own, on the sample portrait and the sample song repeated. Limits are those of
two CPU cores at 256 pixels: 0.30 s per frame, 15 s of start-up, 2.5 GB, and no more than 10 % more for a long song.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "datasets" / "samples"
LIMITS = {"s_per_frame": 0.30, "start_up_s": 15.0, "peak_gb": 2.5}


def repeat_song(path: Path, seconds: float) -> None:
    """The sample song, again and again until it lasts so long."""
    with wave.open(str(SAMPLES / "song.wav")) as song, wave.open(str(path), "wb") as out:
        out.setparams(song.getparams())
        once, total = song.readframes(song.getnframes()), int(seconds * song.getframerate())
        width = song.getsampwidth() * song.getnchannels()
        while total > 0:
            count = min(total, song.getnframes())
            out.writeframes(once[: count * width])
            total -= count


def measure(folder: Path, seconds: float, model: str) -> dict[str, float]:
    """One run: what it took."""
    sound = folder / f"song_{seconds:g}.wav"
    repeat_song(sound, seconds)
    command = [sys.executable, "-m", "emo.cli.infer", SAMPLES / "portrait.png", sound, "--model", model]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, command), "-o", str(folder / "out.mp4"), "--overwrite"], stdout=subprocess.PIPE, text=True
    )
    line = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"emo-infer ended with status {os.waitstatus_to_exitcode(status)}")
    frames, per_frame = re.search(r"(\d+) frames, ([\d.]+) s per frame", line).groups()
    start = wall - int(frames) * float(per_frame)
    return {"s_per_frame": float(per_frame), "start_up_s": start, "peak_gb": usage.ru_maxrss / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 600.0])
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in args.seconds:
            found = measure(Path(folder), seconds, args.model)
            peaks.append(found["peak_gb"])
            parts = [f"{name} {value:.3f} ({value / LIMITS[name]:.2f} of the limit)" for name, value in found.items()]
            print(f"{seconds:g} s of sound: " + ", ".join(parts), flush=True)
    print(f"peak memory of the longest over the first: {peaks[-1] / peaks[0]:.3f} (limit 1.10)")


if __name__ == "__main__":
    main()
