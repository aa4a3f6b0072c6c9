"""Write frames one by one to an mp4 with the user's own sound.

The video is H.264 in yuv420p with BT.709 colors of limited range, which phones, browsers, Windows and messengers play:
never above level 5.1, whose largest picture has 36,864 blocks of 16 x 16 pixels (4096 x 2304), fewer at high frame
rates. Sound is AAC.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from emo.core.errors import InputError, OutputError
from emo.core.files import check_output_file, move_file, partial_path, rescue_file
from emo.media.color import YuvConverter, tag_bt709
from emo.media.decode import check_trim
from emo.media.soundtrack import add_soundtrack

LOW_MEMORY_PIXELS = 4_000_000  # of a frame: from here on the encoder looks at one frame at a time
BLOCK_PIXELS = 16  # side of a macroblock
# In pictures of few blocks a row, x264's AVX-512 code for the macroblock tree depends on what memory held before: equal
# frames gave different bytes. This option takes the portable code there, which is as fast.
REPRODUCIBLE = "cpu-independent=1"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderPreset:
    """How a video is encoded, and the limits of H.264's level (ITU-T H.264, table A-1) and of players."""

    crf: float  # constant rate factor of x264: 0 to 51, lower is better and larger
    keyframe_seconds: float
    x264: dict[str, str]  # further options
    long_side: int  # pixels
    short_side: int  # pixels
    blocks: int  # of 16 x 16 pixels in a picture
    blocks_per_second: int
    max_channels: int | None = None  # of the sound


LEVEL_5_1 = {"long_side": 4096, "short_side": 2304, "blocks": 36864, "blocks_per_second": 983040}
LEVEL_4_0 = {"long_side": 1920, "short_side": 1088, "blocks": 8192, "blocks_per_second": 245760}
PRESETS = {
    # for people: of a portrait that hardly moves about 2 Mbit/s at 1920 x 1080
    "default": EncoderPreset(16, 2.0, {"preset": "veryfast"}, **LEVEL_5_1),
    # for messengers and old phones: baseline profile, at most 1920 x 1088 and 8 Mbit/s, mono or stereo
    "share": EncoderPreset(
        23,
        2.0,
        {"preset": "veryfast", "profile": "baseline", "maxrate": "8M", "bufsize": "8M"},
        **LEVEL_4_0,
        max_channels=2,
    ),
    # for clips that training reads: near lossless, a keyframe a second to seek by
    "dataset": EncoderPreset(13, 1.0, {"preset": "veryfast"}, **LEVEL_5_1),
}


