"""Any sound file -> one mono wave at the rate that is asked for, piece by piece.

wave (S,) float32 mono in [-1, 1]; sample n lies at n / sample_rate from the start of the file
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from emo.errors import InputError
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
