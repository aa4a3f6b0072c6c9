"""Where a video is damaged: a decoder paints over what it can't read, and goes on from what it painted."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av

from emo.media.decode import first_sound_seconds, open_media


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
