"""The worker of the server: makes the videos of the queue one after another, in a thread of its own.

The model is loaded once and shared with the live sessions. While a session runs, a job waits between two frames, so
that the session keeps its frame rate.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from emo.app.jobs import INTERRUPTED_MESSAGE, Job, JobStore
from emo.app.settings import ServerSettings
from emo.core.errors import InputError

if TYPE_CHECKING:
    from emo.app.monitoring import Monitor
    from emo.generation import GenerationResult
    from emo.pipelines.emo import EMOPipeline

SWEEP_SECONDS = 60.0
PREVIEW_PIXELS = 512
logger = logging.getLogger(__name__)


class CancelledError(Exception):
    """The job is no longer wanted."""


@dataclass
class Progress:
    """How far the running job is.

    Attributes:
        job_id: The job.
        done: Frames that are written.
        total: Frames of the video.
        started: `time.monotonic()` at the first frame's begin; None while the model and the face are prepared.
        frame: (H W 3) uint8, the last frame.
    """

    job_id: str
    done: int = 0
    total: int = 0
    started: float | None = None
    frame: np.ndarray | None = None

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the frames so far; None before the first."""
        if self.started is None or not self.done:
            return None
        return (time.monotonic() - self.started) / self.done * (self.total - self.done)


class ModelHolder:
    """Loads the model once, on first use.

    Args:
        load: Function that loads the pipeline.
    """

    def __init__(self, load: "Callable[[], EMOPipeline]"):
        self._load, self._lock = load, threading.Lock()
        self._pipeline: EMOPipeline | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded."""
        return self._pipeline is not None

    def get(self) -> "EMOPipeline":
        """Return the pipeline. Raises InputError where it can't be loaded."""
        with self._lock:
            if self._pipeline is None:
                self._pipeline = self._load()
            return self._pipeline


class JobRunner:
    """Runs the jobs of a store.

    Args:
        store: The jobs.
        model: The model.
        settings: Settings of the server.
        monitor: Counts jobs and frames.
        is_busy: Whether live sessions run, which come first.
        generate: `emo.generation.generate`.
    """

    def __init__(
        self,
        store: JobStore,
        model: ModelHolder,
        settings: ServerSettings,
        monitor: "Monitor",
        is_busy: Callable[[], bool],
        generate: "Callable[..., GenerationResult]",
    ):
        self.store, self.model, self.settings, self.monitor, self.is_busy = store, model, settings, monitor, is_busy
        self._generate = generate
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._progress: Progress | None = None
        self._cancelled: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="emo-jobs", daemon=True)

    def start(self) -> None:
        """Settle what an earlier server left, and start the thread."""
        self.store.recover()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a running job counts as broken off, queued ones run after the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=30)

    def notify(self) -> None:
        """Say that a job was queued."""
        self._wake.set()

    def progress(self, job_id: str) -> Progress | None:
        """Return how far a job is; None where it is not the one that runs."""
        progress = self._progress
        return progress if progress is not None and progress.job_id == job_id else None

    def preview(self, job_id: str) -> bytes | None:
        """Return the last frame of a running job as JPEG; None where there is none."""
        progress = self.progress(job_id)
        if progress is None or progress.frame is None:
            return None
        frame = progress.frame
        scale = PREVIEW_PIXELS / max(frame.shape[:2])
        if scale < 1:
            frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes()

    def cancel(self, job: Job) -> None:
        """Stop a job and forget it, with its files."""
        self._cancelled.add(job.id)
        if self.progress(job.id) is None:
            self._forget(job.id)

    def _forget(self, job_id: str) -> None:
        self.store.delete(job_id)
        self._cancelled.discard(job_id)

    def _run(self) -> None:
        try:
            self.model.get()
        except Exception as error:  # the first job says it to its user
            logger.warning("the model can't be loaded: %s", error)
        swept = -SWEEP_SECONDS
        while not self._stopping.is_set():
            self._wake.clear()
            if time.monotonic() - swept >= SWEEP_SECONDS:
                self.store.sweep(self.settings.keep_hours)
                swept = time.monotonic()
            job = self.store.claim()
            if job is None:
                self._wake.wait(SWEEP_SECONDS)
                continue
            self._make(job)

    def _make(self, job: Job) -> None:
        """Make one video; whatever happens becomes the job's status."""
        self._progress = progress = Progress(job.id)
        folder, began = self.store.folder(job.id), time.monotonic()

        def on_frame(done: int, total: int) -> None:
            while not self._stopping.is_set() and job.id not in self._cancelled and self.is_busy():
                time.sleep(0.05)
            if self._stopping.is_set() or job.id in self._cancelled:
                raise CancelledError
            progress.done, progress.total = done, total
            progress.started = progress.started or time.monotonic()
            if done:
                self.monitor.frames.labels("jobs").inc()

        def keep_preview(index: int, frame: np.ndarray) -> np.ndarray:
            progress.frame = frame
            return frame

        try:
            result = self._generate(
                folder / "portrait.png",
                folder / "sound.wav",
                self.store.video(job.id),
                pipeline=self.model.get,
                on_frame=on_frame,
                compose=keep_preview,
                on_warning=lambda text: None,
                **job.options,
            )
            logger.info("job %s: watermark %s", job.id, result.payload)
            self.store.complete(job.id, [_without_paths(text, folder) for text in result.warnings])
            self.monitor.jobs.labels("completed").inc()
            self.monitor.job_seconds.observe(time.monotonic() - began)
        except CancelledError:
            self.monitor.jobs.labels("cancelled").inc()
            if self._stopping.is_set() and job.id not in self._cancelled:
                self.store.fail(job.id, INTERRUPTED_MESSAGE)
        except InputError as error:
            self.store.fail(job.id, _without_paths(str(error), folder))
            self.monitor.jobs.labels("failed").inc()
        except Exception:
            logger.exception("job %s failed", job.id)
            self.store.fail(job.id, "an error inside the server; its log says more")
            self.monitor.jobs.labels("failed").inc()
        finally:
            self._progress = None
            if job.id in self._cancelled:
                self._forget(job.id)


def _without_paths(text: str, folder) -> str:
    """A message of the library with "the portrait" in place of the paths of the server."""
    return text.replace(str(folder / "portrait.png"), "the portrait").replace(str(folder / "sound.wav"), "the sound")
