"""The sound of the dubbed film: new voices in their own quality, with the film's background or parts of its own sound.

Everything is streamed in chunks of a second. Sounds are (S C) float32; sample n lies n / rate seconds after the film's
start.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np

from emo.media.decode import decode_audio, resample
from emo.media.soundtrack import AAC_RATES, BITS_PER_SAMPLE, BITS_PER_SECOND, LAYOUTS, add_soundtrack, encode_samples

CODECS = {  # muxer -> encoder, sample rates it takes, most channels
    "webm": ("libopus", (48000,), 8),
    "avi": ("libmp3lame", (32000, 44100, 48000), 2),
    "mpeg": ("mp2", (32000, 44100, 48000), 2),
}
FADE_SECONDS = 0.02  # between the film's own sound and the new one
SEPARATION_SECONDS, SEPARATION_OVERLAP_SECONDS = 20.0, 2.0

RemoveVoices = Callable[[np.ndarray, int], np.ndarray]  # wave (S,) mono, its rate in Hz -> the voices in it (S,)


@dataclass(frozen=True)
class DubbedSound:
    """What the new film sounds like.

    Attributes:
        voices: Sound files, all of which start with the film.
        seconds: Length of the new film.
        film: The film, for its own sound.
        separate: Separates voices; what is left of the film's sound stays under the new voices. None: nothing stays.
        only_seconds: Start and end of the part that sounds new; elsewhere the film's own sound stays. None: all.
    """

    voices: Sequence[Path]
    seconds: float
    film: Path
    separate: RemoveVoices | None = None
    only_seconds: tuple[float, float] | None = None

    def open(self, container: av.container.OutputContainer) -> Iterator[av.Packet]:
        """Add a sound stream to a container.

        Args:
            container: The film that is written.

        Returns:
            The packets, with times after the film's start.

        Raises:
            InputError: A file can't be read or has no sound.
        """
        muxer = container.format.name
        plain = len(self.voices) == 1 and self.separate is None and self.only_seconds is None
        if plain and muxer in ("mp4", "mov", "matroska"):
            return add_soundtrack(container, self.voices[0], 0.0, self._trim())
        codec, rates, most_channels = CODECS.get(muxer, ("aac", AAC_RATES, 8))
        inputs = [*self.voices] if self.only_seconds is None and self.separate is None else [*self.voices, self.film]
        formats = [_probe(path) for path in inputs]
        wanted = max(rate for rate, _ in formats)
        rate = next((rate for rate in rates if rate >= wanted), rates[-1])
        channels = min(most_channels, max(channels for _, channels in formats))
        stream = container.add_stream(codec, rate=rate, layout=LAYOUTS[channels])
        stream.bit_rate = channels * min(BITS_PER_SECOND, BITS_PER_SAMPLE * rate)
        return encode_samples(stream, self.mix(rate, channels), LAYOUTS[channels])

    def _trim(self) -> float | None:
        """The film's length where the sound is longer."""
        rate, count = 0, 0
        for block in decode_audio(self.voices[0]):
            rate, count = block.sample_rate, count + len(block.samples)
        return self.seconds if count > round(self.seconds * rate) else None

    def mix(self, rate: int, channels: int) -> Iterator[np.ndarray]:
        """Yield the new sound in chunks (S C) of a second; the last is shorter.

        Args:
            rate: Hz.
            channels: C.

        Yields:
            (S C) float32 in [-1, 1].
        """
        voices = [_Reader(_decode(path, rate, channels)) for path in self.voices]
        background = own = None
        if self.separate is not None:
            background = _Reader(remove_voices(_decode(self.film, rate, channels), rate, self.separate))
        if self.only_seconds is not None:
            own = _Reader(_decode(self.film, rate, channels))
        total, position = round(self.seconds * rate), 0
        while position < total:
            count = min(rate, total - position)
            new = np.sum([voice.read(count, channels) for voice in voices], axis=0, dtype=np.float32)
            if background is not None:
                new = new + background.read(count, channels)
            if own is not None and self.only_seconds is not None:
                share = window_share(position, count, rate, self.only_seconds)[:, None]
                new = share * new + (1 - share) * own.read(count, channels)
            yield np.clip(new, -1, 1).astype(np.float32)
            position += count


