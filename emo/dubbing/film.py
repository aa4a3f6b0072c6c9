"""A film as its packets: which frames it has, at which times, and where it can be cut into parts without decoding.

A part is a run of packets that decodes by itself: it starts with a keyframe that resets the decoder, and no later
packet shows a frame before it (a closed group of pictures). Parts whose faces stay as they are can be copied packet by
packet; the others are decoded, changed and encoded again.

Frames are numbered in the order in which they are shown. Times are seconds after the film's start, its first picture or
sound. P packets of the video stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np

from emo.core.errors import InputError
from emo.dubbing.bitstream import resets_decoder
from emo.media.decode import open_media, read_packets
from emo.media.video import MAX_FRAME_PIXELS, mean_frame_rate, pixel_aspect
from emo.media.yuv import check_pixel_format

INTRA_CODECS = {"prores", "mjpeg", "dnxhd", "png", "rawvideo", "huffyuv", "utvideo"}  # every packet is a keyframe


@dataclass(frozen=True)
class Part:
    """Packets first_packet .. end_packet - 1, which show the frames first_frame .. end_frame - 1."""

    first_packet: int
    end_packet: int
    first_frame: int
    end_frame: int


@dataclass(frozen=True)
class Film:
    """What is known of a film without decoding it.

    Attributes:
        path: The file.
        format: ffmpeg's name of the container.
        codec: ffmpeg's name of the video's codec.
        pixel_format: ffmpeg's name of the pixel format.
        size: Width and height as stored, pixels.
        aspect: Width over height of a stored pixel.
        quarter_turns: How many times stored frames are turned counterclockwise by 90 degrees to be upright.
        fps: Mean frames per second.
        time_base: Unit of pts and dts, seconds.
        pts, dts: (P,) int64 in the order of decoding.
        starts: Numbers of the packets at which a part may start, the first is 0.
        end_pts: End of the last frame.
        origin_seconds: Time stamp of the film's start.
        stream_index: Of the video stream.
        has_sound: Whether there is an audio stream.
        extradata: The codec's headers as the container holds them.
    """

    path: Path
    format: str
    codec: str
    pixel_format: str
    size: tuple[int, int]
    aspect: float
    quarter_turns: int
    fps: float
    time_base: Fraction
    pts: np.ndarray
    dts: np.ndarray
    starts: tuple[int, ...]
    end_pts: int
    origin_seconds: float
    stream_index: int
    has_sound: bool
    extradata: bytes

    @cached_property
    def frame_pts(self) -> np.ndarray:
        """(P,) time stamps of the frames as they are shown."""
        return np.sort(self.pts)

    @cached_property
    def frame_seconds(self) -> np.ndarray:
        """(P,) times of the frames."""
        return self.to_seconds(self.frame_pts)

    @property
    def delay(self) -> int:
        """How long before it is shown the first frame is decoded, in the time base."""
        return max(0, int(self.frame_pts[0] - self.dts.min()))

    @property
    def seconds(self) -> float:
        """Length of the picture in seconds."""
        return float(self.to_seconds(self.end_pts))

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as shown, pixels."""
        width, height = round(self.size[0] * self.aspect), self.size[1]
        return (height, width) if self.quarter_turns % 2 else (width, height)

    def to_seconds(self, pts):
        """Convert time stamps to seconds after the film's start.

        Args:
            pts: A time stamp or an array of them, in the time base.

        Returns:
            Seconds, of the same shape.
        """
        return pts * float(self.time_base) - self.origin_seconds

    def to_stored(self) -> np.ndarray:
        """Return the affine map (2 3) from pixels of the upright picture to those of the stored frame."""
        width, height = self.size[0] * self.aspect, self.size[1]
        turned = {
            0: [[1, 0, 0], [0, 1, 0]],
            1: [[0, -1, width], [1, 0, 0]],
            2: [[-1, 0, width], [0, -1, height]],
            3: [[0, 1, 0], [-1, 0, height]],
        }[self.quarter_turns % 4]
        return np.diag([1 / self.aspect, 1.0]) @ np.array(turned, dtype=float)

    def parts(self) -> list[Part]:
        """Return the smallest parts."""
        ends = [*self.starts[1:], len(self.pts)]
        return [Part(first, end, first, end) for first, end in zip(self.starts, ends, strict=True)]

    def frame_numbers(self, start_seconds: float, end_seconds: float) -> tuple[int, int]:
        """Find the frames that start in a span of time.

        Args:
            start_seconds: Start of the span.
            end_seconds: Its end.

        Returns:
            The first frame, and the frame after the last.
        """
        first, end = np.searchsorted(self.frame_seconds, [start_seconds - 1e-6, end_seconds - 1e-6])
        return int(first), int(end)


