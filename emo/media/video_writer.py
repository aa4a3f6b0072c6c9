"""Write frames one by one to an mp4 with the user's own audio."""

import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from emo.core.errors import InputError, OutputError
from emo.media.audio import check_trim
from emo.media.color import tag_bt709, to_yuv
from emo.media.soundtrack import add_soundtrack

LARGE_PIXELS = 4_000_000  # from here on the encoder looks at one frame at a time, to hold few in memory


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
