"""Sound that comes in pieces, of which no more is held than is still needed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass
class Sound:
    """The part of a wave that is still needed. Grows at the end, is cut at the start."""

    chunks: Iterator[np.ndarray]
    sample_rate: int
    wave: np.ndarray
    first_sample: int = 0
    ended: bool = False

    def hear(self, until_seconds: float) -> None:
        """Takes chunks until so much is known, or all."""
        pieces, known = [self.wave], self.first_sample + len(self.wave)
        while not self.ended and known < until_seconds * self.sample_rate:
            piece = next(self.chunks, None)
            self.ended = piece is None
            if piece is not None:
                pieces.append(np.asarray(piece, np.float32))
                known += len(piece)
        self.wave = np.concatenate(pieces)

    def forget(self, before_seconds: float) -> None:
        count = min(max(0, int(before_seconds * self.sample_rate) - self.first_sample), len(self.wave))
        self.wave, self.first_sample = self.wave[count:], self.first_sample + count

    @property
    def seconds(self) -> float:
        """How much is known; the whole length once it has ended."""
        return (self.first_sample + len(self.wave)) / self.sample_rate
