"""Read any audio file as mono samples; buffer, trim, measure and write samples.

Any sound file -> one mono wave at the rate that is asked for, piece by piece.

wave (S,) float32 mono in [-1, 1]; sample n lies at n / sample_rate from the start of the file

Sound that comes in pieces, of which no more is held than is still needed.

A wave -> a WAV file of 16 bits.

How loud a wave is during each frame of a video.
"""

import math
import sys
import wave as riff
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.media.decode import decode_audio, resample


@dataclass(frozen=True)
class AudioInfo:
    seconds: float
    sample_rate: int  # Hz
    channels: int


def probe_audio(path: str | Path) -> AudioInfo:
    """How long the sound is, by decoding it (headers are often wrong), with its own rate and channels.

    Raises InputError: no such file, unreadable, no sound in it.
    """
    blocks = decode_audio(path)
    first = next(blocks)
    count = len(first.samples) + sum(len(block.samples) for block in blocks)
    return AudioInfo(count / first.sample_rate, first.sample_rate, first.samples.shape[1])


def read_audio(
    path: str | Path, sample_rate: int, start_seconds: float = 0.0, duration_seconds: float | None = None
) -> np.ndarray:
    """The sound of a file as one wave (S,); the same samples and errors as `stream_audio`."""
    return np.concatenate(list(stream_audio(path, sample_rate, start_seconds, duration_seconds)))


def stream_audio(
    path: str | Path,
    sample_rate: int,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    chunk_seconds: float = 1.0,
) -> Iterator[np.ndarray]:
    """The sound of a file as pieces of a wave (S,), all `chunk_seconds` long but the last; memory stays flat.

    Mono is the mean of the channels. A trimmed sound equals the same slice of the whole one.

    Raises InputError (with the first piece): no such file, unreadable, no sound, none behind the start.
    """
    check_trim(path, start_seconds, duration_seconds)
    lead_seconds = max(0, int(start_seconds) - 1)  # whole seconds lie on the sample grid of every rate
    wave = _mono(path, sample_rate, lead_seconds)
    kept = trim(wave, start_seconds - lead_seconds, duration_seconds, sample_rate)
    first = next(kept, None)
    if first is None:
        raise past_the_end(path, start_seconds)
    yield from _rechunk(chain([first], kept), max(1, round(chunk_seconds * sample_rate)))


def trim(
    pieces: Iterable[np.ndarray], start_seconds: float, duration_seconds: float | None, sample_rate: int
) -> Iterator[np.ndarray]:
    """What lies in [start, start + duration) of sound that comes in pieces (S ...); reads no further."""
    start = round(start_seconds * sample_rate)
    end = sys.maxsize if duration_seconds is None else start + max(1, round(duration_seconds * sample_rate))
    position = 0
    for piece in pieces:
        kept = piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if len(kept):
            yield kept
        if position >= end:
            return


def check_trim(path: str | Path, start_seconds: float, duration_seconds: float | None) -> None:
    """Raise InputError if no sound can lie in that range."""
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise InputError(f"{path} can't start at {start_seconds:g} seconds; the start is 0 or more")
    if duration_seconds is not None and not (math.isfinite(duration_seconds) and duration_seconds > 0):
        raise InputError(f"{path} can't last {duration_seconds:g} seconds; the duration is more than 0")


def past_the_end(path: str | Path, start_seconds: float) -> InputError:
    """The error to raise when nothing was found behind `start_seconds`."""
    seconds = probe_audio(path).seconds
    return InputError(f"{path} lasts {seconds:.2f} seconds, nothing lies behind {start_seconds:g}; start earlier")


def _mono(path: str | Path, sample_rate: int, lead_seconds: int) -> Iterator[np.ndarray]:
    """The wave from `lead_seconds` on, in pieces (S,) at `sample_rate`."""
    blocks = decode_audio(path)
    first = next(blocks)
    pieces = (block.samples.mean(axis=1) for block in chain([first], blocks))
    pieces = trim(pieces, lead_seconds, None, first.sample_rate)
    for piece in resample(pieces, first.sample_rate, sample_rate, channels=1):
        yield np.clip(piece, -1.0, 1.0)


def _rechunk(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same sound in pieces of `size` samples; only the last may be shorter."""
    held, count = [], 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count < size:
            continue
        joined = np.concatenate(held)
        rest = count % size
        yield from np.split(joined[: count - rest], count // size)
        held, count = [joined[count - rest :]], rest
    if count:
        yield np.concatenate(held)


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


def write_wav(path: str | Path, wave: np.ndarray, sample_rate: int) -> None:
    """wave (S,) int16, or float in [-1, 1]; what lies beyond is cut. sample_rate: Hz."""
    if wave.dtype.kind == "f":
        wave = np.round(wave.clip(-1, 1) * 32767)
    with riff.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(wave.astype("<i2").tobytes())


RANGE_DB = 35.0  # loudness is clipped so far under its peak


def loudness(wave: np.ndarray, sample_rate: int, num_frames: int, fps: float) -> np.ndarray:
    """wave (S,) -> (T,) dB of each frame's sound, clipped RANGE_DB under the peak."""
    edges = np.round(np.arange(num_frames + 1) * sample_rate / fps).astype(int)
    padded = np.pad(wave, (0, max(0, edges[-1] - len(wave))))
    power = np.array([np.mean(padded[a:b] ** 2) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    level = 10 * np.log10(power + 1e-12)
    return np.maximum(level, level.max() - RANGE_DB)
