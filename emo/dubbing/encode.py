"""Encode the changed parts of a film again, in its own codec, size, pixel format and colors, each to a file.

A part's packets are written to a file of their own as soon as they are complete, so that a killed run goes on with the
part where it stopped. No B-frames are used: packets come in the order in which frames are shown, and the film's own
decoding times fit them.
"""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from emo.core.errors import InputError
from emo.core.files import atomic_file
from emo.dubbing.bitstream import (
    free_header_id,
    header_units,
    is_length_prefixed,
    join_units,
    length_bytes,
    merge_avc_headers,
    split_units,
)
from emo.dubbing.film import Film

DEFAULT_CRF = 16.0  # of x264: no difference is seen; other encoders get their own value for it
WHOLE_FILM_CODEC = "h264"  # of films whose own codec can't be written


@dataclass(frozen=True)
class Encoder:
    """How a codec is written.

    Attributes:
        name: ffmpeg's name of the encoder.
        options: Its options.
        crf: Value of its quality option at DEFAULT_CRF, and by how much one step of crf changes it; None: no choice.
        quality: Name of that option.
        mixes: Whether parts of it may stand beside packets of another encoder.
    """

    name: str
    options: dict[str, str]
    crf: tuple[float, float] | None
    quality: str = "crf"
    mixes: bool = True