def window_share(position: int, count: int, rate: int, window_seconds: tuple[float, float]) -> np.ndarray:
    """Compute the new sound's share of consecutive samples: 1 inside of a window, 0 outside, with short fades.

    Args:
        position: Number of the first sample.
        count: S.
        rate: Hz.
        window_seconds: Start and end.

    Returns:
        (S,) float32.
    """
    seconds = (position + np.arange(count)) / rate
    inside = np.minimum(seconds - window_seconds[0], window_seconds[1] - seconds)
    return np.clip(inside / FADE_SECONDS + 0.5, 0, 1).astype(np.float32)


def remove_voices(pieces: Iterable[np.ndarray], rate: int, separate: RemoveVoices) -> Iterator[np.ndarray]:
    """Subtract the voices from a sound, in overlapping parts that fade into each other.

    Args:
        pieces: (S C) consecutive.
        rate: Hz.
        separate: Returns the voices of a mono wave.

    Yields:
        (S C) of the same length in all.
    """
    length, overlap = round(SEPARATION_SECONDS * rate), round(SEPARATION_OVERLAP_SECONDS * rate)
    first = next(iterator := iter(pieces), None)
    if first is None:
        return
    reader, channels = _Reader(chain([first], iterator)), first.shape[1]
    part, tail = reader.take(length, channels), None
    while len(part):
        rest = part - np.stack([separate(np.ascontiguousarray(part[:, k]), rate) for k in range(channels)], axis=1)
        if tail is not None:
            count = min(len(tail), len(rest))
            share = np.linspace(0, 1, count, dtype=np.float32)[:, None]
            rest[:count] = (1 - share) * tail[:count] + share * rest[:count]
        if len(part) < length:
            yield rest
            return
        yield rest[:-overlap]
        tail, part = rest[-overlap:], np.concatenate([part[-overlap:], reader.take(length - overlap, channels)])


class _Reader:
    """Consecutive pieces (S C), read in counts that the reader chooses."""

    def __init__(self, pieces: Iterable[np.ndarray]):
        self._pieces, self._waiting = iter(pieces), []

    def take(self, count: int, channels: int) -> np.ndarray:
        """Return the next samples (S C), fewer than `count` at the end."""
        got, have = [], 0
        while have < count:
            piece = self._waiting.pop() if self._waiting else next(self._pieces, None)
            if piece is None:
                break
            if len(piece) > count - have:
                self._waiting.append(piece[count - have :])
                piece = piece[: count - have]
            got.append(piece)
            have += len(piece)
        return np.concatenate(got) if got else np.zeros((0, channels), np.float32)

    def read(self, count: int, channels: int) -> np.ndarray:
        """Return the next samples (count C); silence follows after the end."""
        samples = self.take(count, channels)
        return np.pad(samples, ((0, count - len(samples)), (0, 0)))


def _probe(path: Path) -> tuple[int, int]:
    block = next(decode_audio(path))
    return block.sample_rate, block.samples.shape[1]


def _decode(path: Path, rate: int, channels: int) -> Iterator[np.ndarray]:
    """A file's sound at another rate and with another number of channels."""
    blocks = decode_audio(path)
    first = next(blocks)
    given = first.samples.shape[1]
    for samples in resample((b.samples for b in chain([first], blocks)), first.sample_rate, rate, given):
        if given == 1:
            samples = _spread(samples, channels)
        elif given > channels:
            samples = np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)
        elif given < channels:
            samples = np.pad(samples, ((0, 0), (0, channels - given)))
        yield samples


def _spread(mono: np.ndarray, channels: int) -> np.ndarray:
    """A mono voice (S 1) in front: in both channels of stereo, in the center of 3.0, 5.1 and 7.1."""
    if channels <= 2:
        return np.repeat(mono, channels, axis=1)
    samples = np.zeros((len(mono), channels), np.float32)
    samples[:, 2] = mono[:, 0]
    return samples
