"""The LiveKit avatar, with LiveKit's own types: turns, their ends, interruption, idleness; no server is needed."""

import asyncio
import runpy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("livekit.agents")
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, QueueAudioOutput

from emo.integrations.livekit import EMOVideoGenerator


class Clock:
    """Time passes only while the session waits."""

    def __init__(self):
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, condition, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def generator(tiny_pipeline, portrait):
    return EMOVideoGenerator(tiny_pipeline.live(portrait, face="full", block_frames=6, clock=Clock()))


def make_frame(wave: np.ndarray, rate: int = 24000, channels: int = 1) -> rtc.AudioFrame:
    samples = np.repeat((wave * 32767).astype(np.int16)[:, None], channels, 1)
    return rtc.AudioFrame(samples.tobytes(), rate, channels, len(samples))


async def collect(generator, videos: int) -> list:
    items = []
    async for item in generator:
        items.append(item)
        if sum(isinstance(item, rtc.VideoFrame) for item in items) >= videos:
            await generator.aclose()
    return items


def test_a_turn_of_the_agent(generator, wave):
    async def speak():
        output = QueueAudioOutput(sample_rate=24000)
        await output.capture_frame(make_frame(wave[:9600]))
        output.flush()
        async for item in output:
            await generator.push_audio(item)
            if isinstance(item, AudioSegmentEnd):
                return await collect(generator, 42)

    items = asyncio.run(speak())
    options = generator.options()
    sizes = {(item.width, item.height) for item in items if isinstance(item, rtc.VideoFrame)}
    sounds = [item for item in items if isinstance(item, rtc.AudioFrame)]
    assert sizes == {(options.video_width, options.video_height)} == {(192, 192)}
    assert 0.36 <= sum(item.duration for item in sounds) <= 0.48  # of 0.4 s; none while it idles
    kinds = [type(item).__name__ for item in items]
    assert kinds.count("AudioSegmentEnd") == 1 and "AudioFrame" not in kinds[kinds.index("AudioSegmentEnd") :]


def test_interruption(generator, wave):
    async def speak():
        for _ in range(10):
            await generator.push_audio(make_frame(wave, 16000, channels=2))
        await generator.push_audio(AudioSegmentEnd())
        generator.clear_buffer()
        return await collect(generator, 12)

    items = asyncio.run(speak())
    assert not any(isinstance(item, AudioSegmentEnd) for item in items)
    assert sum(isinstance(item, rtc.AudioFrame) for item in items) <= 1


def test_the_example_shows_a_turn_to_the_room(tiny_pipeline, portrait, wave):
    """Through LiveKit's runner, tracks and streams; a stand-in of the room receives them."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "integrations" / "livekit" / "avatar_offline.py"))
    session = tiny_pipeline.live(portrait, face="full", block_frames=6, clock=Clock())

    async def run() -> tuple[float, list[np.ndarray]]:
        room = example["OfflineRoom"]()
        seconds = await example["speak"](session, wave[:6400], 16000, room)
        await room.leave()
        return seconds, room.pictures

    seconds, pictures = asyncio.run(run())
    assert 0.36 <= seconds <= 0.48  # of 0.4 s
    assert pictures and {picture.shape for picture in pictures} == {(192, 192, 3)}
    error = np.abs(pictures[0].astype(float) - portrait).mean()
    assert error < 40  # it is the portrait, after the conversions of WebRTC