class VideoWriter:
    """Writes frames to an mp4 as they arrive; neither frames nor sound accumulate in memory.

    The sound is the user's own file from `start_seconds` on, to its end or for `duration_seconds`, however many frames
    there are. A side of an odd number of pixels is continued by one, as yuv420p needs. The file takes its name when it
    is complete: after an exception or Ctrl-C inside the `with` nothing is left, and a file of that name is untouched.
    A complete video is never thrown away: where its name can't be taken, or its sound can't be encoded to the end, it
    stays under another name, which the error states.

        with VideoWriter("out.mp4", fps=25, audio="song.wav") as writer:
            writer.write(frame)  # (H W 3) uint8 RGB, all of one size

    Args:
        path: The mp4 to write.
        fps: Frames per second.
        audio: A sound file or a video with sound; None: a video without sound.
        start_seconds: Where the sound starts in its file.
        duration_seconds: How much of the sound; None: up to its end.
        overwrite: Replace a file of that name.
        preset: "default", "share" (baseline profile, at most 1920 x 1088, for messengers) or "dataset".
        crf: Quality from 0 (lossless) to 51, lower is better and larger; None: the preset's.
        max_size: The longest side in pixels; larger frames are shrunk. None: the preset's.
        on_note: Called with each line that the user should read; None: the line is logged.
        metadata: Entries of the file's metadata: name -> text; an attribute that may be set until the `with`.
        on_complete: Called with the path of the complete file, which it may change, before the file takes its name; an
            attribute that may be set until then.

    Raises:
        InputError: The file exists (and not `overwrite`), is the sound itself, is not an .mp4, or can't be
            written (no such folder, no permission) or replaced; the sound is missing, is unreadable or ends before the
            start; a setting is out of range.
        OutputError: The disk is full, or the name can't be given at the end.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float,
        audio: str | Path | None = None,
        start_seconds: float = 0.0,
        duration_seconds: float | None = None,
        overwrite: bool = False,
        *,
        preset: str = "default",
        crf: float | None = None,
        max_size: int | None = None,
        on_note: Callable[[str], None] | None = None,
        metadata: Mapping[str, str] | None = None,
        on_complete: Callable[[Path], None] | None = None,
    ):
        self.path = Path(path)
        self.fps = frame_rate(fps)
        self._preset, self._crf, self._max_size = find_preset(preset), check_crf(crf), check_max_size(max_size)
        self._audio = None if audio is None else Path(audio)
        self._trim = (start_seconds, duration_seconds)
        self._overwrite = overwrite
        self._on_note = on_note or logger.warning
        self.metadata, self.on_complete = dict(metadata or {}), on_complete
        self._partial = partial_path(self.path)
        self._frames, self._rescued = 0, False
        self._container: av.container.OutputContainer | None = None
        self._frame_shape: tuple[int, ...] = ()  # (H W 3) of the frames that are given
        self._size: tuple[int, int] | None = None  # width and height to shrink to
        self._audio_seconds, self._audio_error = 0.0, None
        self._check_target()
        if self._audio is not None:
            check_trim(self._audio, start_seconds, duration_seconds)

    def __enter__(self) -> "VideoWriter":
        try:
            with self._disk_errors():
                self._partial.touch(exist_ok=False)
                options = {"movflags": "+faststart+use_metadata_tags" if self.metadata else "+faststart"}
                self._container = av.open(str(self._partial.absolute()), "w", "mp4", container_options=options)
                self._opened().metadata.update(self.metadata)
            self._stream = self._opened().add_stream("libx264", rate=self.fps)
            self._packets: Iterator[av.Packet] = iter(())
            if self._audio is not None:
                channels = self._preset.max_channels
                self._packets = add_soundtrack(self._container, self._audio, *self._trim, max_channels=channels)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H W 3) uint8 RGB. Raises ValueError if it is of another kind or size."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is (H W 3) uint8, not {frame.shape} {frame.dtype}")
        if self._frames == 0:
            self._start(frame)
        if frame.shape != self._frame_shape:
            raise ValueError(f"frame {self._frames} is {frame.shape}, unlike the frames before")
        if self._size is not None:
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        picture = self._converter.convert(frame)
        picture.pts, picture.time_base = self._frames, 1 / self.fps
        self._frames += 1
        container = self._opened()
        with self._disk_errors():
            container.mux(self._stream.encode(picture))
            self._mux_audio(container, until_seconds=float(self._frames / self.fps))

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _opened(self) -> av.container.OutputContainer:
        if self._container is None:
            raise ValueError(f"{self.path}: frames are written inside of `with`")
        return self._container

    def _start(self, frame: np.ndarray) -> None:
        """Set the encoder up by the first frame."""
        height, width = frame.shape[:2]
        size = limit_video_size(width, height, float(self.fps), self._preset, self._max_size)
        if size != (width, height):
            self._size = size
            self._on_note(
                f"{self.path.name}: frames of {width}x{height} are shrunk to {size[0]}x{size[1]}, "
                f"the largest that players show at {float(self.fps):g} fps or that max_size= allows"
            )
        self._frame_shape, self._converter = frame.shape, YuvConverter()
        self._stream.width, self._stream.height = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._stream.pix_fmt = "yuv420p"
        crf = self._preset.crf if self._crf is None else self._crf
        options = {**self._preset.x264, "crf": f"{crf:g}", "x264-params": REPRODUCIBLE}
        if size[0] * size[1] > LOW_MEMORY_PIXELS:
            options["tune"] = "zerolatency"
        self._stream.options = options
        context = self._stream.codec_context
        context.thread_count = 2  # few frames in memory
        context.gop_size = max(1, round(self.fps * self._preset.keyframe_seconds))
        tag_bt709(context)

    def _finish(self) -> None:
        if self._frames == 0:
            raise ValueError(f"{self.path}: no frame was written")
        container = self._opened()
        with self._disk_errors():
            container.mux(self._stream.encode(None))
            self._mux_audio(container, until_seconds=math.inf)
            container.close()
            if self.on_complete is not None:
                self.on_complete(self._partial)
        if self._audio_error is not None:
            name = self._rescue()
            reason = (str(self._audio_error).strip() or type(self._audio_error).__name__).splitlines()[0]
            message = f"{self._audio} can't be encoded after {self._audio_seconds:.1f} s ({reason})"
            raise InputError(f"{message}; the video with the sound up to there is {name}") from self._audio_error
        try:
            move_file(self._partial, self.path, self._overwrite)
        except FileExistsError as error:
            name = self._rescue()
            raise OutputError(f"{self.path} was made by another program meanwhile; this video is {name}") from error
        except OSError as error:
            name = self._rescue()
            message = f"{self.path} can't be replaced ({error.strerror}); the finished video is {name}"
            raise OutputError(message) from error

    def _rescue(self) -> Path:
        """Keep the complete file under another name, which is returned."""
        self._rescued = True
        return rescue_file(self._partial, self.path)

    def _mux_audio(self, container: av.container.OutputContainer, until_seconds: float) -> None:
        """Write the sound up to this time; sound that can't be encoded ends, and is reported with the last frame."""
        while self._audio_seconds < until_seconds and self._audio_error is None:
            try:
                packet = next(self._packets, None)
            except Exception as error:
                self._audio_error = error
                return
            if packet is None:
                self._packets = iter(())
                return
            self._audio_seconds = float(((packet.pts or 0) + (packet.duration or 0)) * packet.time_base)
            container.mux(packet)

    def _discard(self) -> None:
        """Close and remove the temporary file; nothing happens where it has its name."""
        try:
            if self._container is not None:
                with suppress(Exception):
                    self._container.close()
        finally:
            if not self._rescued:
                with suppress(OSError):
                    self._partial.unlink(missing_ok=True)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            fix = "free some space or choose another folder"
            raise OutputError(f"{self.path} can't be written ({error.strerror}); {fix}") from error

    def _check_target(self) -> None:
        if self.path.suffix.lower() != ".mp4":
            raise InputError(f"{self.path}: only mp4 is written; use {self.path.with_suffix('.mp4').name}")
        check_output_file(self.path, self._overwrite)
        if self._audio is not None and self.path.exists() and self._audio.exists() and self.path.samefile(self._audio):
            raise InputError(f"{self.path} is the sound itself; choose another name")


