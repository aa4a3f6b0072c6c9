"""The jobs of the server: one row of a SQLite database each, and a folder with the files of each.

A row changes in one transaction, and a video takes its name only when it is complete. So after `kill -9` every finished
job is still there; `recover` says of a job that was running that it broke off, and queued ones run.
"""

import json
import secrets
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUEUED, IN_PROGRESS, COMPLETED, FAILED = "queued", "in_progress", "completed", "failed"
INTERRUPTED_MESSAGE = "the server was stopped while it made this video; send the job again"
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    ended_at REAL,
    seconds REAL NOT NULL,
    options TEXT NOT NULL,
    error TEXT,
    warnings TEXT NOT NULL DEFAULT '[]'
)"""


@dataclass(frozen=True)
class Job:
    """A video to make.

    Attributes:
        id: Name of the job, which can't be guessed.
        status: queued, in_progress, completed or failed.
        created_at: Unix time, seconds.
        ended_at: Unix time at which it was completed or failed; None before.
        seconds: Length of the sound.
        options: Arguments of `emo.generate` by name, that JSON can hold.
        error: One line that says why it failed.
        warnings: Lines for the user.
    """

    id: str
    status: str
    created_at: float
    ended_at: float | None
    seconds: float
    options: dict[str, Any]
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether it is completed or failed."""
        return self.status in (COMPLETED, FAILED)


class JobStore:
    """All jobs; the methods may be called from any thread.

    Args:
        folder: Where the database and the folders of the jobs lie; made if missing.
    """

    def __init__(self, folder: Path):
        self._videos = folder / "videos"
        self._videos.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(folder / "jobs.sqlite3", check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(SCHEMA)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job's files."""
        return self._videos / job_id

    def video(self, job_id: str) -> Path:
        """Return the path of a job's video."""
        return self.folder(job_id) / "video.mp4"

    def new_folder(self) -> tuple[str, Path]:
        """Make the folder of a new job; returns its id and the folder."""
        job_id = f"video_{secrets.token_hex(16)}"
        folder = self.folder(job_id)
        folder.mkdir()
        return job_id, folder

    def add(self, job_id: str, seconds: float, options: dict[str, Any], most_waiting: int) -> Job | None:
        """Queue a job whose files lie in its folder.

        Args:
            job_id: From `new_folder`.
            seconds: Length of its sound.
            options: Arguments of `emo.generate`.
            most_waiting: Most jobs that wait or run.

        Returns:
            The job; None where too many wait already.
        """
        with self._lock:
            if self.count_waiting() >= most_waiting:
                return None
            self._database.execute(
                "INSERT INTO jobs (id, status, created_at, seconds, options) VALUES (?, ?, ?, ?, ?)",
                (job_id, QUEUED, time.time(), seconds, json.dumps(options)),
            )
            return self.get(job_id)

    def get(self, job_id: str) -> Job | None:
        """Return a job; None where there is none of this id."""
        rows = self._query("SELECT * FROM jobs WHERE id = ?", job_id)
        return _parse(rows[0]) if rows else None

    def claim(self) -> Job | None:
        """Mark the oldest queued job as in progress and return it; None where none waits."""
        with self._lock:
            rows = self._query("SELECT * FROM jobs WHERE status = ? ORDER BY number LIMIT 1", QUEUED)
            if not rows:
                return None
            self._query("UPDATE jobs SET status = ? WHERE id = ?", IN_PROGRESS, rows[0]["id"])
            return self.get(rows[0]["id"])

    def complete(self, job_id: str, warnings: list[str]) -> None:
        """Mark a job as completed."""
        command = "UPDATE jobs SET status = ?, ended_at = ?, warnings = ? WHERE id = ?"
        self._query(command, COMPLETED, time.time(), json.dumps(warnings), job_id)

    def fail(self, job_id: str, error: str) -> None:
        """Mark a job as failed, with one line that says why."""
        command = "UPDATE jobs SET status = ?, ended_at = ?, error = ? WHERE id = ?"
        self._query(command, FAILED, time.time(), error, job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job and remove its files."""
        self._query("DELETE FROM jobs WHERE id = ?", job_id)
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def count_waiting(self) -> int:
        """Count the jobs that wait or run."""
        return self._query("SELECT COUNT(*) FROM jobs WHERE status IN (?, ?)", QUEUED, IN_PROGRESS)[0][0]

    def count_before(self, job: Job) -> int:
        """Count the jobs that run or wait before a queued one."""
        command = "SELECT COUNT(*) FROM jobs WHERE status IN (?, ?) AND number < (SELECT number FROM jobs WHERE id = ?)"
        return self._query(command, QUEUED, IN_PROGRESS, job.id)[0][0]

    def recover(self) -> None:
        """After a start: settle the jobs that were running when the server ended, and remove folders without a job."""
        with self._lock:
            for row in self._query("SELECT * FROM jobs WHERE status = ?", IN_PROGRESS):
                if self.video(row["id"]).exists():  # it ended between the last frame and the row
                    self.complete(row["id"], [])
                else:
                    self.fail(row["id"], INTERRUPTED_MESSAGE)
            known = {row["id"] for row in self._query("SELECT id FROM jobs")}
            for folder in self._videos.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    for partial in folder.glob(".*.part"):
                        partial.unlink(missing_ok=True)

    def sweep(self, keep_hours: float) -> int:
        """Delete jobs that ended longer ago, with their files; returns their number."""
        command = "SELECT id FROM jobs WHERE ended_at IS NOT NULL AND ended_at <= ?"
        old = self._query(command, time.time() - 3600 * keep_hours)
        for row in old:
            self.delete(row["id"])
        return len(old)

    def _query(self, command: str, *values) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(command, values).fetchall()


def _parse(row: sqlite3.Row) -> Job:
    values = {key: row[key] for key in row.keys() if key != "number"}
    return Job(**values | {"options": json.loads(row["options"]), "warnings": json.loads(row["warnings"])})
