"""What the server counts, for Prometheus (GET /metrics)."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Monitor:
    """Counters of one server.

    Attributes:
        registry: All of them.
        requests: Answered requests by method and status.
        jobs: Jobs that ended, by outcome: completed, failed, cancelled.
        job_seconds: Time from a job's begin to its video.
        frames: Generated frames, by jobs and sessions.
        refused: Requests beyond a limit, by limit: queue, sessions, size.
        sessions: Live sessions that were started.
        latency: Seconds from the arrival of a live session's sound to the frame that shows it.
        lag_frames: Frames of live sessions that repeated the one before because the model was late.
    """

    def __init__(self, count_waiting: Callable[[], int], count_sessions: Callable[[], int]):
        """
        Args:
            count_waiting: Counts the jobs that wait or run.
            count_sessions: Counts the live sessions.
        """
        self.registry = registry = CollectorRegistry()
        options = {"namespace": "emo", "registry": registry}
        self.requests = Counter("requests", "Answered requests", ["method", "status"], **options)
        self.jobs = Counter("jobs", "Jobs that ended", ["outcome"], **options)
        buckets = (1, 3, 10, 30, 100, 300, 1000, 3000)
        self.job_seconds = Histogram("job_seconds", "Time to make a video", buckets=buckets, **options)
        self.frames = Counter("frames", "Generated frames", ["kind"], **options)
        self.refused = Counter("refused", "Requests beyond a limit", ["limit"], **options)
        self.sessions = Counter("sessions", "Live sessions started", **options)
        buckets = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1, 2, 5)
        self.latency = Histogram("latency_seconds", "Sound in to frame out, live", buckets=buckets, **options)
        self.lag_frames = Counter("lag_frames", "Repeated frames of live sessions", **options)
        Gauge("jobs_waiting", "Jobs that wait or run", **options).set_function(count_waiting)
        Gauge("sessions_active", "Live sessions", **options).set_function(count_sessions)

    def text(self) -> bytes:
        """Return all counters in Prometheus's text format."""
        return generate_latest(self.registry)
