"""Read any sound file as mono samples; buffer, trim, measure and write samples; collect the sound of a live session.

A wave is (S,) float32 mono in [-1, 1]; sample n lies n / sample_rate seconds after the start of the file.
"""

import wave as riff
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import soxr

from emo.core.timing import frame_edges
from emo.media.decode import check_trim, decode_audio, mix_to_mono, resample, start_past_end_error, trim_chunks

LOUDNESS_RANGE_DB = 35.0  # loudness is clipped so far below its peak
SILENCE_DB, SPEECH_DB = 3.0, 10.0  # over the clipped floor: frames below the first are silent, above the second speech
SILENT_PEAK = 1e-4  # of full scale: a file whose samples stay below it is silent
FADE_SECONDS = 0.01  # of sound that is cut off


@dataclass(frozen=True)
class AudioInfo:
    """The length and format of a file's sound."""

    seconds: float
    sample_rate: int  # Hz
    channels: int


def probe_audio(path: str | Path) -> AudioInfo:
    """Measure the length of a file's sound by decoding it; headers are often wrong.

    Raises:
        InputError: The file is missing, unreadable or has no sound.
    """
    blocks = decode_audio(path)
    first = next(blocks)
    count = len(first.samples) + sum(len(block.samples) for block in blocks)
    return AudioInfo(count / first.sample_rate, first.sample_rate, first.samples.shape[1])


def read_audio(
    path: str | Path, sample_rate: int, start_seconds: float = 0.0, duration_seconds: float | None = None
) -> np.ndarray:
    """Read a file's sound as one wave.

    Args:
        path: Sound file, or video with sound.
        sample_rate: Sample rate of the result, Hz.
        start_seconds: Start of the part to read.
        duration_seconds: Length of the part; None: to the end.

    Returns:
        (S,) float32 samples, as of `stream_audio`.

    Raises:
        InputError: The same as in `stream_audio`.
    """
    return np.concatenate(list(stream_audio(path, sample_rate, start_seconds, duration_seconds)))


def stream_audio(
    path: str | Path,
    sample_rate: int,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    chunk_seconds: float = 1.0,
) -> Iterator[np.ndarray]:
    """Read a file's sound in chunks; memory use does not grow with its length.

    Mono is the mean of the channels, or the loudest channel where they cancel each other. A trimmed sound equals the
    same slice of the untrimmed one.

    Args:
        path: The file.
        sample_rate: Sample rate of the result, Hz.
        start_seconds: Where to start in the file.
        duration_seconds: How much to read; None: up to the end.
        chunk_seconds: Length of a chunk.

    Yields:
        Waves (S,), all of `chunk_seconds` but the last.

    Raises:
        InputError: With the first chunk: the file is missing or unreadable, or has no sound after the start.
    """
    check_trim(path, start_seconds, duration_seconds)
    lead_seconds = max(0, int(start_seconds) - 1)  # whole seconds lie on the sample grid of every rate
    wave = _read_mono(path, sample_rate, lead_seconds)
    trimmed = trim_chunks(wave, start_seconds - lead_seconds, duration_seconds, sample_rate)
    first = next(trimmed, None)
    if first is None:
        raise start_past_end_error(path, start_seconds)
    yield from _rechunk(chain([first], trimmed), max(1, round(chunk_seconds * sample_rate)))


def _read_mono(path: str | Path, sample_rate: int, lead_seconds: int) -> Iterator[np.ndarray]:
    """The wave from `lead_seconds` on, in pieces (S,) at `sample_rate`."""
    blocks = decode_audio(path)
    first = next(blocks)
    pieces = mix_to_mono(block.samples for block in chain([first], blocks))
    pieces = trim_chunks(pieces, lead_seconds, None, first.sample_rate)
    for piece in resample(pieces, first.sample_rate, sample_rate, channels=1):
        yield np.clip(piece, -1.0, 1.0)


