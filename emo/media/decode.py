"""Decode the sound of any file with FFmpeg's libraries (PyAV), placed by its time stamps; resample, trim and mix it."""

import math
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
from emo.core.files import check_input_file

JITTER_SECONDS = 0.02  # time stamps are rounded (to 1 ms in Matroska): a smaller step is not a gap
RESTART_SECONDS = 1.0  # time stamps that step back by more, or ahead by more than the longest gap, were reset
LONGEST_GAP_SECONDS = 600.0
CANCELLED_POWER = 0.04  # of what one channel alone leaves in the mean: below it, channels cancel each other
SWITCH_POWER = 4.0  # how much louder than the channel in use another must be to take its place
PADDING_SAMPLES = 4096  # no more than this behind an mp4's stated end is the encoder's padding
FULL_SCALE = {  # kind and bytes of a sample: its zero and its largest value
    "u1": (128, 128),
    "i2": (0, 2**15),
    "i4": (0, 2**31),
    "f4": (0, 1),
    "f8": (0, 1),
}


@dataclass(frozen=True)
class AudioBlock:
    """Consecutive samples of a file."""

    samples: np.ndarray  # (S C) float32, any S
    sample_rate: int  # Hz, the same for all blocks of a file
    layout: str  # ffmpeg's name of the channel layout, the same for all blocks of a file


@contextmanager
def open_media(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a sound or video file for reading. Raises InputError, also for errors inside of the `with`."""
    check_input_file(path, "file")
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        formats = "wav, mp3, m4a, flac, ogg or mp4"
        raise InputError(f"{path} can't be read as sound or video ({error.strerror}); give {formats}") from error


def read_packets(container, stream) -> Iterator[av.Packet]:
    """Yield the packets of one stream up to where the file is cut short; other streams are not read.

    Args:
        container: The opened file of PyAV.
        stream: The stream to read.

    Yields:
        Packets of PyAV; an empty one at the end.
    """
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all
    try:
        yield from container.demux(stream)
    except av.InvalidDataError:  # the file is cut short
        return


def decode_frames(container, stream) -> Iterator:
    """Yield the frames of one stream; damaged packets are skipped, and other streams are not read.

    Args:
        container: The opened file of PyAV.
        stream: The stream to decode.

    Yields:
        Decoded frames of PyAV, video or audio.
    """
    for packet in read_packets(container, stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def decode_audio(path: str | Path) -> Iterator[AudioBlock]:
    """Decode all channels of a file's sound at its own rate; gaps in its time stamps are filled with zeros.

    Yields:
        Blocks of consecutive samples; memory use does not grow with the length.

    Raises:
        InputError: With the first block: the file is missing, unreadable or has no sound.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = best_audio_stream(path, container)
        frames = decode_frames(container, stream)
        first = next((frame for frame in frames if frame.samples), None)
        if first is None:
            raise InputError(f"{path} holds no sound (0 samples can be decoded); give another file")
        rate, channels, layout = first.sample_rate, first.layout.nb_channels, first.layout.name
        origin = min([first.time or 0.0, *_video_starts(container)])
        pieces = _fill_gaps(chain([first], frames), origin, rate, channels)
        for samples in _without_padding(pieces, _stated_end(container, stream, origin, rate)):
            yield AudioBlock(samples, rate, layout)


def first_audio_seconds(path: Path) -> float | None:
    """Find the time stamp of the first sound in a file.

    Args:
        path: The file.

    Returns:
        Seconds; None where the file has no sound.

    Raises:
        InputError: The file does not exist or can't be read.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            return None
        frames = decode_frames(container, best_audio_stream(path, container))
        return next((frame.time for frame in frames if frame.samples), None)


def best_audio_stream(path: Path, container) -> av.AudioStream:
    """Choose the sound stream that a player would choose.

    Args:
        path: The file, for the message.
        container: The opened file of PyAV.

    Returns:
        The stream.

    Raises:
        InputError: The file has no sound.
    """
    stream = container.streams.best("audio")
    if stream is None:
        raise InputError(f"{path} has no sound; give a sound file or a video with sound")
    return stream


def resample(pieces: Iterable[np.ndarray], rate: int, new_rate: int, channels: int) -> Iterator[np.ndarray]:
    """Resample consecutive pieces without drift or delay.

    Args:
        pieces: (S,) or (S C) float32.
        rate: Sample rate of the input, Hz.
        new_rate: Sample rate of the result, Hz.
        channels: C, 1 for (S,).

    Yields:
        Pieces of the same kind, each of one sample or more.
    """
    if rate == new_rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")
    end = np.zeros(0, np.float32)
    for piece in pieces:
        end = piece[:0]
        resampled = stream.resample_chunk(piece)
        if len(resampled):
            yield resampled
    resampled = stream.resample_chunk(end, last=True)
    if len(resampled):
        yield resampled


def trim_chunks(
    chunks: Iterable[np.ndarray], start_seconds: float, duration_seconds: float | None, sample_rate: int
) -> Iterator[np.ndarray]:
    """Yield the part of consecutive chunks in [start, start + duration) seconds; later chunks are not read.

    Args:
        chunks: Arrays (S ...) of consecutive samples.
        start_seconds: Start of the part.
        duration_seconds: Length of the part; None: to the end.
        sample_rate: Samples per second.

    Yields:
        Arrays (S ...) of the part.
    """
    start = round(start_seconds * sample_rate)
    end = sys.maxsize if duration_seconds is None else start + max(1, round(duration_seconds * sample_rate))
    position = 0
    for chunk in chunks:
        part = chunk[max(0, start - position) : max(0, end - position)]
        position += len(chunk)
        if len(part):
            yield part
        if position >= end:
            return


def check_trim(path: str | Path, start_seconds: float, duration_seconds: float | None) -> None:
    """Check the range of a part of a sound.

    Args:
        path: The file, for the message.
        start_seconds: Start of the part.
        duration_seconds: Length of the part; None: to the end.

    Raises:
        InputError: The start is negative, or the duration is not positive.
    """
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise InputError(f"{path}: the start must be 0 seconds or more, not {start_seconds:g}")
    if duration_seconds is not None and not (math.isfinite(duration_seconds) and duration_seconds > 0):
        raise InputError(f"{path}: the duration must be more than 0 seconds, not {duration_seconds:g}")


def start_past_end_error(path: str | Path, start_seconds: float) -> InputError:
    """Return the error to raise when there is no sound after the start.

    Args:
        path: The file, which is decoded to measure its length.
        start_seconds: The start that lies after its end.

    Returns:
        The error, whose message gives the length.
    """
    blocks = list((len(block.samples), block.sample_rate) for block in decode_audio(path))
    seconds = sum(count for count, _ in blocks) / blocks[0][1]
    return InputError(f"{path} lasts {seconds:.2f} seconds, so it can't start at {start_seconds:g}: start earlier")


def mix_to_mono(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Mix consecutive blocks (S C) to mono (S,).

    The result is the mean of the channels. Where it cancels (one channel of a stereo recording is inverted), it is the
    loudest channel, and stays that channel in later blocks that cancel unless another is SWITCH_POWER times louder.
    """
    channel = None
    for samples in blocks:
        mono = samples.mean(axis=1)
        if samples.shape[1] > 1 and len(samples):
            powers = np.square(samples).mean(axis=0)
            loudest = int(powers.argmax())
            if np.square(mono).mean() < CANCELLED_POWER * powers[loudest] / samples.shape[1] ** 2:
                if channel is None or powers[loudest] > SWITCH_POWER * powers[channel]:
                    channel = loudest
                mono = samples[:, channel]
        yield mono


def _video_starts(container) -> list[float]:
    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover]
    return [float(s.start_time * s.time_base) for s in videos if s.start_time is not None]


