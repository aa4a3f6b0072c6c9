"""Frames of a video file; frames that come one by one -> mp4 with the user's own sound.

frame (H W 3) uint8 RGB
"""

import math
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import av
import numpy as np

from emo.errors import InputError, OutputError
from emo.media.audio import check_trim
from emo.media.colour import tag_bt709, to_upright_rgb, to_yuv
from emo.media.decode import decoded_frames, first_sound_seconds, open_media
from emo.media.soundtrack import add_soundtrack

CLOCK_SECONDS = 0.001  # time stamps may be rounded that much
MOST_PIXELS = 67_000_000  # of a frame that is read: twice 8K; beyond lie files made to fill the memory
HDR = (16, 18)  # PQ and HLG, as ITU-T H.273 numbers transfer characteristics
LARGE_PIXELS = 4_000_000  # from here on the encoder looks at one frame at a time, to hold few in memory


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


class VideoWriter:
    """Writes frames to an mp4 as they come; neither frames nor sound are held in memory.

    H.264 yuv420p, BT.709, crf 13, a keyframe every second; AAC. The sound is the user's own file from
    `start_seconds` on, to its end or for `duration_seconds`, however many frames there are. A side of an odd
    number of pixels is continued by one, as yuv420p needs. The file takes its name only when it is whole:
    after an exception or Ctrl-C inside the `with` nothing is left, and what had that name is untouched.

        with VideoWriter("out.mp4", fps=25, sound="song.wav") as writer:
            writer.write(frame)  # (H W 3) uint8 RGB, all of one size

    Raises InputError: the file exists (and not `overwrite`), is the sound itself, is no .mp4, can't be
    written (no such folder, no permission, disk full); the sound is missing, unreadable or over at the start.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float,
        sound: str | Path | None = None,
        start_seconds: float = 0.0,
        duration_seconds: float | None = None,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        self.fps = frame_rate(fps)
        self._sound = None if sound is None else Path(sound)
        self._trim = (start_seconds, duration_seconds)
        self._partial = self.path.with_name(f".emo-{secrets.token_hex(6)}.part")
        self._frames = 0
        self._container = None
        _check_target(self.path, self._sound, overwrite)
        if self._sound is not None:
            check_trim(self._sound, start_seconds, duration_seconds)

    def __enter__(self) -> "VideoWriter":
        try:
            with self._disk_errors():
                self._partial.touch(exist_ok=False)
                options = {"movflags": "+faststart"}
                self._container = av.open(str(self._partial.absolute()), "w", "mp4", container_options=options)
            self._stream = self._container.add_stream("libx264", rate=self.fps)
            self._packets = iter(())
            if self._sound is not None:
                self._packets = add_soundtrack(self._container, self._sound, *self._trim)
            self._sound_seconds = 0.0
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H W 3) uint8 RGB. Raises ValueError if it is of another kind or size."""
        if self._frames == 0:
            _set_up(self._stream, self.fps, *frame.shape[:2])
        picture = to_yuv(frame)
        if (picture.width, picture.height) != (self._stream.width, self._stream.height):
            raise ValueError(f"frame {self._frames} is {frame.shape}, unlike the frames before")
        picture.pts, picture.time_base = self._frames, 1 / self.fps
        self._frames += 1
        with self._disk_errors():
            self._container.mux(self._stream.encode(picture))
            self._mux_sound(until_seconds=self._frames / self.fps)

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        if self._frames == 0:
            raise ValueError(f"{self.path}: no frame was written")
        with self._disk_errors():
            self._container.mux(self._stream.encode(None))
            self._mux_sound(until_seconds=math.inf)
            self._container.close()
            os.replace(self._partial, self.path)

    def _mux_sound(self, until_seconds: float) -> None:
        while self._sound_seconds < until_seconds:
            packet = next(self._packets, None)
            if packet is None:
                self._sound_seconds = math.inf
                return
            self._sound_seconds = float((packet.pts + packet.duration) * packet.time_base)
            self._container.mux(packet)

    def _discard(self) -> None:
        try:
            if self._container is not None:
                with suppress(Exception):
                    self._container.close()
        finally:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            mend = "free some space or choose another folder"
            raise OutputError(f"{self.path} can't be written ({error.strerror}); {mend}") from error


def frame_rate(fps: float) -> Fraction:
    """Frames per second as a ratio; 23.976, 29.97 and 59.94 are meant as 24, 30 and 60 over 1.001.

    Raises InputError if it is not a positive number.
    """
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise InputError(f"{fps:g} frames per second can't be written; 25 is usual")
    film = Fraction(round(fps) * 1000, 1001)
    if abs(fps - film) < 0.003:
        return film
    return Fraction(fps).limit_denominator(1001)


def _check_target(path: Path, sound: Path | None, overwrite: bool) -> None:
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: only mp4 is written; use {path.with_suffix('.mp4').name}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it or choose another")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; choose another name or pass --overwrite")
    if path.exists() and sound is not None and sound.exists() and path.samefile(sound):
        raise InputError(f"{path} is the sound itself; choose another name")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} can't be written to; choose another")


def _set_up(stream: av.VideoStream, fps: Fraction, height: int, width: int) -> None:
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"
    stream.options = {"preset": "veryfast", "crf": "13"}
    if height * width > LARGE_PIXELS:
        stream.options = {**stream.options, "tune": "zerolatency"}
    context = stream.codec_context
    context.thread_count = 2  # few frames in memory
    context.gop_size = max(1, round(fps))
    tag_bt709(context)


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
