"""Decode any audio or video file with ffmpeg's libraries, on the file's own clock."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
import soxr

from emo.core.errors import InputError

JITTER_SECONDS = 0.02  # time stamps are rounded (to 1 ms in Matroska): a smaller step is no hole
RESTART_SECONDS = 1.0  # a clock that runs back by more, or ahead by more than the longest hole, was reset
LONGEST_HOLE_SECONDS = 600.0
PADDING_SAMPLES = 4096  # no more than this behind an mp4's stated end is the encoder's padding
FULL_SCALE = {  # kind and bytes of a sample: its zero and its largest value
    "u1": (128, 128),
    "i2": (0, 2**15),
    "i4": (0, 2**31),
    "f4": (0, 1),
    "f8": (0, 1),
}


@dataclass(frozen=True)
class SoundBlock:
    samples: np.ndarray  # (S C) float32, any S
    sample_rate: int  # Hz, the same for all blocks of a file
    layout: str  # ffmpeg's name of the channel layout, the same for all blocks of a file


@contextmanager
def open_media(path: Path) -> Iterator[av.container.InputContainer]:
    """A sound or video file, open for reading; what is wrong with it is raised as InputError."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the name")
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        known = "wav, mp3, m4a, flac, ogg or mp4"
        raise InputError(f"{path} can't be read as sound or video ({error.strerror}); give {known}") from error


def decoded_frames(container, stream) -> Iterator:
    """The frames of one stream; what is damaged is left out, and the other streams are not even read."""
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.InvalidDataError:  # the file is cut short
            packet = None
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def decode_audio(path: str | Path) -> Iterator[SoundBlock]:
    """All channels of a file's sound at its own rate, block by block, without holes; memory stays flat.

    Raises InputError (with the first block): no such file, unreadable, no sound in it.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = sound_stream(path, container)
        frames = decoded_frames(container, stream)
        first = next((frame for frame in frames if frame.samples), None)
        if first is None:
            raise InputError(f"{path} holds no sound (0 samples can be decoded); give another file")
        rate, channels, layout = first.sample_rate, first.layout.nb_channels, first.layout.name
        origin = min([first.time or 0.0, *_picture_starts(container)])
        pieces = _on_clock(chain([first], frames), origin, rate, channels)
        for samples in _without_padding(pieces, _stated_end(container, stream, origin, rate)):
            yield SoundBlock(samples, rate, layout)


def first_sound_seconds(path: Path) -> float | None:
    """The time stamp of the first sound in a file, None if it has none."""
    with open_media(path) as container:
        if not container.streams.audio:
            return None
        frames = decoded_frames(container, sound_stream(path, container))
        return next((frame.time for frame in frames if frame.samples), None)


def sound_stream(path: Path, container) -> av.AudioStream:
    """The stream that a player would play. Raises InputError if there is none."""
    stream = container.streams.best("audio")
    if stream is None:
        raise InputError(f"{path} has no sound; give a sound file or a video with sound")
    return stream


def resample(pieces: Iterable[np.ndarray], rate: int, new_rate: int, channels: int) -> Iterator[np.ndarray]:
    """Sound in pieces, (S,) or (S C), at another rate in Hz, without drift or delay."""
    if rate == new_rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")
    end = np.zeros(0, np.float32)
    for piece in pieces:
        end = piece[:0]
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(end, last=True)


def _picture_starts(container) -> list[float]:
    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover]
    return [float(s.start_time * s.time_base) for s in videos if s.start_time is not None]


def _stated_end(container, stream, origin: float, rate: int) -> int:
    """Where the sound ends by an mp4's header, in samples; other headers don't know."""
    if "mp4" not in container.format.name or not stream.duration:
        return sys.maxsize
    end = ((stream.start_time or 0) + stream.duration) * stream.time_base
    return round((float(end) - origin) * rate)


def _on_clock(frames: Iterable, origin: float, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Decoded frames as pieces (S C) that follow one another; sample n lies n / rate after `origin`."""
    position = 0
    for frame in frames:
        samples = _samples(frame, rate, channels)
        due = position if frame.time is None else round((frame.time - origin) * rate)
        hole = due - position
        if not -RESTART_SECONDS * rate <= hole <= LONGEST_HOLE_SECONDS * rate:
            origin, hole = origin + hole / rate, 0
        if position and abs(hole) <= JITTER_SECONDS * rate:
            hole = 0
        position += max(0, hole)
        for low in range(0, hole, rate):
            yield np.zeros((min(rate, hole - low), channels), np.float32)
        samples = samples[max(0, -hole) :]
        position += len(samples)
        yield samples


def _samples(frame: av.AudioFrame, rate: int, channels: int) -> np.ndarray:
    """One frame as (S C) float32; a file may change its rate or channels midway, and is held to the first."""
    many = frame.format.is_planar and frame.layout.nb_channels >= 8  # PyAV miscounts their planes
    if many or frame.format.name.startswith("s64"):  # for which it has no array
        (frame,) = av.AudioResampler(format="flt").resample(frame)
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    zero, peak = FULL_SCALE[values.dtype.kind + str(values.dtype.itemsize)]
    samples = np.nan_to_num((values.astype(np.float32) - zero) / peak, posinf=1.0, neginf=-1.0)
    if frame.sample_rate != rate:
        samples = soxr.resample(samples, frame.sample_rate, rate)
    if samples.shape[1] != channels:
        samples = np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)
    return samples


def _without_padding(pieces: Iterable[np.ndarray], end: int) -> Iterator[np.ndarray]:
    """AAC fills up its last packet: leave out what lies behind the stated end, unless it is more."""
    position, behind = 0, []
    for piece in pieces:
        inside = max(0, end - position)
        position += len(piece)
        if inside:
            yield piece[:inside]
        if position > end:
            behind.append(piece[inside:])
        if position > end + PADDING_SAMPLES:  # the header is wrong
            yield from behind
            end, behind = sys.maxsize, []
