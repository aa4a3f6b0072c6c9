"""Some frames of a video of a constant rate, by their numbers, without decoding all that lies before them.

frame (H W 3) uint8 RGB
"""

from collections.abc import Iterator, Sequence
from io import BytesIO

import av
import numpy as np

from emo.errors import InputError
from emo.media.colour import to_upright_rgb
from emo.media.decode import decoded_frames


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


def whole(frames: Iterator[tuple[int, av.VideoFrame]], name: str, number: int) -> av.VideoFrame:
    """The next frame of this number. Raises InputError where it is missing or the decoder painted over a hole."""
    at, frame = next(((at, frame) for at, frame in frames if at >= number), (None, None))
    if at != number or frame.is_corrupt:
        raise InputError(f"{name}: frame {number} can't be decoded")
    return frame


def frames_from(container, number: int, fps: float) -> Iterator[tuple[int, av.VideoFrame]]:
    """Numbered frames from this one or one before it on. An mp4 is searched by the times at which its packets are
    decoded, so a search may end behind the frame: then it begins a second earlier."""
    stream, begin = container.streams.video[0], number
    while True:
        start = stream.start_time or 0
        container.seek(start + round(max(0, begin) / fps / stream.time_base), stream=stream)
        frames = numbered(decoded_frames(container, stream), start * stream.time_base, fps)
        first = next(frames, None)
        if begin <= 0 or first is not None and first[0] <= number:
            break
        begin -= round(fps)
    if first is not None:
        yield first
        yield from frames


def numbered(frames: Iterator[av.VideoFrame], start_seconds: float, fps: float) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in frames:
        yield round((frame.time - float(start_seconds)) * fps), frame