def _rechunk(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in chunks of `size`; only the last may be shorter."""
    waiting, count = [], 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count < size:
            continue
        joined = np.concatenate(waiting)
        rest = count % size
        yield from np.split(joined[: count - rest], count // size)
        waiting, count = [joined[count - rest :]], rest
    if count:
        yield np.concatenate(waiting)


@dataclass
class AudioBuffer:
    """The part of a growing wave that is still needed: `read_until` appends chunks, `trim` drops the oldest samples."""

    chunks: Iterator[np.ndarray]  # (S,) each
    sample_rate: int  # Hz
    wave: np.ndarray  # (S,) float32, samples first_sample .. first_sample + S - 1 of the whole
    first_sample: int = 0
    ended: bool = False  # whether all chunks have been read

    def read_until(self, until_seconds: float) -> None:
        """Append chunks until the buffer reaches this time, or to the end."""
        pieces, end = [self.wave], self.first_sample + len(self.wave)
        while not self.ended and end < until_seconds * self.sample_rate:
            piece = next(self.chunks, None)
            self.ended = piece is None
            if piece is not None:
                pieces.append(np.asarray(piece, np.float32))
                end += len(piece)
        self.wave = np.concatenate(pieces)

    def trim(self, before_seconds: float) -> None:
        """Drop the samples before this time."""
        count = min(max(0, int(before_seconds * self.sample_rate) - self.first_sample), len(self.wave))
        self.wave, self.first_sample = self.wave[count:], self.first_sample + count

    @property
    def seconds(self) -> float:
        """Seconds from the sound's start to the buffer's end; the length of the whole sound once it has ended."""
        return (self.first_sample + len(self.wave)) / self.sample_rate


def write_wav(path: str | Path, wave: np.ndarray, sample_rate: int) -> None:
    """Write a WAV file of 16 bits.

    Args:
        path: The file; one of that name is replaced.
        wave: (S,) int16, or float, limited to [-1, 1].
        sample_rate: Hz.
    """
    if wave.dtype.kind == "f":
        wave = np.round(wave.clip(-1, 1) * 32767)
    with riff.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(wave.astype("<i2").tobytes())


def loudness(wave: np.ndarray, sample_rate: int, num_frames: int, fps: float) -> np.ndarray:
    """Measure how loud a wave (S,) is during each frame of a video.

    Args:
        wave: (S,) samples.
        sample_rate: Sample rate of the wave, Hz.
        num_frames: T, number of video frames.
        fps: Video frames per second.

    Returns:
        (T,) dB relative to full scale, clipped LOUDNESS_RANGE_DB below the loudest frame.
    """
    edges = frame_edges(num_frames, fps, sample_rate)
    padded = np.pad(wave, (0, max(0, edges[-1] - len(wave))))
    power = np.array([np.mean(padded[a:b] ** 2) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    level = 10 * np.log10(power + 1e-12)
    return np.maximum(level, level.max() - LOUDNESS_RANGE_DB)


def find_silent_frames(levels_db: np.ndarray) -> np.ndarray:
    """Find the frames with hardly any sound: levels (T,) of `loudness` -> (T,) bool."""
    return levels_db <= levels_db.max() - LOUDNESS_RANGE_DB + SILENCE_DB


def find_speech_frames(levels_db: np.ndarray) -> np.ndarray:
    """Find the frames in which somebody speaks: levels (T,) of `loudness` -> (T,) bool."""
    return levels_db > levels_db.max() - LOUDNESS_RANGE_DB + SPEECH_DB


@dataclass(frozen=True)
class Piece:
    """A stretch of sound that was pushed."""

    first: int
    last: int  # the sample after the end
    time: float  # when it was pushed, on the session's clock, seconds


class LiveAudio:
    """The sound of a live session: pushed in pieces of any length, silence where nobody speaks, trimmed at its start.

    Positions are samples since the session's start.

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
        """Drop all samples before a position."""
        count = min(max(0, position - self.first), len(self.wave))
        self.wave, self.first = self.wave[count:].copy(), self.first + count
        while self._pieces and self._pieces[0].last <= self.first:
            self._pieces.popleft()

    def read(self, first: int, last: int) -> np.ndarray:
        """Read samples; where there are none they are zeros.

        Args:
            first: Position of the first sample.
            last: Position after the last one.

        Returns:
            (last - first,) float32.
        """
        out = np.zeros(last - first, np.float32)
        begin, end = max(first, self.first), min(last, self.end)
        if begin < end:
            out[begin - first : end - first] = self.wave[begin - self.first : end - self.first]
        return out

    def pushed_at(self, position: int) -> float | None:
        """Return when a sample was pushed.

        Args:
            position: Of the sample.

        Returns:
            Seconds on the session's clock; None for silence that was filled in.
        """
        return next((piece.time for piece in self._pieces if piece.first <= position < piece.last), None)

    def _resample(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        if sample_rate == self.sample_rate:
            return samples
        if self._resampler is None or self._resampler[0] != sample_rate:
            stream = soxr.ResampleStream(sample_rate, self.sample_rate, 1, dtype="float32", quality="HQ")
            self._resampler = sample_rate, stream
        return self._resampler[1].resample_chunk(samples)