def find_preset(name: str) -> EncoderPreset:
    """Return the preset of this name. Raises InputError."""
    if name not in PRESETS:
        raise InputError(f"preset={name}: choose {', '.join(PRESETS)}")
    return PRESETS[name]


def check_crf(crf: float | None) -> float | None:
    """Return the value. Raises InputError for one that x264 does not take."""
    if crf is not None and not 0 <= crf <= 51:
        raise InputError(f"crf={crf:g}: give 0 (lossless) to 51, 16 is usual")
    return crf


def check_max_size(max_size: int | None) -> int | None:
    """Return the value. Raises InputError for a video that would be too small."""
    if max_size is not None and max_size < 64:
        raise InputError(f"max_size={max_size}: give the longest side in pixels, 64 or more")
    return max_size


def limit_video_size(
    width: int, height: int, fps: float, preset: EncoderPreset | str = "default", max_size: int | None = None
) -> tuple[int, int]:
    """Return the size at which a picture can be written as a video.

    Args:
        width: Width of the picture, pixels.
        height: Height of the picture, pixels.
        fps: Frames per second.
        preset: Preset whose limits apply, or its name.
        max_size: The longest side in pixels, as the user wants it.

    Returns:
        (width, height) in pixels, of the same proportions: those given, or smaller with sides of even length.

    Raises:
        InputError: There is no such preset.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    blocks = min(preset.blocks, preset.blocks_per_second / fps)

    def fits(w: int, h: int) -> bool:
        sides = max(w, h) <= min(preset.long_side, max_size or math.inf) and min(w, h) <= preset.short_side
        return sides and math.ceil(w / BLOCK_PIXELS) * math.ceil(h / BLOCK_PIXELS) <= blocks

    if fits(width + width % 2, height + height % 2):
        return width, height
    long, short = max(width, height), min(width, height)
    scale = min(1, preset.long_side / long, (max_size or long) / long, preset.short_side / short)
    scale = min(scale, math.sqrt(blocks * BLOCK_PIXELS**2 / (width * height)))
    while True:
        size = max(2, int(width * scale / 2) * 2), max(2, int(height * scale / 2) * 2)
        if fits(*size) or size == (2, 2):
            return size
        scale *= 0.998


def frame_rate(fps: float) -> Fraction:
    """Return frames per second as a ratio; 23.976, 29.97 and 59.94 are meant as 24, 30 and 60 over 1.001.

    Raises:
        InputError: It is not a positive number.
    """
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise InputError(f"fps={fps:g}: give more than 0 and at most 1000; 25 is usual")
    film = Fraction(round(fps) * 1000, 1001)
    if abs(fps - film) < min(0.003, abs(fps - round(fps))):
        return film
    return Fraction(fps).limit_denominator(1001)