def open_film(path: str | Path) -> Film:
    """Read the packets of a film, without decoding more than its first frame.

    Args:
        path: A video file.

    Returns:
        The description.

    Raises:
        InputError: The file has no picture, is interlaced, or has a pixel format that can't be changed in place.
    """
    path = Path(path)
    with open_media(path) as container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise InputError(f"{path} has no picture; give a video file")
        context = stream.codec_context
        if stream.width * stream.height > MAX_FRAME_PIXELS:
            raise InputError(
                f"{path}: frames of {stream.width} x {stream.height} are too large; make the video smaller"
            )
        origin = min(
            (float(s.start_time * s.time_base) for s in _timed_streams(container) if s.start_time is not None),
            default=0.0,
        )
        extradata = context.extradata or b""
        pts, dts, starts, end = _read_packets(container, stream, extradata)
        if not pts:
            raise InputError(f"{path} holds no picture that can be decoded; give another file")
        aspect = pixel_aspect(stream)
        info = (container.format.name, context.codec.canonical_name, context.format, (stream.width, stream.height))
        fps, time_base, sound = mean_frame_rate(stream), stream.time_base, container.streams.best("audio")
        index = stream.index
    first = _first_frame(path)
    if first.interlaced_frame:
        raise InputError(f"{path} is interlaced, which can't be changed frame by frame; deinterlace it first")
    pixel_format = first.format if info[2] is None else info[2]
    check_pixel_format(pixel_format, str(path))
    return Film(
        path,
        info[0],
        info[1],
        pixel_format.name,
        info[3],
        aspect,
        round(first.rotation / 90) % 4,
        fps,
        time_base,
        np.array(pts),
        np.array(dts),
        tuple(starts),
        end,
        origin,
        index,
        sound is not None,
        extradata,
    )


def _timed_streams(container) -> list:
    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover]
    return [*videos, *container.streams.audio]


def _read_packets(container, stream, extradata: bytes) -> tuple[list[int], list[int], list[int], int]:
    """Time stamps of all packets, at which packets a part may start, and the end of the last frame."""
    pts, dts, keys, end = [], [], [], 0
    codec = stream.codec_context.codec.canonical_name
    for packet in _packets(container, stream):
        shown = _shown_at(packet)
        if packet.is_keyframe and (codec in INTRA_CODECS or not keys or resets_decoder(codec, packet, extradata)):
            keys.append(len(pts))
        pts.append(shown)
        dts.append(packet.dts if packet.dts is not None else shown)
        end = max(end, shown + (packet.duration or 0))
    if not pts:
        return [], [], [], 0
    if end <= max(pts) and len(pts) > 1:
        end = max(pts) + (max(pts) - min(pts)) // (len(pts) - 1)
    low = np.minimum.accumulate(np.array(pts)[::-1])[::-1]  # the earliest time stamp from here on
    return pts, dts, [0, *(k for k in keys if k and low[k] >= pts[k])], end


def _shown_at(packet) -> int:
    return packet.pts if packet.pts is not None else packet.dts


def _packets(container, stream) -> Iterator[av.Packet]:
    return (p for p in read_packets(container, stream) if p.size and _shown_at(p) is not None)


def _first_frame(path: Path) -> av.VideoFrame:
    with open_media(path) as container:
        stream = container.streams.best("video")
        for packet in _packets(container, stream):
            for frame in packet.decode():
                return frame
        for frame in stream.codec_context.decode(None):
            return frame
    raise InputError(f"{path} holds no picture that can be decoded; give another file")


class FilmReader:
    """Decodes parts of a film; going forward costs the reading of what lies between, going back starts anew."""

    def __init__(self, film: Film):
        self.film = film
        self._container: Any = None
        self._stream: Any = None
        self._packets: Iterator[av.Packet] = iter(())
        self._next = 0  # number of the next packet

    def __enter__(self) -> "FilmReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def read(self, part: Part) -> Iterator[av.Packet]:
        """Yield the packets of a part in the order of decoding."""
        if self._container is None or part.first_packet < self._next:
            self.close()
            self._container = av.open(str(self.film.path.absolute()), metadata_errors="replace")
            self._stream = self._container.streams[self.film.stream_index]
            self._stream.thread_type = "AUTO"
            self._packets, self._next = _packets(self._container, self._stream), 0
        while self._next < part.end_packet:
            packet = next(self._packets, None)
            if packet is None:
                return
            self._next += 1
            if self._next > part.first_packet:
                yield packet

    def decode(self, part: Part) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the frames of a part as they are shown, with their numbers."""
        for packet in self.read(part):
            yield from self._number(self._decode(packet))
        yield from self._number(self._decode(None))
        self._stream.codec_context.flush_buffers()

    def _decode(self, packet) -> list[av.VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except av.EOFError:
            return []
        except av.FFmpegError:  # a damaged packet: its frames are missing, as a player would skip them
            return []

    def _number(self, frames: list[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        for frame in frames:
            shown = frame.pts if frame.pts is not None else frame.dts
            if shown is not None:
                yield int(np.searchsorted(self.film.frame_pts, shown)), frame
