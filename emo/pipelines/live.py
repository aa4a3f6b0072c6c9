"""Live sessions: sound is pushed as it is spoken, and frames come out in real time, block by block.

The session's time runs in samples of sound. Frame n shows the sound at n / fps; it can be made as soon as the sound up
to its block's end and the audio encoder's look-ahead is there. Where nobody pushes sound in time, silence is filled in,
so the face goes on living. Between blocks the session keeps the sound's past, the motion frames and the random state;
the portrait stays what it was at the start, so nothing drifts.

    session = pipe.live("portrait.png")
    session.push(samples)            # from any thread
    for frame in session.frames():   # or `async for`
        show(frame.image), play(frame.audio)
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from emo.core.errors import InputError
from emo.media.audio import LiveAudio
from emo.models.conditions import ConditionSpec, Value, find_defaults, parse_value
from emo.pipelines.guidance import SamplingOptions
from emo.pipelines.inputs import ImageInput, check_options, read_pixels
from emo.pipelines.portrait import AnimatedPortrait

if TYPE_CHECKING:
    from emo.face.selection import SelectedFace

BLOCK_FRAMES = 2
MAX_SOUND_DELAY_SECONDS = 0.06  # how late sound may come before silence takes its place
LAG_SECONDS = 0.25  # how late the model may be before frames are repeated
MAX_REPEATED_FRAMES = 25  # of one block; more follow in the next, so that a long halt needs no more memory
SPEECH_PEAK = 0.01  # of full scale: a frame with louder pushed sound speaks
SPEECH_HOLD_SECONDS = 0.4  # a shorter pause is no idleness


@dataclass(frozen=True)
class LiveFrame:
    """A frame of a live session.

    Attributes:
        index: Number of the frame; it is due at index / fps.
        image: (H W 3) uint8.
        audio: (S,) float32, the sound of the frame's time, at the session's sample rate.
        is_speaking: Whether sound that was pushed is heard, apart from short pauses.
        is_repeated: Whether the image is that of the frame before, because the model was late.
        latency_seconds: From the push of the sound at the frame's center to the finished frame; None in silence that
            nobody pushed.
    """

    index: int
    image: np.ndarray
    audio: np.ndarray
    is_speaking: bool
    is_repeated: bool
    latency_seconds: float | None


class Clock:
    """The time by which a session runs; tests put their own in its place."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait for a notification of a condition, or for the time to pass.

        Args:
            condition: The condition, whose lock is held.
            seconds: Longest time to wait.
        """
        condition.wait(seconds)


class LiveSession:
    """A face that listens; made by `pipe.live(...)`. All methods may be called from any thread.

    Attributes:
        fps: Frames per second.
        sample_rate: Hz, of the sound of the frames.
        size: (width, height) of the frames in pixels.
        latency_floor_seconds: The latency that block and look-ahead make by themselves, for a block's first frame.
    """

    def __init__(
        self,
        pipeline: Any,
        portrait: AnimatedPortrait,
        face: "SelectedFace",
        sampling: SamplingOptions,
        fps: float,
        block_frames: int,
        max_delay_seconds: float | None,
        clock: Clock,
        make_relative: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
    ):
        """
        Args:
            pipeline: An `EMOPipeline` of this session alone.
            portrait: The portrait.
            face: Its face.
            sampling: Steps, guidance and generator.
            fps: Frames per second.
            block_frames: Frames that are made at once.
            max_delay_seconds: Most sound that may wait; older is dropped. None: no limit.
            clock: The time.
            make_relative: Makes values of conditions relative to the portrait, see `emo.pipelines.controls`.
        """
        self._make_relative = make_relative
        self._pipeline, self._portrait, self._sampling, self._clock = pipeline, portrait, sampling, clock
        self.fps, self._block, self._max_delay = fps, block_frames, max_delay_seconds
        self.sample_rate = pipeline.audio_encoder.sample_rate
        self.size = portrait.image.shape[1], portrait.image.shape[0]
        self._audio, self._values = LiveAudio(self.sample_rate), {}
        latents = portrait.reference.to(pipeline.model.dtype)
        self._conditions = pipeline._encode_portrait(latents, face, None)
        self._tokens = sampling.guidance.encode_reference(pipeline.model, self._conditions)
        self._motion: Tensor | None = None
        self._next, self._image, self._last_speech = 0, portrait.image, -1e9
        self._changed, self._start, self._closed = threading.Condition(), None, False
        self.latency_floor_seconds = self._needed(0) / self.sample_rate - 0.5 / fps

    @property
    def waiting_seconds(self) -> float:
        """Length of the sound that waits to be shown."""
        return max(0, self._audio.end - self._position(self._next)) / self.sample_rate

    @property
    def end_seconds(self) -> float:
        """The session's time at which the sound ends that was pushed so far."""
        return self._audio.end / self.sample_rate

    def push(self, audio: np.ndarray, sample_rate: int | None = None) -> None:
        """Say a piece of sound after what was pushed before.

        Args:
            audio: (S,) float in [-1, 1], or int16, of any length.
            sample_rate: Hz; None: the session's.

        Raises:
            InputError: The sound is of another kind, or the session is closed.
        """
        audio = np.asarray(audio)
        if audio.ndim != 1 or (audio.dtype.kind != "f" and audio.dtype != np.int16):
            raise InputError(f"audio of shape {audio.shape} and type {audio.dtype}: give (S,) float, or int16")
        if not np.isfinite(audio).all():
            raise InputError("audio has non-finite samples")
        if not len(audio):
            return
        with self._changed:
            if self._closed:
                raise InputError("the session is closed: open another")
            self._audio.push(audio, sample_rate or self.sample_rate, self._clock.now())
            now = self._now_position()
            if self._max_delay is not None and self._audio.end - now > self._max_delay * self.sample_rate:
                self._audio.cut(now)
                self._audio.push(audio, sample_rate or self.sample_rate, self._clock.now())
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Drop all sound that is not shown yet; the face comes to rest."""
        with self._changed:
            self._audio.cut(self._position(self._next))
            self._changed.notify_all()

    def set(self, /, **controls: Value | None) -> None:
        """Change conditions from the next block on.

        Args:
            controls: Name of a condition of the model (gaze, emotion, head_speed, ...) -> constant value; None: the
                model chooses.

        Raises:
            InputError: The model has no such condition, or the value does not fit.
        """
        given = {name: value for name, value in controls.items() if value is not None}
        values = self._make_relative(parse_constants(self._pipeline.model.conditions, given))
        with self._changed:
            self._values = {name: value for name, value in self._values.items() if name not in controls} | values

    def close(self) -> None:
        """End the frames."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def frames(self) -> "LiveFrames":
        """Return the frames in real time, for `for` and for `async for`; they end after `close`."""
        return LiveFrames(self)

    def make_block(self) -> list[LiveFrame]:
        """Wait until the next frames can be made, and make them.

        Returns:
            The next frames in order; none once the session is closed.
        """
        with self._changed:
            late_frames = self._await_sound()
            if self._closed:
                return []
            if late_frames:
                return [self._finish_frame(self._image, is_repeated=True) for _ in range(late_frames)]
            first, values = self._next, dict(self._values)
            wave, start = self._audio.wave, self._audio.first
        images = list(self._portrait.render(self._denoise(first, wave, start / self.sample_rate, values)))
        with self._changed:
            frames = [self._finish_frame(image, is_repeated=False) for image in images]
            margin = self._pipeline.model.config.audio_margin
            past = self._pipeline.audio_encoder.past_seconds + 1
            self._audio.trim(self._position(self._next - margin) - round(past * self.sample_rate))
        return frames

    def _now_position(self) -> int:
        """Where sound that is pushed now belongs: the next block's need, or further where the model is late."""
        elapsed = 0.0 if self._start is None else self._clock.now() - self._start
        return max(self._needed(self._next), round(elapsed * self.sample_rate))

    def _position(self, frame: int) -> int:
        """The first sample of a frame."""
        return round(frame * self.sample_rate / self.fps)

    def _needed(self, frame: int) -> int:
        """Where the sound must end for the block from `frame` on to be made."""
        margin, future = self._pipeline.model.config.audio_margin, self._pipeline.audio_encoder.future_seconds
        return round(((frame + self._block - 0.5 + margin) / self.fps + future) * self.sample_rate)

    def _await_sound(self) -> int:
        """Wait until the next block's time and sound are there, or fill in silence; returns the number of frames that
        must be repeated because it is too late for them."""
        needed = self._needed(self._next)
        if self._start is None:  # the first frame comes at once
            self._start = self._clock.now() - needed / self.sample_rate
            self._audio.fill(needed)
        while not self._closed:
            due = self._start + needed / self.sample_rate
            now, there = self._clock.now(), self._audio.end >= needed
            until = due if there else due + MAX_SOUND_DELAY_SECONDS
            if now >= until:
                self._audio.fill(needed)
                late = min(MAX_REPEATED_FRAMES, int((now - due - LAG_SECONDS) * self.fps))
                if late > 0:
                    self._audio.fill(self._position(self._next + late))
                return max(0, late)
            self._clock.wait(self._changed, until - now)
        return 0

    @torch.no_grad()
    def _denoise(self, first: int, wave: np.ndarray, start_seconds: float, values: dict[str, np.ndarray]) -> Tensor:
        """Latents (F C h w) of the frames from `first` on; the motion frames move on."""
        pipeline, count = self._pipeline, self._block
        config, like = pipeline.model.config, self._conditions.reference
        assert like is not None
        margin = config.audio_margin
        samples = torch.from_numpy(wave)[None].to(like.device)
        audio = pipeline.audio_encoder(samples, first - margin, count + 2 * margin, self.fps, start_seconds).to(like)
        given = {name: expand_value(name, value, count, config, like) for name, value in values.items()}
        conditions = replace(self._conditions, audio=audio, motion=self._motion, **given)
        shape = torch.Size((1, count, *self._portrait.frame_shape))
        window = pipeline.denoise_window(conditions, shape, self._tokens, self._sampling)
        self._motion = pipeline._next_motion(like, self._motion, window, self._portrait.square)
        return window[0]

    def _finish_frame(self, image: np.ndarray, is_repeated: bool) -> LiveFrame:
        """The next frame, with its sound and latency."""
        index, now = self._next, self._clock.now()
        first, last = self._position(index), self._position(index + 1)
        audio, pushed = self._audio.read(first, last), self._audio.pushed_at((first + last) // 2)
        if pushed is not None and np.abs(audio).max(initial=0) >= SPEECH_PEAK:
            self._last_speech = index
        is_speaking = index - self._last_speech < SPEECH_HOLD_SECONDS * self.fps
        self._next, self._image = index + 1, image
        latency = None if pushed is None else now - pushed
        return LiveFrame(index, image, audio, is_speaking, is_repeated, latency)


class LiveFrames:
    """The frames of a session, one after the other, in a thread or in an event loop."""

    def __init__(self, session: LiveSession):
        self._session = session

    def __iter__(self) -> Iterator[LiveFrame]:
        while block := self._session.make_block():
            yield from block

    async def __aiter__(self) -> AsyncIterator[LiveFrame]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "emo-live") as executor:
            while block := await loop.run_in_executor(executor, self._session.make_block):
                for frame in block:
                    yield frame