ENCODERS = {
    "h264": Encoder("libx264", {"preset": "veryfast", "bf": "0"}, (16, 1)),
    "hevc": Encoder("libx265", {"preset": "veryfast"}, (17, 1)),
    "vp9": Encoder("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "b": "0", "lag-in-frames": "0"}, (20, 1.2)),
    "vp8": Encoder("libvpx", {"deadline": "realtime", "cpu-used": "6", "b": "20M", "lag-in-frames": "0"}, (8, 1.2)),
    "av1": Encoder("libsvtav1", {"preset": "9", "svtav1-params": "pred-struct=1:log=-1"}, (20, 1.2)),
    "prores": Encoder("prores_ks", {}, None),
    "mjpeg": Encoder("mjpeg", {"qmin": "1"}, (2, 0.5), "qscale"),
    "mpeg4": Encoder("mpeg4", {"qmin": "1"}, (2, 0.5), "qscale"),
    "mpeg2video": Encoder("mpeg2video", {"qmin": "1"}, (2, 0.5), "qscale"),
    "dnxhd": Encoder("dnxhd", {"profile": "dnxhr_hq"}, None, mixes=False),
    "ffv1": Encoder("ffv1", {"level": "3"}, None, mixes=False),
}
PRORES_PROFILES = {"apco": "0", "apcs": "1", "apcn": "2", "apch": "3", "ap4h": "4", "ap4x": "5"}


@dataclass(frozen=True)
class EncodedPacket:
    """A packet of a part."""

    data: bytes
    frame: int  # number of the frame in the film
    is_keyframe: bool


class PartEncoder:
    """Encodes parts of a film so that they fit between its own packets.

    Args:
        film: The film.
        crf: 0 (lossless) to 51, as of x264.
        profile_tag: The container's four letters of the codec, which name the profile of ProRes.

    Raises:
        InputError: There is no encoder for the codec and pixel format.
    """

    def __init__(self, film: Film, crf: float = DEFAULT_CRF, profile_tag: str = ""):
        self.film, self.crf, self._tag = film, crf, profile_tag
        self.codec = film.codec if film.codec in ENCODERS else WHOLE_FILM_CODEC
        self.encoder = ENCODERS[self.codec]
        names = {item.name for item in av.Codec(self.encoder.name, "w").video_formats or ()}
        if names and film.pixel_format not in names:
            problem = f"{film.codec} with pixel format {film.pixel_format} can't be written"
            raise InputError(f"{film.path}: {problem}; convert the film to yuv420p")
        self.prefix = 0
        if self.codec in ("h264", "hevc") and film.codec == self.codec and is_length_prefixed(film.extradata):
            self.prefix = length_bytes(self.codec, film.extradata)
        self.header_id = free_header_id(film.extradata) if self.codec == "h264" and film.codec == "h264" else 0

    @property
    def can_mix(self) -> bool:
        """Whether parts that are not changed can be copied beside parts that are."""
        return self.film.codec == self.codec and self.encoder.mixes

    def headers(self) -> bytes:
        """Return the container's headers for a stream in which copied and encoded parts stand side by side."""
        if self.codec == "h264" and self.prefix:
            return merge_avc_headers(self.film.extradata, bytes(self._open(global_header=True).extradata))
        return self.film.extradata

    def headers_in_stream(self) -> bytes:
        """Return what must stand before a copied part that follows an encoded one; empty where nothing must."""
        if not self.can_mix or not self.film.extradata:
            return b""
        if self.codec == "hevc" or (self.codec == "h264" and not self.prefix):
            return join_units(header_units(self.codec, self.film.extradata), self.prefix)
        return self.film.extradata if self.codec == "mpeg4" else b""

    def encode(self, frames: Iterable[tuple[int, av.VideoFrame]], path: Path) -> None:
        """Encode frames to a file of packets, which takes its name when it is complete.

        Args:
            frames: Number in the film, and the frame with the film's tags, in the order in which they are shown.
            path: The file.
        """
        context, numbers, packets = self._open(self._header_in_container), [], []
        with atomic_file(path) as partial, open(partial, "wb") as file:
            for index, (number, frame) in enumerate(frames):
                numbers.append(number)
                frame.pts, frame.time_base = index, 1 / self._rate
                frame.pict_type = 0
                packets += self._write(file, context.encode(frame), numbers)
            packets += self._write(file, context.encode(None), numbers)
            head = json.dumps(packets).encode()
            file.write(head + struct.pack("<Q", len(head)))

    def _write(self, file, packets, numbers: list[int]) -> list[tuple[int, int, bool]]:
        """Write packets and return size, frame number and whether each is a keyframe."""
        written = []
        for packet in packets:
            data = bytes(packet)
            if self.prefix:
                data = join_units([unit for unit in split_units(data, 0) if unit], self.prefix)
            file.write(data)
            written.append((len(data), numbers[packet.pts], bool(packet.is_keyframe)))
        return written

    @property
    def _header_in_container(self) -> bool:
        return not self.can_mix or (self.codec == "h264" and self.prefix > 0)

    @property
    def _rate(self) -> Fraction:
        return Fraction(self.film.fps).limit_denominator(1001)

    def _open(self, global_header: bool) -> av.VideoCodecContext:
        """A new encoder with the film's properties."""
        context = av.CodecContext.create(self.encoder.name, "w")
        assert isinstance(context, av.VideoCodecContext)
        self.configure(context, global_header)
        context.open()
        return context

    def configure(self, context: av.VideoCodecContext, global_header: bool) -> None:
        """Give an encoder the film's size, pixel format, rate and colors, and the quality.

        Args:
            context: An encoder of the name `self.encoder.name` that is not open.
            global_header: Whether headers go to the container instead of the stream.
        """
        film = self.film
        context.width, context.height = film.size
        context.pix_fmt = film.pixel_format
        context.framerate, context.time_base = self._rate, 1 / self._rate
        context.gop_size = max(1, round(film.fps * 5))
        context.thread_count = 2
        aspect = Fraction(film.aspect).limit_denominator(1000)
        if aspect != 1:
            context.sample_aspect_ratio = aspect
        options = dict(self.encoder.options)
        if self.encoder.crf is not None:
            base, step = self.encoder.crf
            value = max(0.0, base + step * (self.crf - DEFAULT_CRF))
            if self.encoder.quality == "qscale":
                value = min(31.0, max(1.0, value))
                context.qmin = context.qmax = round(value)
            else:
                options[self.encoder.quality] = (
                    f"{value:g}" if self.encoder.name in ("libx264", "libx265") else f"{value:.0f}"
                )
        if self.codec == "h264":
            options["x264-params"] = f"sps-id={self.header_id}"
        if self.codec == "hevc":
            options["x265-params"] = "log-level=none:bframes=0:repeat-headers=1:open-gop=0:pools=none:frame-threads=2"
        if self.codec == "prores":
            options["profile"] = PRORES_PROFILES.get(self._tag, "3")
        context.options = options
        self._tag_colors(context)
        if global_header:
            context.flags |= av.codec.context.Flags.global_header

    def _tag_colors(self, context: av.VideoCodecContext) -> None:
        """Give the encoder the color tags of the film's stream."""
        with av.open(str(self.film.path.absolute()), metadata_errors="replace") as container:
            source = container.streams[self.film.stream_index].codec_context
            for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
                value = getattr(source, name)
                if value is not None:
                    setattr(context, name, value)


def read_part(path: Path) -> Iterator[EncodedPacket]:
    """Yield the packets of a part's file, in order."""
    with open(path, "rb") as file:
        file.seek(-8, 2)
        end = file.tell()
        (size,) = struct.unpack("<Q", file.read(8))
        file.seek(end - size)
        packets = json.loads(file.read(size))
        file.seek(0)
        for length, number, is_keyframe in packets:
            yield EncodedPacket(file.read(length), number, is_keyframe)


def decode_times(film: Film, first_packet: int, end_packet: int, pts: np.ndarray) -> np.ndarray:
    """Choose the decoding times of an encoded part.

    Without B-frames, the sorted times of the packets that are replaced fit: the k-th of them is not later than the k-th
    frame that is shown.

    Args:
        film: The film.
        first_packet: First packet that is replaced.
        end_packet: The packet after the last one.
        pts: (N,) time stamps of the encoded packets, ascending.

    Returns:
        (N,) int64.
    """
    old = np.sort(film.dts[first_packet:end_packet])
    return old if len(old) == len(pts) else pts - film.delay
