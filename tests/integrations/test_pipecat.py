"""The Pipecat service, with Pipecat's own frames, in a pipeline of one: turns, interruption, idleness, its end."""

import asyncio

import numpy as np
import pytest

pytest.importorskip("pipecat")
from pipecat.frames.frames import (
    EndFrame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection

from emo.integrations.pipecat import EMOVideoService


class Clock:
    """Time passes only while the session waits."""

    def __init__(self):
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, condition, seconds: float) -> None:
        self.time += seconds


class RecordingService(EMOVideoService):
    """Keeps what it pushes; its tasks are asyncio's, which a pipeline's manager of tasks makes otherwise."""

    def __init__(self, session):
        super().__init__(session)
        self.pushed = []

    async def push_frame(self, frame, direction=FrameDirection.DOWNSTREAM):
        self.pushed.append(frame)

    def create_task(self, coroutine, name=None):
        return asyncio.get_running_loop().create_task(coroutine)

    async def cancel_task(self, task, timeout=None):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def session(tiny_pipeline, portrait):
    return tiny_pipeline.live(portrait, face="full", block_frames=6, clock=Clock())


def speech(wave: np.ndarray, rate: int, channels: int = 1) -> TTSAudioRawFrame:
    samples = np.repeat((wave * 32767).astype(np.int16)[:, None], channels, 1)
    return TTSAudioRawFrame(samples.tobytes(), rate, channels)


def test_a_turn_of_the_bot(session, wave):
    async def process() -> list:
        service = RecordingService(session)
        await service.start(StartFrame())
        await service.process_frame(TextFrame("Hello"), FrameDirection.DOWNSTREAM)
        await service.process_frame(speech(wave[:9600], 24000, channels=2), FrameDirection.DOWNSTREAM)
        await service.process_frame(TTSStoppedFrame(), FrameDirection.DOWNSTREAM)
        await service.stop(EndFrame())
        await service.cleanup()
        return service.pushed

    pushed = asyncio.run(process())
    assert isinstance(pushed[0], TextFrame)  # what is no speech passes
    pictures = [frame for frame in pushed if isinstance(frame, OutputImageRawFrame)]
    sounds = [frame for frame in pushed if isinstance(frame, TTSAudioRawFrame)]
    assert {(frame.size, len(frame.image), frame.format) for frame in pictures} == {((192, 192), 3 * 192 * 192, "RGB")}
    assert 0.36 <= sum(frame.num_frames / frame.sample_rate for frame in sounds) <= 0.48  # of 0.4 s
    assert sum(frame.sync_with_audio for frame in pictures) == len(sounds)
    kinds = [type(frame) for frame in pushed]
    assert kinds.count(TTSStoppedFrame) == 1 and TTSAudioRawFrame not in kinds[kinds.index(TTSStoppedFrame) :]


def test_interruption(session, wave):
    async def process() -> list:
        service = RecordingService(session)
        for _ in range(10):
            await service.process_frame(speech(wave, 16000), FrameDirection.DOWNSTREAM)
        await service.process_frame(TTSStoppedFrame(), FrameDirection.DOWNSTREAM)
        await service.process_frame(InterruptionFrame(), FrameDirection.DOWNSTREAM)
        await service.start(StartFrame())
        await service.stop(EndFrame())
        return service.pushed

    pushed = asyncio.run(process())
    assert isinstance(pushed[0], InterruptionFrame) and not any(isinstance(frame, TTSStoppedFrame) for frame in pushed)
    assert sum(isinstance(frame, TTSAudioRawFrame) for frame in pushed) <= 1
    assert any(isinstance(frame, OutputImageRawFrame) for frame in pushed)  # it goes on without sound


def test_a_service_that_is_cleaned_up_ends_its_session(session):
    async def process() -> None:
        service = RecordingService(session)
        await service.start(StartFrame())
        await service.cleanup()
        assert session.make_block() == []

    asyncio.run(process())