class LivePipelineMixin:
    """Adds live sessions to a pipeline."""

    @torch.no_grad()
    def live(
        self: Any,
        image: ImageInput,
        *,
        fps: float = 25.0,
        block_frames: int = BLOCK_FRAMES,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        controls: Mapping[str, Value] | None = None,
        face: "SelectedFace | tuple[float, float, float, float] | str | None" = None,
        crop_only: bool = False,
        size: int | None = None,
        max_delay_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> LiveSession:
        """Open a live session; several may run at a time.

        Args:
            image: A picture with a face: a PIL image, (H W 3) uint8, or the path of a file.
            fps: Frames per second.
            block_frames: Frames that are made at once: fewer answer sooner, more need less work.
            num_inference_steps: Denoising steps of a block; None: the pipeline's.
            guidance_scale: Classifier-free guidance by the audio; None: the pipeline's.
            generator: Random generator of the noise.
            controls: Conditions from the start on, see `LiveSession.set`.
            face: As in a call of the pipeline.
            crop_only: Whether frames are the animated square alone.
            size: Pixels along a side of the animated square; None: the pipeline's.
            max_delay_seconds: Most sound that may wait to be shown, for a microphone: what is older is dropped. None:
                no limit, for speech that is pushed faster than it is spoken.
            clock: The time; None: the machine's.

        Returns:
            The session.

        Raises:
            InputError: No face is found, or an argument is out of range.
        """
        size = size or self.config.size
        check_options(fps, size, "np", (), ())
        most = self.model.config.num_frames
        if not 1 <= block_frames <= most:
            raise InputError(f"block_frames={block_frames}: give 1 to {most}")
        pixels = read_pixels(image)
        selected = self._select_face(pixels, face)
        radius = self.config.color_limit_radius
        portrait = AnimatedPortrait(
            self.vae, pixels, selected, size, self._execution_device, crop_only, color_limit_radius=radius
        )
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        steps = num_inference_steps or self.config.num_inference_steps
        sampling = SamplingOptions(steps, self._make_guidance(scale, {}), generator)
        own = copy(self)  # schedulers keep their steps in themselves
        own.scheduler, own._interrupt = deepcopy(self.scheduler), False
        clock = clock or Clock()
        relative = partial(self._make_relative, image=pixels, face=selected)
        session = LiveSession(own, portrait, selected, sampling, fps, block_frames, max_delay_seconds, clock, relative)
        session.set(**find_defaults([spec.name for spec in self.model.conditions]) | dict(controls or {}))
        return session


def parse_constants(conditions: Iterable[ConditionSpec], given: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """Parse constant values of conditions by frame.

    Args:
        conditions: The conditions that the model has.
        given: Name -> value, see `parse_value`.

    Returns:
        Name -> (D,) float32.

    Raises:
        InputError: The model has no such condition, or a value does not fit or varies over time.
    """
    names, values = [spec.name for spec in conditions if spec.components], {}
    for name, value in given.items():
        if name not in names:
            raise InputError(f"{name} is not a condition of this model: it has {', '.join(names) or 'none by frame'}")
        values[name] = parse_value(name, value)
        if values[name].ndim != 1 or np.isinf(values[name]).any():
            raise InputError(f"{name}: give one constant value")
    return values


def expand_value(name: str, value: np.ndarray, count: int, config: Any, like: Tensor) -> Tensor:
    """Repeat a constant for the frames of a block.

    Args:
        name: Name of the condition.
        value: (D,) its value.
        count: F, frames of the block.
        config: The model's configuration.
        like: Tensor whose device and dtype the result has.

    Returns:
        (1 F D); of head_speed (1 F+2m) with m frames of margin.
    """
    if name == "head_speed":
        return torch.full((1, count + 2 * config.speed_margin), float(value[0])).to(like)
    return torch.from_numpy(value).to(like).expand(1, count, -1)
