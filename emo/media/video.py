"""Read the frames of a video: all of them, at a constant rate, or some by their numbers.

Frames are (H W 3) uint8 RGB.
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
from emo.media.decode import decode_frames, first_audio_seconds, open_media

VIDEO_SUFFIXES = {".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"}
CLOCK_SECONDS = 0.001  # time stamps may be rounded that much
MAX_FRAME_PIXELS = 67_000_000  # of a frame that is read: twice 8K; larger ones are made to fill the memory
HDR_TRANSFERS = (16, 18)  # PQ and HLG, as ITU-T H.273 numbers transfer characteristics


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says, and its first frame."""

    width: int  # pixels, upright
    height: int
    fps: float  # frames per second, the mean
    frames: int | None  # None: the file does not state it
    seconds: float
    hdr: bool  # its transfer characteristic is that of HDR video, which is not tone-mapped here


def probe_video(path: str | Path) -> VideoInfo:
    """Read the size, rate and length of a video. Raises InputError without a readable picture."""
    path = Path(path)
    with open_media(path) as container:
        stream, frames = decode_pictures(path, container)
        first = next(frames)
        width = round(first.width * pixel_aspect(stream))
        sides = (first.height, width) if first.rotation % 180 else (width, first.height)
        fps = mean_frame_rate(stream)
        seconds = stated_seconds(container, stream) or _counted_seconds(time_frames(chain([first], frames), fps))
        return VideoInfo(*sides, fps, stream.frames or None, seconds, stream.codec_context.color_trc in HDR_TRANSFERS)


def read_video(path: str | Path, fps: float | None = None) -> Iterator[np.ndarray]:
    """Read the frames of a video one by one, upright and with square pixels.

    Args:
        path: The file.
        fps: A constant rate from the start of the file (its first picture or sound): frame k is what a player shows at
            k / fps. None: the frames as they are stored.

    Yields:
        (H W 3) uint8 RGB. A picture that is shown twice is the same array twice.

    Raises:
        InputError: With the first frame: the file is missing, unreadable or has no picture.
    """
    path = Path(path)
    with open_media(path) as container:
        stream, frames = decode_pictures(path, container)
        aspect = pixel_aspect(stream)
        if fps is None:
            yield from (to_upright_rgb(frame, aspect) for frame in frames)
        else:
            sound = first_audio_seconds(path)
            origin = math.inf if sound is None else sound
            yield from show_at_constant_rate(time_frames(frames, mean_frame_rate(stream)), fps, origin, aspect)


def decode_pictures(
    path: Path, container: av.container.InputContainer
) -> tuple[av.VideoStream, Iterator[av.VideoFrame]]:
    """Choose the stream that a player would show and decode it.

    Args:
        path: The file, for messages.
        container: The opened file of PyAV.

    Returns:
        The stream, and its decoded frames.

    Raises:
        InputError: The file has no video stream, too large frames, or no frame that can be decoded.
    """
    stream = container.streams.best("video")
    if stream is None:
        raise InputError(f"{path} has no picture; give a video file")
    if stream.width * stream.height > MAX_FRAME_PIXELS:
        raise InputError(f"{path}: frames of {stream.width} x {stream.height} are too large; make the video smaller")
    stream.thread_type = "AUTO"
    frames = decode_frames(container, stream)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path} holds no picture that can be decoded; give another file")
    return stream, chain([first], frames)


def pixel_aspect(stream: av.VideoStream) -> float:
    """Width over height of a stored pixel, which is not 1 in anamorphic video."""
    return float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)


def mean_frame_rate(stream: av.VideoStream) -> float:
    """Return the header's frames per second, 25 where it states none."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def time_frames(frames: Iterable[av.VideoFrame], rate: float) -> Iterator[tuple[av.VideoFrame, float, float]]:
    """Yield each frame with its time; in a raw stream, the rate alone gives it.

    Args:
        frames: Decoded frames of PyAV.
        rate: Frames per second where the file states no times.

    Yields:
        The frame, its start and its end in seconds.
    """
    end = 0.0
    for frame in frames:
        start = end if frame.time is None else frame.time
        end = start + (float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / rate)
        yield frame, start, end


def show_at_constant_rate(
    timed_frames: Iterable[tuple], fps: float, origin: float, pixel_aspect: float
) -> Iterator[np.ndarray]:
    """Yield the pictures that are shown at origin + k / fps, up to the end of the last frame.

    Args:
        timed_frames: Frames with their start and end in seconds, of `time_frames`.
        fps: Frames per second of the result.
        origin: Time of the first picture, seconds.
        pixel_aspect: Width of a pixel over its height.

    Yields:
        (H W 3) uint8 RGB.
    """
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


def stated_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Read the length that the header states.

    Args:
        container: The opened file of PyAV.
        stream: Its video stream.

    Returns:
        Seconds; None where the length is not stated.
    """
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _counted_seconds(timed_frames: Iterable[tuple]) -> float:
    """The length of a video whose header does not state it, by reading it."""
    spans = [(start, end) for _, start, end in timed_frames]
    return spans[-1][1] - spans[0][0]