def _stated_end(container, stream, origin: float, rate: int) -> int:
    """Where the sound ends by an mp4's header, in samples; other headers don't state it."""
    if "mp4" not in container.format.name or not stream.duration:
        return sys.maxsize
    end = ((stream.start_time or 0) + stream.duration) * stream.time_base
    return round((float(end) - origin) * rate)


def _fill_gaps(frames: Iterable, origin: float, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Decoded frames as consecutive pieces (S C); sample n lies n / rate after `origin`."""
    position = 0
    for frame in frames:
        samples = _samples(frame, rate, channels)
        due = position if frame.time is None else round((frame.time - origin) * rate)
        gap = due - position
        if not -RESTART_SECONDS * rate <= gap <= LONGEST_GAP_SECONDS * rate:
            origin, gap = origin + gap / rate, 0
        if position and abs(gap) <= JITTER_SECONDS * rate:
            gap = 0
        position += max(0, gap)
        for low in range(0, gap, rate):
            yield np.zeros((min(rate, gap - low), channels), np.float32)
        samples = samples[max(0, -gap) :]
        position += len(samples)
        yield samples


def _samples(frame: av.AudioFrame, rate: int, channels: int) -> np.ndarray:
    """One frame as (S C) float32; where a file changes its rate or channels midway, it is converted to the first."""
    many = frame.format.is_planar and frame.layout.nb_channels >= 8  # PyAV miscounts the planes of such frames
    if many or frame.format.name.startswith("s64"):  # and has no array for this format
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
    """Drop what lies behind the stated end, as AAC fills up its last packet; a longer rest is not padding and stays."""
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
