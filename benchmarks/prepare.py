"""Measure how fast footage is prepared: by step, with more cores, and how memory grows with the length of a file.

    python benchmarks/prepare.py RAW [--size 512] [--workers 1 2] [--minutes 1 10]

Hours of video per core-hour by step, over all videos of RAW; hours that 250 h would take on one machine of 16 cores and
on ten; the wall time of `emo-prepare videos` with each number of workers, on as many cores, as a ratio to the first;
the peak memory for one video repeated to each length.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch

from emo.core.errors import InputError
from emo.core.storage import local_copy
from emo.core.timing import FPS
from emo.data.clip import ClipInfo
from emo.face.detector import FaceDetector
from emo.face.refinement import LandmarkRefiner
from emo.media.video import read_video
from emo.media.video_pass import WHOLE_VIDEO, VideoObserver, VideoPass
from emo.preparation.clip_maker import ShotTracker
from emo.preparation.clips import PreparationJob
from emo.preparation.filters import ClipLimits
from emo.preparation.runner import prepare_video
from emo.preparation.sources import Recipe, list_sources

LIMITS = ClipLimits(
    min_seconds=1.0, min_lip_sync_confidence=-1.0, max_lip_sync_offset_frames=15, max_rotation_degrees=90.0
)
PAUSE_SECONDS = 0.2  # between repetitions: time stamps may begin below 0


@contextmanager
def timed(spent: dict[str, float], step: str) -> Iterator[None]:
    began = time.process_time()
    yield
    spent[step] = spent.get(step, 0.0) + time.process_time() - began


class TrackingOnly(VideoObserver):
    """Tracks the faces of each shot and forgets them."""

    def __init__(self):
        self.networks = FaceDetector(), LandmarkRefiner()

    def start_shot(self, first_frame: int) -> None:
        self.tracker = ShotTracker(first_frame, *self.networks)

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        self.tracker.step(frame)


def measure_steps(raw: Path, size: int) -> None:
    """Print hours of video per core-hour; each step includes the steps before it."""
    torch.set_num_threads(1)
    spent, frames = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        job = PreparationJob(Path(folder), None, size, LIMITS)
        for source in list_sources(raw, Recipe()):
            with local_copy(source.url) as path:
                try:
                    with timed(spent, "decoding"):
                        frames += sum(1 for _ in read_video(path, FPS))
                    with timed(spent, "decoding, finding shots"):
                        VideoPass(path, FPS).run()
                    with timed(spent, "decoding, finding shots, tracking faces"):
                        VideoPass(path, FPS).run(TrackingOnly())
                    with timed(spent, "all, with checking, cropping and encoding"):
                        prepare_video(path, WHOLE_VIDEO, ClipInfo(source.info.name, "", "", "", 0), job)
                except InputError as error:
                    print(f"left out: {error}")
    hours = frames / FPS / 3600
    for step, seconds in spent.items():
        print(f"{step}: {hours / (seconds / 3600):.2f} hours of video per core-hour")
    per_hour = spent["all, with checking, cropping and encoding"] / 3600 / hours
    wall = 250 * per_hour / 16
    print(f"250 h on 16 cores: {wall:.1f} h, on ten such machines: {wall / 10:.1f} h")


def run(raw: Path, out: Path, size: int, workers: int) -> tuple[float, float]:
    """Wall seconds and peak GB of emo-prepare, on as many cores as workers."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    command = [sys.executable, "-m", "emo.cli.prepare", "videos", raw, out, "--size", size, "--workers", workers]
    limits = [
        "--limits",
        "min_seconds=1",
        "min_lip_sync_confidence=-1",
        "max_lip_sync_offset_frames=15",
        "max_rotation_degrees=90",
    ]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, command), *limits], stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("emo-prepare failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


def repeat(video: Path, out: Path, minutes: float) -> None:
    """The video again and again, its packets copied."""
    with av.open(str(out), "w") as to:
        streams, shift = None, 0.0
        while shift < minutes * 60:
            with av.open(str(video)) as source:
                if streams is None:
                    streams = {s.index: to.add_stream_from_template(s) for s in source.streams}
                for packet in source.demux():
                    if packet.dts is not None:
                        ticks = round(shift / packet.time_base)
                        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                        packet.stream = streams[packet.stream.index]
                        to.mux(packet)
                shift += source.duration / av.time_base + PAUSE_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 10])
    args = parser.parse_args()
    measure_steps(args.raw, args.size)
    with tempfile.TemporaryDirectory() as folder:
        walls = [run(args.raw, Path(folder) / str(workers), args.size, workers)[0] for workers in args.workers]
        for workers, wall in zip(args.workers, walls, strict=True):
            print(f"{workers} workers: {wall:.0f} s, {walls[0] / wall:.2f} times as fast as the first")
        for minutes in args.minutes:
            raw = Path(folder) / f"raw{minutes:g}"
            raw.mkdir()
            with local_copy(list_sources(args.raw, Recipe())[0].url) as video:
                repeat(video, raw / "long.mp4", minutes)
            wall, peak = run(raw, Path(folder) / f"clips{minutes:g}", args.size, 1)
            print(f"{minutes:g} min: {peak:.3f} GB, {wall:.0f} s", flush=True)


if __name__ == "__main__":
    main()