def read_frames_by_number(video: bytes, name: str, numbers: Sequence[int], fps: float) -> np.ndarray:
    """Read some frames by seeking; decodes in one thread, as many files are read at a time.

    Args:
        video: The file's bytes, a video of a constant rate with a keyframe about every second.
        name: Name of the file, for messages.
        numbers: Numbers of the frames, in any order.
        fps: Frames per second.

    Returns:
        (N H W 3) uint8 RGB.

    Raises:
        InputError: The video can't be read, or one of the frames is missing or damaged.
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
                    frames = seek_frames(container, number, fps)
                found[number] = to_upright_rgb(next_intact_frame(frames, name, number))
                at = number + 1
    except av.FFmpegError as error:
        raise InputError(f"{name} can't be read as video ({error.strerror})") from error
    return np.stack([found[number] for number in numbers])


def read_frames_with_decord(video: bytes, name: str, numbers: Sequence[int], fps: float) -> np.ndarray:
    """Read some frames as `read_frames_by_number` does, with decord (extra `train`).

    decord takes the nearest color sample where PyAV interpolates: on prepared clips colors differ by 2 levels of 255 in
    the mean, at edges by up to 53. It does not notice a frame that the decoder has filled in after damage.

    Args:
        video: The file's bytes, a video of a constant rate.
        name: Name of the file, for messages.
        numbers: Numbers of the frames, in any order.
        fps: Frames per second.

    Returns:
        (N H W 3) uint8 RGB.

    Raises:
        InputError: The video can't be read, or one of the frames is missing.
    """
    import decord

    try:
        reader = decord.VideoReader(BytesIO(video), num_threads=1)
        stated = range(len(reader))
        missing = [number for number in numbers if number not in stated]
        if not missing:
            times = reader.get_frame_timestamp([0, *numbers])[:, 0]
            due = np.asarray(numbers) / fps
            missing = np.asarray(numbers)[np.abs(times[1:] - times[0] - due) > 0.5 / fps].tolist()
        if missing:
            raise InputError(f"{name}: frame {missing[0]} can't be decoded")
        return reader.get_batch([*numbers]).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:  # its own messages are pages long
        raise InputError(f"{name} can't be read as video by decord") from error


def next_intact_frame(frames: Iterator[tuple[int, av.VideoFrame | None]], name: str, number: int) -> av.VideoFrame:
    """Return the frame of a number, which comes next.

    Args:
        frames: Numbered frames of `seek_frames`.
        name: Name of the file, for the message.
        number: Number of the frame.

    Returns:
        The frame.

    Raises:
        InputError: The frame is missing or damaged.
    """
    at, frame = next(((at, frame) for at, frame in frames if at >= number), (None, None))
    if at != number or frame is None:
        raise InputError(f"{name}: frame {number} can't be decoded")
    return frame


def seek_frames(container, number: int, fps: float) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Yield numbered frames, starting at the last keyframe before a frame.

    None stands for a damaged frame, which the decoder fills in, and for those it predicts from it up to the next
    keyframe.

    Args:
        container: The opened file of PyAV.
        number: Number of the frame to seek.
        fps: Frames per second of the stream.

    Yields:
        The frame's number and the frame, or None.
    """
    stream = container.streams.video[0]
    start, due, damaged = stream.start_time or 0, None, False
    container.seek(start + round(number / fps / stream.time_base), stream=stream)
    for packet in readable_packets(container):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # frames that are shown earlier may be predicted from it and come later
            frames, damaged = [], True
        for frame in frames:
            if frame.pts is not None:
                at = round(float((frame.pts - start) * stream.time_base) * fps)
                damaged = frame.is_corrupt or not frame.key_frame and (damaged or at != due)
                due = at + 1
                yield at, None if damaged else frame


def readable_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Return the packets of the stream that a player would show, up to where the file ends or is cut off."""
    with suppress(av.InvalidDataError):
        yield from container.demux(container.streams.best("video"))
