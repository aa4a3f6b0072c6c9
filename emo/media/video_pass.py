"""Decode a video once and feed every frame to all observers.

A `VideoPass` cuts the video into shots. Of the shot that goes by, an observer keeps what it needs; the pass itself
holds three frames, however long the video is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import av
import numpy as np

from emo.core.errors import InputError
from emo.media.color import to_upright_rgb
from emo.media.decode import first_audio_seconds, open_media
from emo.media.shots import mark_shots
from emo.media.video import (
    HDR_TRANSFERS,
    MAX_FRAME_PIXELS,
    VideoInfo,
    mean_frame_rate,
    pixel_aspect,
    readable_packets,
    show_at_constant_rate,
    stated_seconds,
    time_frames,
)

WHOLE_VIDEO = ((0.0, math.inf),)


@dataclass(frozen=True)
class Shot:
    """Consecutive frames without a cut.

    Attributes:
        first_frame: Number of its first frame in the video.
        end: Number of the frame after its last.
        damaged_spans: All parts of the video up to here that could not be decoded intact, start and end in seconds
            after the file's start; infinity for a part that has not ended.
    """

    first_frame: int
    end: int
    damaged_spans: Sequence[tuple[float, float]] = ()


class VideoObserver:
    """What a `VideoPass` feeds. Override the methods you need; the pass calls them in this order.

    `start_video`, then for each shot `start_shot`, `add_frame` for each of its frames and `end_shot`, then `end_video`.
    An exception that a method raises ends the pass.
    """

    def start_video(self, info: VideoInfo) -> None:
        """Start, once the first frame is decoded; `info.seconds` is NaN where the file does not state its length."""

    def start_shot(self, first_frame: int) -> None:
        """Start a shot, before its first frame is added."""

    def add_frame(self, number: int, frame: np.ndarray) -> None:
        """Receive the next frame.

        Args:
            number: Number of the frame, which is shown at number / fps seconds.
            frame: (H W 3) uint8 RGB; it must not be changed.
        """

    def end_shot(self, shot: Shot) -> None:
        """End a shot, after its last frame was added."""

    def end_video(self, num_frames: int) -> None:
        """End, after `num_frames` frames were decoded and resampled."""


class VideoPass:
    """One decode of a video for many observers."""

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        *,
        spans: Sequence[tuple[float, float]] = WHOLE_VIDEO,
        find_shots: bool = True,
        max_shot_seconds: float = math.inf,
    ):
        """Describe a pass; `run` does it.

        Args:
            path: A video file.
            fps: Constant rate at which frames come (as `read_video`); None: each decoded frame, at the mean rate.
            spans: The parts that are wanted, (start, end) in seconds; each is a shot of its own or more. Where two
                overlap, the one that starts first has the frames. What lies after the last is not decoded.
            find_shots: Cut at shot boundaries; else a span is one shot.
            max_shot_seconds: A longer shot is cut after so many seconds.
        """
        self.path, self.fps, self.spans = Path(path), fps, spans
        self.find_shots, self.max_shot_seconds = find_shots, max_shot_seconds

    def run(self, *observers: VideoObserver) -> None:
        """Decode the video and call the observers, in their order for each event.

        Raises:
            InputError: The file does not exist, can't be read or has no picture; or what an observer raises.
        """
        for _ in self.iterate(*observers):
            pass

    def iterate(self, *observers: VideoObserver) -> Iterator[tuple[int, np.ndarray]]:
        """Run as `run` does and yield each frame after the observers received it, to decode several videos in
        parallel.

        Args:
            observers: Objects that receive each frame.

        Yields:
            The frame's number and the frame (H W 3) uint8 RGB.

        Raises:
            InputError: The video has no picture that can be decoded.
        """
        with open_media(self.path) as container:
            stream = self._open_stream(container)
            audio_start = first_audio_seconds(self.path)
            damage = DamageDetector(math.inf if audio_start is None else audio_start)
            frames = damage.decode(container)
            first = next(frames, None)
            if first is None:
                raise InputError(f"{self.path} holds no picture that can be decoded; give another file")
            info = describe_stream(container, stream, first)
            for observer in observers:
                observer.start_video(info)
            pictures = self._read(chain([first], frames), stream, damage.audio_start)
            yield from self._feed(pictures, self.fps or info.fps, damage, observers)

    def _open_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        """The stream that a player would show, ready to be decoded."""
        stream = container.streams.best("video")
        if stream is None:
            raise InputError(f"{self.path} has no picture; give a video file")
        if stream.width * stream.height > MAX_FRAME_PIXELS:
            size = f"{stream.width} x {stream.height}"
            raise InputError(f"{self.path}: frames of {size} are too large; make the video smaller")
        stream.thread_type = "AUTO"
        for other in container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all
        return stream

    def _read(
        self, frames: Iterator[av.VideoFrame], stream: av.VideoStream, audio_start: float
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """Each frame as RGB at the wanted rate, and whether a shot starts with it."""
        aspect = pixel_aspect(stream)
        if self.fps is None:
            pictures = (to_upright_rgb(frame, aspect) for frame in frames)
        else:
            pictures = show_at_constant_rate(
                time_frames(frames, mean_frame_rate(stream)), self.fps, audio_start, aspect
            )
        return mark_shots(pictures) if self.find_shots else ((picture, False) for picture in pictures)

    def _feed(
        self,
        pictures: Iterator[tuple[np.ndarray, bool]],
        fps: float,
        damage: "DamageDetector",
        observers: Sequence[VideoObserver],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Cut the frames into shots, call the observers and yield each frame."""
        ranges, first, number = frame_ranges(self.spans, fps), None, -1

        def end_shot(end: int) -> None:
            if first is not None:
                shot = Shot(first, end, damage.list_spans())
                for observer in observers:
                    observer.end_shot(shot)

        for number, (picture, is_cut) in enumerate(pictures):
            while ranges and ranges[0][1] <= number:
                ranges.pop(0)
                end_shot(number)
                first = None
            if not ranges:
                break
            if number < ranges[0][0]:
                continue
            if first is None or is_cut or number - first >= self.max_shot_seconds * fps:
                end_shot(number)
                first = number
                for observer in observers:
                    observer.start_shot(number)
            for observer in observers:
                observer.add_frame(number, picture)
            yield number, picture
        end_shot(number + 1)
        for observer in observers:
            observer.end_video(number + 1)


