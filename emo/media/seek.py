"""Some frames of a video of a constant rate, by their numbers, without decoding all that lies before them.

frame (H W 3) uint8 RGB
"""

from collections.abc import Iterator, Sequence
from io import BytesIO

import av
import numpy as np

from emo.errors import InputError
from emo.media.colour import to_upright_rgb
from emo.media.damage import whole_packets


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
