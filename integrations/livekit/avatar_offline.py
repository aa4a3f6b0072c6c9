"""An avatar of LiveKit Agents without a server: a sound file is the agent's speech, a video file is the room.

    python integrations/livekit/avatar_offline.py portrait.png speech.wav room.mp4 [MODEL]

The parts are LiveKit's own but for the room. With a server, give `speak` a connected `rtc.Room`.
"""

import asyncio
import sys
from typing import TYPE_CHECKING

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AvatarRunner, QueueAudioOutput

from emo.integrations.livekit import EMOVideoGenerator

if TYPE_CHECKING:
    from emo.pipelines.live import LiveSession


class OfflineRoom:
    """Stands for a room whose one guest sees the avatar.

    Attributes:
        local_participant: The room itself: it takes the avatar's tracks.
        pictures: (H W 3) uint8, those that the guest has seen.
    """

    def __init__(self):
        self.local_participant = self
        self.pictures: list[np.ndarray] = []
        self._watching: list[asyncio.Task] = []

    def isconnected(self) -> bool:
        """Whether tracks can be published."""
        return True

    def on(self, event: str, callback) -> None:
        """Call back at an event; there is none."""

    def off(self, event: str, callback) -> None:
        """The opposite of `on`."""

    async def publish_track(self, track: rtc.Track, options: rtc.TrackPublishOptions) -> "OfflineRoom":
        """Take a track; returns its publication."""
        if isinstance(track, rtc.LocalVideoTrack):
            self._watching.append(asyncio.create_task(self._watch(track)))
        return self

    async def wait_for_subscription(self) -> None:
        """Return when the guest gets a track, which is at once."""

    async def _watch(self, track: rtc.LocalVideoTrack) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24)
        try:
            async for event in stream:
                frame = event.frame
                self.pictures.append(np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3).copy())
        finally:
            await stream.aclose()

    async def leave(self) -> None:
        """End the watching."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)


async def speak(session: "LiveSession", wave: np.ndarray, sample_rate: int, room: rtc.Room | OfflineRoom) -> float:
    """Let the avatar say one turn in the room.

    Args:
        session: `pipe.live(...)`; it is closed.
        wave: (S,) float32 in [-1, 1], the turn.
        sample_rate: Hz.
        room: A connected room.

    Returns:
        Seconds of the turn that were played.
    """
    video, audio = EMOVideoGenerator(session), QueueAudioOutput(sample_rate=sample_rate)
    runner = AvatarRunner(room, audio_recv=audio, video_gen=video, options=video.options())
    await runner.start()
    try:
        samples = np.round(wave * 32767).astype(np.int16)
        await audio.capture_frame(rtc.AudioFrame(samples.tobytes(), sample_rate, 1, len(samples)))
        audio.flush()  # the turn's end
        played = await audio.wait_for_playout()
    finally:
        await runner.aclose()
        await video.aclose()
    return played.playback_position


async def main(portrait: str, sound: str, output: str, model: str = "mini") -> None:
    """Write the pictures that the room gets to `output`."""
    from emo import EMOPipeline
    from emo.media.audio import read_audio
    from emo.media.video_writer import VideoWriter

    pipe = EMOPipeline.from_pretrained(model)
    session, room = pipe.live(portrait), OfflineRoom()
    wave = read_audio(sound, session.sample_rate)
    seconds = await speak(session, wave, session.sample_rate, room)
    await room.leave()
    with VideoWriter(output, session.fps, overwrite=True) as writer:
        for picture in room.pictures:
            writer.write(picture)
    print(f"{output}: {len(room.pictures)} pictures, {seconds:.2f} s of speech")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
