"""Read frames of a video: all of them, at a constant rate, or by number; find damaged spans.

Frames of a video file; frames that come one by one -> mp4 with the user's own sound.

frame (H W 3) uint8 RGB

Some frames of a video of a constant rate, by their numbers, without decoding all that lies before them.

frame (H W 3) uint8 RGB

Where a video is damaged: a decoder paints over what it can't read, and goes on from what it painted.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from itertools import chain
from pathlib import Path

import av
import numpy as np

from emo.core.errors import InputError
from emo.media.color import to_upright_rgb
from emo.media.decode import decoded_frames, first_sound_seconds, open_media

CLOCK_SECONDS = 0.001  # time stamps may be rounded that much
MOST_PIXELS = 67_000_000  # of a frame that is read: twice 8K; beyond lie files made to fill the memory
HDR = (16, 18)  # PQ and HLG, as ITU-T H.273 numbers transfer characteristics


@dataclass(frozen=True)
class VideoInfo:
    width: int  # pixels, upright
    height: int
    fps: float  # frames per second, the mean
    frames: int | None  # None: the file doesn't say
    seconds: float
    hdr: bool  # its light is that of HDR video, which is not tone-mapped here


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and length of a video. Raises InputError: no such file, unreadable, no picture in it."""
    path = Path(path)
    with open_media(path) as container:
        stream, frames = _pictures(path, container)
        first = next(frames)
        width = round(first.width * _pixel_aspect(stream))
        sides = (first.height, width) if first.rotation % 180 else (width, first.height)
        fps = _mean_rate(stream)
        seconds = _stated_seconds(container, stream) or _counted_seconds(_timed(chain([first], frames), fps))
        return VideoInfo(*sides, fps, stream.frames or None, seconds, stream.codec_context.color_trc in HDR)


def read_video(path: str | Path, fps: float | None = None) -> Iterator[np.ndarray]:
    """The frames of a video, upright, (H W 3) uint8 RGB, one by one.

    With `fps` they come at that constant rate from the start of the file (its first picture or sound): frame
    k is what a player shows at k / fps. A picture that is shown twice is the same array twice.

    Raises InputError (with the first frame): no such file, unreadable, no picture in it.
    """
    path = Path(path)
    with open_media(path) as container:
        stream, frames = _pictures(path, container)
        aspect = _pixel_aspect(stream)
        if fps is None:
            yield from (to_upright_rgb(frame, aspect) for frame in frames)
        else:
            sound = first_sound_seconds(path)
            origin = math.inf if sound is None else sound
            yield from _at_constant_rate(_timed(frames, _mean_rate(stream)), fps, origin, aspect)


def _pictures(path: Path, container: av.container.InputContainer) -> tuple[av.VideoStream, Iterator[av.VideoFrame]]:
    """The stream that a player would show and its decoded frames, at least one."""
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{path} has no picture; give a video file")
    if stream.width * stream.height > MOST_PIXELS:
        raise InputError(f"{path}: frames of {stream.width} x {stream.height} are too large; make the video smaller")
    stream.thread_type = "AUTO"
    frames = decoded_frames(container, stream)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path} holds no picture that can be decoded; give another file")
    return stream, chain([first], frames)


def _pixel_aspect(stream: av.VideoStream) -> float:
    """Width over height of a stored pixel: not 1 in anamorphic video."""
    return float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)


