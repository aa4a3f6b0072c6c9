"""Turn the user's sound file into the AAC packets of an mp4, as they are needed: own rate, all channels.

Samples are (S C) float32.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from emo.media.decode import (
    best_audio_stream,
    decode_audio,
    first_audio_seconds,
    mix_to_mono,
    open_media,
    resample,
    start_past_end_error,
    trim_chunks,
)

AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
PLAYABLE_LAYOUTS = {*LAYOUTS.values(), "2.1", "quad"}
PLAYABLE_PROFILES = {"LC", "HE-AAC", "HE-AACv2"}
BITS_PER_SECOND = 160_000  # per channel, and no more than AAC can spend at a low sample rate
BITS_PER_SAMPLE = 6
PRIMING_SAMPLES = 4096  # no encoder puts more than that in front


def add_soundtrack(
    container: av.container.OutputContainer,
    path: Path,
    start_seconds: float,
    duration_seconds: float | None,
    max_channels: int | None = None,
) -> Iterator[av.Packet]:
    """Add a sound stream to an mp4; its packets are read and encoded when they are asked for.

    AAC that is used from start to end is copied bit by bit, everything else is encoded at a generous bit rate.

    Args:
        container: The mp4 to write.
        path: The sound, or a video with sound.
        start_seconds: Where to start in the file.
        duration_seconds: How much of it; None: up to the end.
        max_channels: Sound of more channels is mixed to mono; None: all channels are kept.

    Returns:
        The packets in order.

    Raises:
        InputError: The file is missing or unreadable, or has no sound after the start.
    """
    if start_seconds == 0 and duration_seconds is None and _can_be_copied(path, max_channels):
        return _copy(container, path)
    return _encode(container, path, start_seconds, duration_seconds, max_channels)


def _can_be_copied(path: Path, max_channels: int | None) -> bool:
    """Whether it is AAC in an mp4 that starts with the file and whose packets follow one another without edits."""
    with open_media(path) as source:
        stream = best_audio_stream(path, source)
        plain = stream.codec_context.name == "aac" and stream.profile in PLAYABLE_PROFILES
        plain = plain and (max_channels is None or stream.codec_context.channels <= max_channels)
        if not plain or "mp4" not in source.format.name or any(s.start_time for s in source.streams.video):
            return False
        due: int | None = None
        for packet in _packets(source, stream):
            start = packet.pts or 0
            unbroken = start == due if due is not None else start >= -PRIMING_SAMPLES
            if not unbroken or (packet.is_discard and start >= 0):
                return False
            due = start + (packet.duration or 0)
    return due is not None and first_audio_seconds(path) == 0


def _packets(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    return (packet for packet in source.demux(stream) if packet.pts is not None)


def _copy(container: av.container.OutputContainer, path: Path) -> Iterator[av.Packet]:
    with open_media(path) as source:
        stream = container.add_stream_from_template(best_audio_stream(path, source))

    def packets() -> Iterator[av.Packet]:
        with open_media(path) as source:
            for packet in _packets(source, best_audio_stream(path, source)):
                packet.stream = stream
                yield packet

    return packets()


def _encode(
    container: av.container.OutputContainer,
    path: Path,
    start_seconds: float,
    duration_seconds: float | None,
    max_channels: int | None,
) -> Iterator[av.Packet]:
    blocks = decode_audio(path)
    block = next(blocks)
    channels = block.samples.shape[1]
    layout = block.layout if block.layout in PLAYABLE_LAYOUTS else LAYOUTS.get(channels, "mono")
    layout = "mono" if max_channels is not None and channels > max_channels else layout
    rate = next((rate for rate in AAC_RATES if rate >= block.sample_rate), AAC_RATES[-1])
    samples: Iterator[np.ndarray] = (b.samples for b in chain([block], blocks))
    if layout == "mono":
        samples, channels = (mono[:, None] for mono in mix_to_mono(samples)), 1
    samples = trim_chunks(samples, start_seconds, duration_seconds, block.sample_rate)
    first = next(samples, None)
    if first is None:
        raise start_past_end_error(path, start_seconds)
    stream = container.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = stream.codec_context.channels * min(BITS_PER_SECOND, BITS_PER_SAMPLE * rate)
    return encode_samples(stream, resample(chain([first], samples), block.sample_rate, rate, channels), layout)


def encode_samples(stream: av.AudioStream, pieces: Iterable[np.ndarray], layout: str) -> Iterator[av.Packet]:
    """Encode consecutive samples (S C) float32 of a sound that starts at 0.

    Args:
        stream: The stream of a container that is written.
        pieces: Samples at the stream's rate.
        layout: ffmpeg's name of the channel layout.

    Yields:
        The packets in order.
    """
    position = 0
    for samples in pieces:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), "flt", layout)
        frame.sample_rate, frame.time_base = stream.rate, Fraction(1, stream.rate)
        frame.pts = position
        position += len(samples)
        yield from stream.encode(frame)
    yield from stream.encode(None)
