"""Live sessions by WebRTC: POST /v1/sessions/offer answers an SDP offer.

The client's microphone is its audio track; the server sends a video and an audio track whose time stamps come from the
same frames, and events and commands pass through the data channel that the client opens.
"""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from emo.app.live import LiveConnection, StartRequest, describe_error, describe_start, open_session, reserve_session
from emo.app.security import make_error
from emo.core.errors import InputError

if TYPE_CHECKING:
    from emo.app.state import ServerState

MAX_WAITING_FRAMES = 50  # of a track whose client takes nothing
MAX_WAITING_BYTES = 65536  # of events; a client that takes none gets no more
GATHER_SECONDS = 10.0  # to collect addresses
CONNECT_SECONDS = 20.0  # until the client has connected
VIDEO_CLOCK_HZ = 90000


class QueueTrack(MediaStreamTrack):
    """A track whose frames come from a queue; the oldest are dropped where nobody takes them.

    Args:
        kind: audio or video.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self._frames: asyncio.Queue = asyncio.Queue()

    def put(self, frame: av.VideoFrame | av.AudioFrame) -> None:
        """Send a frame."""
        if self._frames.qsize() >= MAX_WAITING_FRAMES:
            self._frames.get_nowait()
        self._frames.put_nowait(frame)

    async def recv(self) -> av.VideoFrame | av.AudioFrame:
        """Return the next frame."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._frames.get()


class Peer:
    """One client.

    Args:
        connection: The live session.
    """

    def __init__(self, connection: LiveConnection):
        self.connection, self.channel = connection, None
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # asks no server of others
        self.video, self.audio = QueueTrack("video"), QueueTrack("audio")
        self.gone = asyncio.Event()
        self._tasks: set[asyncio.Task] = set()
        self.peer.on("track", self._on_track)
        self.peer.on("datachannel", self._on_channel)
        self.peer.on("connectionstatechange", self._on_state)

    async def answer(self, sdp: str, kind: str) -> RTCSessionDescription:
        """Answer an offer. Raises InputError."""
        try:
            await self.peer.setRemoteDescription(RTCSessionDescription(sdp, kind))
            self.peer.addTrack(self.video)
            self.peer.addTrack(self.audio)
            await self.peer.setLocalDescription(await self.peer.createAnswer())
        except Exception as error:  # parsers of SDP raise errors of many kinds
            raise InputError("sdp is no offer that can be answered; send that of createOffer()") from error
        return self.peer.localDescription

    async def run(self) -> None:
        """Send frames until the client has gone or the session has ended."""
        loop, limit = asyncio.get_running_loop(), 60 * self.connection.state.settings.session_minutes
        timer = loop.call_later(CONNECT_SECONDS, self._check_connected)
        try:
            async with asyncio.timeout(limit):
                with ThreadPoolExecutor(1, "emo-live") as executor:
                    while not self.gone.is_set():
                        frames = await loop.run_in_executor(executor, self.connection.make_block)
                        if not frames:
                            return
                        for event in self.connection.follow(frames):
                            self._send(event)
                        for frame in frames:
                            self._put(frame)
        except TimeoutError:
            self._send({"type": "error", "message": "the session has ended; start another"})
        finally:
            timer.cancel()
            await self.close()

    async def close(self) -> None:
        """End the session and the connection."""
        self.gone.set()
        self.connection.session.close()
        for task in self._tasks:
            task.cancel()
        await self.peer.close()

    def _put(self, frame) -> None:
        fps, rate = self.connection.session.fps, self.connection.session.sample_rate
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), "rgb24")
        picture.pts, picture.time_base = round(frame.index * VIDEO_CLOCK_HZ / fps), Fraction(1, VIDEO_CLOCK_HZ)
        sound = av.AudioFrame.from_ndarray(np.round(frame.audio[None] * 32767).astype(np.int16), "s16", "mono")
        sound.sample_rate, sound.pts, sound.time_base = rate, round(frame.index * rate / fps), Fraction(1, rate)
        self.video.put(picture)
        self.audio.put(sound)

    def _send(self, event: dict) -> None:
        channel = self.channel
        if channel is not None and channel.readyState == "open" and channel.bufferedAmount < MAX_WAITING_BYTES:
            channel.send(json.dumps(event))

    def _on_channel(self, channel) -> None:
        self.channel = channel
        self._send(describe_start(self.connection, ""))

        @channel.on("message")
        async def on_message(message: str | bytes) -> None:
            try:
                if not isinstance(message, str):
                    raise InputError("commands are JSON; sound comes as an audio track")
                if not await self.connection.command(message):
                    self._leave()
            except InputError as error:
                self._send({"type": "error", "message": str(error)})

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            task = asyncio.create_task(self._listen(track))
            self._tasks.add(task)

    async def _listen(self, track: MediaStreamTrack) -> None:
        session = self.connection.session
        resampler = av.AudioResampler(format="s16", layout="mono", rate=session.sample_rate)
        with suppress(MediaStreamError, InputError):
            while True:
                for frame in resampler.resample(await track.recv()):
                    session.push(frame.to_ndarray()[0], session.sample_rate)

    async def _on_state(self) -> None:
        if self.peer.connectionState in ("failed", "closed", "disconnected"):
            self._leave()

    def _check_connected(self) -> None:
        if self.peer.connectionState != "connected":
            self._leave()

    def _leave(self) -> None:
        """End the frames, and with them `run`."""
        self.gone.set()
        self.connection.session.close()


def make_webrtc_router(state: "ServerState") -> APIRouter:
    """Return the route of live sessions by WebRTC."""
    router, running = APIRouter(), set()

    @router.post("/v1/sessions/offer", tags=["live"], summary="Answer a WebRTC offer")
    async def answer_offer(request: Request) -> Response:
        """Multipart: the file `image`, the fields `sdp` and `type` of the offer, and `start` (JSON, as the first
        message of WS /v1/sessions)."""
        with reserve_session(state) as probe:
            if probe is None:
                return make_error(429, "all live sessions are taken, try again later", "rate_limit_error")
        started: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        async with request.form(max_files=1, max_fields=5) as form:
            upload, sdp, kind = form.get("image"), form.get("sdp"), form.get("type", "offer")
            if not isinstance(upload, UploadFile) or not isinstance(sdp, str) or kind != "offer":
                return make_error(400, "send image (a file), sdp and type=offer")
            picture, start = await upload.read(), str(form.get("start") or "{}")
        task = asyncio.create_task(serve_offer(state, picture, start, sdp, started))
        running.add(task)
        task.add_done_callback(running.discard)
        return await started

    return router


async def serve_offer(
    state: "ServerState", picture: bytes, start: str, sdp: str, started: "asyncio.Future[Response]"
) -> None:
    """Run a session; `started` gets the answer or an error."""
    with reserve_session(state) as session_id:
        if session_id is None:
            return started.set_result(make_error(429, "all live sessions are taken, try again later"))
        peer = None
        try:
            asked = StartRequest.model_validate_json(start)
            session = await open_session(state, asked, picture)
            peer = Peer(LiveConnection(state, session, session_id, asked.sample_rate))
            answer = await asyncio.wait_for(peer.answer(sdp, "offer"), GATHER_SECONDS)
            started.set_result(JSONResponse({"id": session_id, "sdp": answer.sdp, "type": answer.type}))
            await peer.run()
        except (InputError, ValidationError, TimeoutError) as error:
            if peer is not None:
                await peer.close()
            if not started.done():
                started.set_result(make_error(400, describe_error(error)))
        finally:
            if not started.done():
                started.set_result(make_error(500, "the session could not be started"))