def _mean_rate(stream: av.VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _timed(frames: Iterable[av.VideoFrame], rate: float) -> Iterator[tuple[av.VideoFrame, float, float]]:
    """Each frame with its start and end in seconds; a raw stream has no clock but its rate."""
    end = 0.0
    for frame in frames:
        start = end if frame.time is None else frame.time
        end = start + (float(frame.duration * frame.time_base) if frame.duration else 1 / rate)
        yield frame, start, end


def _at_constant_rate(
    timed_frames: Iterable[tuple], fps: float, origin: float, pixel_aspect: float
) -> Iterator[np.ndarray]:
    """What is shown at origin + k / fps, until the last frame's time is over."""
    rgb = lru_cache(maxsize=1)(partial(to_upright_rgb, pixel_aspect=pixel_aspect))
    index, shown, end = 0, None, 0.0
    for frame, start, over in timed_frames:
        if shown is None:
            shown, origin = frame, min(origin, start)
        while origin + index / fps < start - CLOCK_SECONDS:
            yield rgb(shown)
            index += 1
        shown, end = frame, over
    for _ in range(index, max(1, round((end - origin) * fps))):
        yield rgb(shown)


def _stated_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _counted_seconds(timed_frames: Iterable[tuple]) -> float:
    """The length of a video whose header doesn't state it."""
    spans = [(start, end) for _, start, end in timed_frames]
    return spans[-1][1] - spans[0][0]


def pick_frames(video: bytes, name: str, numbers: Sequence[int], fps: float) -> np.ndarray:
    """(N H W 3): the frames of these numbers, in any order, of a file of `fps` frames per second with a keyframe
    about every second. One thread: many files are read at a time.

    Raises InputError, which calls the file `name`: it can't be read, or lacks one of the frames whole.
    """
    found = {}
    try:
        with av.open(BytesIO(video), metadata_errors="replace") as container:
            if not container.streams.video:
                raise InputError(f"{name} has no picture")
            container.streams.video[0].thread_type = "NONE"
            frames, at = iter(()), None  # what is decoded next has number `at` or more
            for number in sorted({*numbers}):
                if at is None or number - at > fps:
                    frames = frames_from(container, number, fps)
                found[number] = to_upright_rgb(whole(frames, name, number))
                at = number + 1
    except av.FFmpegError as error:
        raise InputError(f"{name} can't be read as video ({error.strerror})") from error
    return np.stack([found[number] for number in numbers])


def whole(frames: Iterator[tuple[int, av.VideoFrame | None]], name: str, number: int) -> av.VideoFrame:
    """The next frame of this number. Raises InputError where it is missing or not whole."""
    at, frame = next(((at, frame) for at, frame in frames if at >= number), (None, None))
    if at != number or frame is None:
        raise InputError(f"{name}: frame {number} can't be decoded")
    return frame


def frames_from(container, number: int, fps: float) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Numbered frames, from the last keyframe that is not behind this one. None: a hole that the decoder painted over,
    and what it made from that up to the next keyframe."""
    stream = container.streams.video[0]
    start, due, torn = stream.start_time or 0, None, False
    container.seek(start + round(number / fps / stream.time_base), stream=stream)
    for packet in whole_packets(container):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # those before it in time may be made from it, and come after it
            frames, torn = [], True
        for frame in frames:
            if frame.pts is not None:
                at = round(float((frame.pts - start) * stream.time_base) * fps)
                torn = frame.is_corrupt or not frame.key_frame and (torn or at != due)
                due = at + 1
                yield at, None if torn else frame


def damaged_spans(path: Path) -> list[tuple[float, float]]:
    """Seconds after the file's start (its first picture or sound): from each picture that can't be read whole to the
    next keyframe that can. Raises InputError: no such file, unreadable."""
    sound, spans, since, start, now = first_sound_seconds(path), [], None, math.inf, 0.0
    with open_media(path) as container:
        for packet in whole_packets(container):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                frames, since = [], now if since is None else since
            for frame in frames:
                now = now if frame.time is None else frame.time
                start = min(start, now)
                if frame.is_corrupt:
                    since = now if since is None else since
                elif since is not None and frame.key_frame:
                    spans.append((since, now))
                    since = None
    spans += [] if since is None else [(since, math.inf)]
    origin = min(start, math.inf if sound is None else sound)
    return [(first - origin, end - origin) for first, end in spans]


def whole_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Those of the pictures that a player would show, up to where the file ends or is cut off."""
    with suppress(av.InvalidDataError):
        yield from container.demux(container.streams.best("video"))