def frame_ranges(spans: Sequence[tuple[float, float]], fps: float) -> list[tuple[int, float]]:
    """Turn spans in seconds into ranges of frames that do not overlap.

    Args:
        spans: Start and end of each span, seconds; an end may be infinity.
        fps: Frames per second.

    Returns:
        For each span, in order, its first frame and the one after its last, which may be infinity.
    """
    ranges, passed = [], 0
    for start, end in sorted(spans):
        first, last = max(passed, round(start * fps)), end * fps if math.isinf(end) else int(end * fps)
        if last > first:
            ranges.append((first, last))
            passed = last
    return ranges


def describe_stream(container: av.container.InputContainer, stream: av.VideoStream, first: av.VideoFrame) -> VideoInfo:
    """Read size, rate and length of a video.

    Args:
        container: The opened file of PyAV.
        stream: Its video stream.
        first: The first decoded frame.

    Returns:
        The description; the length is NaN where it is not stated.
    """
    width = round(first.width * pixel_aspect(stream))
    sides = (first.height, width) if first.rotation % 180 else (width, first.height)
    seconds = stated_seconds(container, stream) or math.nan
    hdr = stream.codec_context.color_trc in HDR_TRANSFERS
    return VideoInfo(*sides, mean_frame_rate(stream), stream.frames or None, seconds, hdr)


@dataclass
class DamageDetector:
    """Find the parts of a video in which frames are damaged, while it is decoded.

    A decoder fills in what it can't read and predicts the following frames from that. So a damaged part reaches from
    each frame that can't be decoded intact to the next keyframe that can.
    """

    audio_start: float  # time stamp of the first sound, in seconds; infinity without sound
    picture_start: float = math.inf  # time stamp of the first picture
    now: float = 0.0  # time stamp of the newest frame
    since: float | None = None  # start of the part that has not ended
    spans: list[tuple[float, float]] = field(default_factory=list)

    def decode(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        """Yield the frames of the stream that a player would show, up to where the file ends or is cut off."""
        for packet in readable_packets(container):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                frames, self.since = [], self.now if self.since is None else self.since
            for frame in frames:
                self.add(frame)
                yield frame

    def add(self, frame: av.VideoFrame) -> None:
        """Take the next decoded frame into account."""
        self.now = self.now if frame.time is None else frame.time
        self.picture_start = min(self.picture_start, self.now)
        if frame.is_corrupt:
            self.since = self.now if self.since is None else self.since
        elif self.since is not None and frame.key_frame:
            self.spans.append((self.since, self.now))
            self.since = None

    def list_spans(self) -> list[tuple[float, float]]:
        """Start and end of each damaged part so far, in seconds after the file's start (its first picture or sound)."""
        origin = min(self.picture_start, self.audio_start)
        spans = self.spans + ([] if self.since is None else [(self.since, math.inf)])
        return [(first - origin, end - origin) for first, end in spans]
