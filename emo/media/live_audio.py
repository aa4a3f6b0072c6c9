"""The sound of a live session: pushed in pieces of any length, filled with silence where nobody speaks.

Positions are samples since the session's start.
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import soxr

FADE_SECONDS = 0.01  # of sound that is cut off


@dataclass(frozen=True)
class Piece:
    """A stretch of sound that was pushed."""

    first: int
    last: int  # the sample after the end
    time: float  # when it was pushed, on the session's clock, seconds


class LiveAudio:
    """A wave that grows at its end and is forgotten at its beginning.

    Attributes:
        sample_rate: Hz.
        first: Position of the first sample that is still there.
        wave: (S,) float32, samples first .. end - 1.
    """

    def __init__(self, sample_rate: int):
        """
        Args:
            sample_rate: Hz, of what is read; pushed sound is resampled to it.
        """
        self.sample_rate = sample_rate
        self.first, self.wave = 0, np.zeros(0, np.float32)
        self._pieces: deque[Piece] = deque()
        self._resampler: tuple[int, soxr.ResampleStream] | None = None

    @property
    def end(self) -> int:
        """Position after the last sample."""
        return self.first + len(self.wave)

    def push(self, samples: np.ndarray, sample_rate: int, time: float) -> None:
        """Append sound.

        Args:
            samples: (S,) float in [-1, 1], or int16.
            sample_rate: Its rate, Hz.
            time: Now, seconds.
        """
        samples = samples.astype(np.float32) / 32768 if samples.dtype == np.int16 else samples.astype(np.float32)
        samples = self._resample(samples, sample_rate)
        self._pieces.append(Piece(self.end, self.end + len(samples), time))
        self.wave = np.concatenate([self.wave, samples.clip(-1, 1)])

    def fill(self, until: int) -> None:
        """Append silence up to a position."""
        if until > self.end:
            self.wave = np.concatenate([self.wave, np.zeros(until - self.end, np.float32)])

    def cut(self, position: int) -> None:
        """Drop all samples from a position on; the last ones before the cut fade out."""
        position = max(position, self.first)
        if position >= self.end:
            return
        count = min(round(FADE_SECONDS * self.sample_rate), self.end - position)
        tail = self.wave[position - self.first :][:count] * np.linspace(1, 0, count, dtype=np.float32)
        self.wave = np.concatenate([self.wave[: position - self.first], tail])
        kept = (replace(piece, last=min(piece.last, self.end)) for piece in self._pieces)
        self._pieces = deque(piece for piece in kept if piece.first < piece.last)
        self._resampler = None

    def trim(self, position: int) -> None:
        """Forget all samples before a position."""
        count = min(max(0, position - self.first), len(self.wave))
        self.wave, self.first = self.wave[count:].copy(), self.first + count
        while self._pieces and self._pieces[0].last <= self.first:
            self._pieces.popleft()

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples first .. last - 1 (S,), zeros where there are none."""
        out = np.zeros(last - first, np.float32)
        begin, end = max(first, self.first), min(last, self.end)
        if begin < end:
            out[begin - first : end - first] = self.wave[begin - self.first : end - self.first]
        return out

    def pushed_at(self, position: int) -> float | None:
        """Return when the sample at a position was pushed; None for silence that was filled in."""
        return next((piece.time for piece in self._pieces if piece.first <= position < piece.last), None)

    def _resample(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        if sample_rate == self.sample_rate:
            return samples
        if self._resampler is None or self._resampler[0] != sample_rate:
            stream = soxr.ResampleStream(sample_rate, self.sample_rate, 1, dtype="float32", quality="HQ")
            self._resampler = sample_rate, stream
        return self._resampler[1].resample_chunk(samples)
