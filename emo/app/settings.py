"""Settings and limits of the server."""

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class ServerSettings:
    """What `emo-serve` runs with.

    Attributes:
        data_dir: Where the database, uploads and videos lie.
        model: The model's name, folder or Hub id.
        device: Name of a torch device; None: the best of this machine.
        dtype: Name of the weights' type.
        host: Address to listen at.
        token: Demanded of every request but /healthz; None: no token.
        tts_url: Base address of an OpenAI-compatible speech server; None: hibari-tts, where it is installed.
        max_upload_mb: Largest request, in 10^6 bytes.
        max_pixels: Most pixels of a portrait; a larger one is shrunk.
        max_seconds: Longest sound.
        max_text: Most characters of a text.
        max_queue: Most jobs that wait or run; more are answered with 429.
        keep_hours: How long finished jobs and their files are kept.
        max_sessions: Most live sessions at a time; more are answered with 429.
        session_minutes: Longest live session.
        decode_seconds: Time limit of the child process that decodes an upload.
        decode_memory_mb: Its memory limit, in 10^6 bytes, where the system has such limits.
        receive_seconds: Longest wait for the headers of a request, for its next bytes, and for the start of a live
            session.
        upload_seconds: Longest time in which a request is sent.
        send_seconds: Longest wait for the client of a live session to take a frame.
    """

    data_dir: Path
    model: str = "mini"
    device: str | None = None
    dtype: str = "float32"
    host: str = "127.0.0.1"
    token: str | None = None
    tts_url: str | None = None
    max_upload_mb: float = 50.0
    max_pixels: int = 4_000_000
    max_seconds: float = 300.0
    max_text: int = 2000
    max_queue: int = 8
    keep_hours: float = 24.0
    max_sessions: int = 2
    session_minutes: float = 30.0
    decode_seconds: float = 30.0
    decode_memory_mb: float = 2000.0
    receive_seconds: float = 30.0
    upload_seconds: float = 300.0
    send_seconds: float = 10.0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK

    @property
    def model_name(self) -> str:
        """The model as users see it: without the folders of this machine."""
        return Path(self.model).name if Path(self.model).is_dir() else self.model

    @property
    def max_upload_bytes(self) -> int:
        """Largest request in bytes."""
        return round(self.max_upload_mb * 1e6)
