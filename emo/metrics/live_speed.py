"""Measure live sessions: from the push of a sample to the frame that shows it, frames a second, memory."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from emo.pipelines.emo import EMOPipeline
    from emo.pipelines.live import LiveSession

CHUNK_SECONDS = 0.02  # of sound that the microphone gives at a time
WARM_UP_SECONDS = 2.0  # that are left out of the latencies


@dataclass(frozen=True)
class LiveMeasurement:
    """What was measured with some sessions at a time.

    Attributes:
        sessions: Number of sessions.
        seconds: How long they ran.
        frames_per_second: Frames made by the model per second and session, the slowest session's.
        repeated_ratio: Share of frames that repeated the one before because the model was late.
        first_frame_seconds: From opening a session to its first frame, the median of the sessions.
        latency_median: Seconds from the push of the sample at a frame's center to the frame, the median.
        latency_p95: Its 95th percentile.
        latency_worst: Its maximum.
        latency_floor: What block and look-ahead alone make, for a block's first frame.
        memory_growth_mb: Growth of the process's memory in the last three quarters, 10^6 bytes; NaN where unknown.
    """

    sessions: int
    seconds: float
    frames_per_second: float
    repeated_ratio: float
    first_frame_seconds: float
    latency_median: float
    latency_p95: float
    latency_worst: float
    latency_floor: float
    memory_growth_mb: float

    def __str__(self) -> str:
        return (
            f"{self.sessions} session{'s' * (self.sessions > 1)}, {self.seconds:g} s: "
            f"{self.frames_per_second:.1f} frames/s, {self.repeated_ratio:.1%} repeated; latency median "
            f"{1000 * self.latency_median:.0f} ms, p95 {1000 * self.latency_p95:.0f}, worst "
            f"{1000 * self.latency_worst:.0f} (floor {1000 * self.latency_floor:.0f}); first frame after "
            f"{self.first_frame_seconds:.2f} s; memory {self.memory_growth_mb:+.0f} MB"
        )


@dataclass(frozen=True)
class _Run:
    """One session's record."""

    first_frame_seconds: float
    latencies: list[float]
    made: int
    repeated: int
    floor: float


def measure_sessions(
    pipeline: "EMOPipeline", image: np.ndarray, wave: np.ndarray, seconds: float, sessions: int, **options: Any
) -> LiveMeasurement:
    """Run sessions side by side in real time.

    Args:
        pipeline: The pipeline.
        image: (H W 3) uint8, a picture with a face.
        wave: (S,) float32 at the pipeline's sample rate; repeated as long as it takes.
        seconds: How long.
        sessions: How many at a time.
        options: Of `pipe.live`.

    Returns:
        The measurement.
    """
    memory: list[float] = []
    with ThreadPoolExecutor(sessions) as pool:
        runs = [pool.submit(_run_session, pipeline, image, wave, seconds, options) for _ in range(sessions)]
        for part in (0.25, 0.75):
            time.sleep(part * seconds)
            memory.append(_memory_mb())
        done = [run.result() for run in runs]
    latencies = np.array([latency for run in done for latency in run.latencies] or [np.nan])
    return LiveMeasurement(
        sessions=sessions,
        seconds=seconds,
        frames_per_second=min(run.made for run in done) / seconds,
        repeated_ratio=sum(run.repeated for run in done) / max(1, sum(run.made + run.repeated for run in done)),
        first_frame_seconds=float(np.median([run.first_frame_seconds for run in done])),
        latency_median=float(np.median(latencies)),
        latency_p95=float(np.percentile(latencies, 95)),
        latency_worst=float(latencies.max()),
        latency_floor=done[0].floor,
        memory_growth_mb=memory[1] - memory[0],
    )


def _run_session(
    pipeline: "EMOPipeline", image: np.ndarray, wave: np.ndarray, seconds: float, options: Mapping[str, Any]
) -> _Run:
    began = time.monotonic()
    session = pipeline.live(image, **options)
    ended, latencies, made, repeated, first = threading.Event(), [], 0, 0, 0.0
    microphone = threading.Thread(target=_push_sound, args=(session, wave, ended), daemon=True)
    for frame in session.frames():
        now = time.monotonic()
        if not made:
            first, start = now - began, now
            microphone.start()
        made, repeated = made + (not frame.is_repeated), repeated + frame.is_repeated
        if frame.latency_seconds is not None and now - start >= min(WARM_UP_SECONDS, seconds / 4):
            latencies.append(frame.latency_seconds)
        if now - start >= seconds:
            session.close()
    ended.set()
    microphone.join()
    return _Run(first, latencies, made, repeated, session.latency_floor_seconds)


def _push_sound(session: "LiveSession", wave: np.ndarray, ended: threading.Event) -> None:
    """Push the wave in real time, as a microphone does."""
    count, began, pushed = round(CHUNK_SECONDS * session.sample_rate), time.monotonic(), 0
    while not ended.wait(max(0.0, began + (pushed + 1) * CHUNK_SECONDS - time.monotonic())):
        chunk = np.take(wave, np.arange(pushed * count, (pushed + 1) * count), mode="wrap")
        try:
            session.push(chunk)
        except ValueError:  # it was closed meanwhile
            return
        pushed += 1


def _memory_mb() -> float:
    """Memory of this process in 10^6 bytes; NaN where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return float("nan")
    return pages * 4096 / 1e6
