"""An avatar for LiveKit Agents: the agent's speech in, synchronized video and audio frames out (extra `livekit`).

    from livekit.agents.voice.avatar import AvatarOptions, AvatarRunner, QueueAudioOutput

    video = EMOVideoGenerator(pipe.live("portrait.png"))
    audio = QueueAudioOutput()
    session.output.audio = audio  # of the AgentSession
    await AvatarRunner(room, audio_recv=audio, video_gen=video, options=video.options()).start()

Between the agent's turns the portrait idles: there are video frames, and no audio frames, as LiveKit counts these as
played speech.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, VideoGenerator

if TYPE_CHECKING:
    from emo.pipelines.live import LiveFrame, LiveSession


class EMOVideoGenerator(VideoGenerator):
    """Animates a portrait by the frames that an `AvatarRunner` receives.

    Args:
        session: A live session (`pipe.live(...)`), which is closed with the generator.
    """

    def __init__(self, session: "LiveSession"):
        self._session = session
        self._segment_ends: list[float] = []  # seconds of the session at which a turn of the agent ends

    def options(self) -> AvatarOptions:
        """Return the options of an `AvatarRunner` that fit the session."""
        width, height = self._session.size
        return AvatarOptions(
            video_width=width,
            video_height=height,
            video_fps=self._session.fps,
            audio_sample_rate=self._session.sample_rate,
            audio_channels=1,
        )

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Say a piece of the agent's speech.

        Args:
            frame: 16-bit sound of any rate, mixed to mono; or the end of a turn.
        """
        if isinstance(frame, AudioSegmentEnd):
            self._segment_ends.append(self._session.end_seconds)
            return
        samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
        self._session.push(samples.mean(axis=1).astype(np.int16), frame.sample_rate)

    def clear_buffer(self) -> None:
        """Stop speaking at once: the user has interrupted."""
        self._segment_ends.clear()
        self._session.interrupt()

    async def aclose(self) -> None:
        """End the frames."""
        self._session.close()

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        """Yield a video frame and, while the agent speaks, its audio frame; then the end of each turn."""
        async for frame in self._session.frames():
            yield self._make_video(frame)
            if frame.latency_seconds is not None:  # sound that was pushed
                yield self._make_audio(frame)
            shown = (frame.index + 1) / self._session.fps
            while self._segment_ends and self._segment_ends[0] <= shown:
                self._segment_ends.pop(0)
                yield AudioSegmentEnd()

    def _make_video(self, frame: "LiveFrame") -> rtc.VideoFrame:
        height, width = frame.image.shape[:2]
        return rtc.VideoFrame(width, height, rtc.VideoBufferType.RGB24, frame.image.tobytes())

    def _make_audio(self, frame: "LiveFrame") -> rtc.AudioFrame:
        samples = np.round(frame.audio * 32767).astype(np.int16)
        return rtc.AudioFrame(samples.tobytes(), self._session.sample_rate, 1, len(samples))
