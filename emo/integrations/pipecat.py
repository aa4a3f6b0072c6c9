"""A talking portrait for Pipecat: the bot's speech in, pictures and speech in time with them out (extra `pipecat`).

    video = EMOVideoService(pipe.live("portrait.png"))
    pipeline = Pipeline([transport.input(), stt, llm, tts, video, transport.output()])

The transport shows what comes: `TransportParams(video_out_enabled=True, video_out_is_live=True, video_out_width=...)`.
Between the bot's turns there are pictures and no sound.
"""

import asyncio
from typing import TYPE_CHECKING

import numpy as np
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

if TYPE_CHECKING:
    from emo.pipelines.live import LiveFrame, LiveSession


class EMOVideoService(AIService):
    """Animates a portrait by the bot's speech.

    Args:
        session: A live session (`pipe.live(...)`), which is closed with the service.
        options: Arguments of `AIService`.
    """

    def __init__(self, session: "LiveSession", **options):
        super().__init__(settings=ServiceSettings(model=None), **options)
        self._session = session
        self._task: asyncio.Task | None = None
        self._turn_ends: list[tuple[float, TTSStoppedFrame]] = []  # seconds of the session at which a turn ends
        self._last_seconds: float | None = None  # of the session: what comes after is not shown

    async def start(self, frame: StartFrame) -> None:
        """Begin to show the portrait."""
        await super().start(frame)
        self._task = self.create_task(self._show())

    async def stop(self, frame: EndFrame) -> None:
        """End when all speech so far was shown."""
        await super().stop(frame)
        self._last_seconds = self._session.end_seconds
        if self._task is not None:
            await asyncio.wait([self._task])  # which goes on where this wait is cancelled

    async def cancel(self, frame: CancelFrame) -> None:
        """End at once."""
        await super().cancel(frame)
        await self._end()

    async def cleanup(self) -> None:
        """Close the session."""
        await super().cleanup()
        await self._end()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Say speech, stop at an interruption, and pass everything else on.

        Args:
            frame: A frame of the pipeline.
            direction: Where it goes.
        """
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            samples = np.frombuffer(frame.audio, np.int16).reshape(-1, frame.num_channels)
            self._session.push(samples.mean(axis=1).astype(np.int16), frame.sample_rate)
        elif isinstance(frame, TTSStoppedFrame):
            self._turn_ends.append((self._session.end_seconds, frame))
        else:
            if isinstance(frame, InterruptionFrame):
                self._turn_ends.clear()
                self._session.interrupt()
                if self._last_seconds is not None:
                    self._last_seconds = self._session.end_seconds
            await self.push_frame(frame, direction)

    async def _show(self) -> None:
        """Push a picture and, while the bot speaks, its sound; after the last sound of a turn, the turn's end."""
        async for frame in self._session.frames():
            await self._push(frame)
            shown = (frame.index + 1) / self._session.fps
            while self._turn_ends and self._turn_ends[0][0] <= shown:
                await self.push_frame(self._turn_ends.pop(0)[1])
            if self._last_seconds is not None and shown >= self._last_seconds:
                self._session.close()

    async def _push(self, frame: "LiveFrame") -> None:
        height, width = frame.image.shape[:2]
        picture = OutputImageRawFrame(frame.image.tobytes(), (width, height), "RGB")
        speaks = frame.latency_seconds is not None  # sound that was pushed
        picture.sync_with_audio = speaks
        await self.push_frame(picture)
        if speaks:
            samples = np.round(frame.audio * 32767).astype(np.int16)
            await self.push_frame(TTSAudioRawFrame(samples.tobytes(), self._session.sample_rate, 1))

    async def _end(self) -> None:
        self._session.close()
        task, self._task = self._task, None
        if task is not None and not task.done():
            await self.cancel_task(task)
