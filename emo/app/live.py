"""Live sessions of the server: what the web socket and WebRTC share, and the route WS /v1/sessions.

The client sends {"type": "start", ...} and then the picture's bytes; after `started` it sends sound (16-bit PCM, mono)
as binary messages and commands as JSON. The server sends fragmented mp4 as binary messages and events as JSON.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response
from starlette.websockets import WebSocketState

from emo.app.decoding import decode_upload
from emo.app.security import clean_text, make_error
from emo.core.errors import InputError
from emo.media.fragments import FragmentWriter
from emo.media.image import read_image
from emo.provenance.marks import name_model
from emo.provenance.payload import make_payload
from emo.provenance.policy import check_policy
from emo.provenance.watermark import Watermark

if TYPE_CHECKING:
    from emo.app.state import ServerState
    from emo.pipelines.live import LiveFrame, LiveSession

logger = logging.getLogger(__name__)
MICROPHONE_DELAY_SECONDS = 0.5  # sound of a microphone that waits longer is dropped
MAX_CHUNK_SECONDS = 10.0
MAX_COMMAND_CHARACTERS = 10_000
TOO_MANY, WRONG, ENDED = 1013, 1008, 1000  # close codes of RFC 6455
CLOSE_SECONDS = 2.0  # to say why a session ends
MAX_REASON_BYTES = 120  # of a close frame


class StartRequest(BaseModel):
    """The first message of a session."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["start"] = "start"
    mode: Literal["microphone", "speech"] = Field("microphone", description="speech may be sent faster than it is said")
    sample_rate: Annotated[int, Field(ge=8000, le=96000)] = Field(16000, description="Hz, of the sound that is sent")
    fps: Annotated[float, Field(ge=5, le=60)] = 25
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_size: Annotated[int, Field(ge=64, le=1024)] = Field(512, description="pixels; a larger portrait is shrunk")
    face: Literal["full"] | None = None
    crop: bool = False
    controls: dict[str, Any] | None = None


class LiveConnection:
    """One live session and its client, however it is connected.

    Args:
        state: What the server's routes share.
        session: The session.
        session_id: Its id.
        sample_rate: Hz, of the sound that the client sends.
    """

    def __init__(self, state: "ServerState", session: "LiveSession", session_id: str, sample_rate: int):
        self.state, self.session, self.id, self.sample_rate = state, session, session_id, sample_rate
        self.interrupted = False
        self._speaking, self._repeated = False, False
        self._marked: np.ndarray | None = None
        self._watermark = Watermark(make_payload(name_model(state.model.get())))
        logger.info("%s: watermark %s", session_id, self._watermark.payload.hex)

    def make_block(self) -> "list[LiveFrame]":
        """Make the next frames, marked; [] at the end. Repeated ones share their image."""
        frames = []
        for frame in self.session.make_block():
            if self._marked is None or not frame.is_repeated:
                self._marked = self._watermark.mark(frame.image)
            frames.append(replace(frame, image=self._marked))
        return frames

    def push(self, data: bytes) -> None:
        """Say 16-bit PCM, mono. Raises InputError where it is no such sound, or too much waits."""
        if len(data) % 2 or len(data) > 2 * MAX_CHUNK_SECONDS * self.sample_rate:
            raise InputError(
                f"{len(data)} bytes of sound: send 16-bit samples, at most {MAX_CHUNK_SECONDS:g} s at once"
            )
        self._say(np.frombuffer(data, "<i2").astype(np.int16), self.sample_rate)

    def _say(self, samples: np.ndarray, sample_rate: int) -> None:
        if self.session.waiting_seconds > self.state.settings.max_seconds:
            raise InputError("too much sound waits: send it no faster than it is said")
        self.session.push(samples, sample_rate)

    async def command(self, text: str) -> bool:
        """Carry out a command; returns whether the session goes on. Raises InputError."""
        try:
            message = json.loads(text[: MAX_COMMAND_CHARACTERS + 1])
            kind = message.pop("type")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError('a command is JSON such as {"type": "interrupt"}') from error
        if kind == "close":
            return False
        if kind in ("interrupt", "clear"):
            self.session.interrupt()
            self.interrupted = True
        elif kind == "set":
            self.session.set(**message)
        elif kind == "say":
            given = [message.get(name) for name in ("text", "language", "voice")]
            if not isinstance(given[0], str) or not all(isinstance(value, str | None) for value in given):
                raise InputError('say: give {"type": "say", "text": "Hello"}')
            speech = await asyncio.to_thread(self.state.speak, given[0], given[1] or "en-US", given[2])
            self._say(np.asarray(speech.wave), speech.sample_rate)
        else:
            raise InputError(f"{str(kind)[:40]} is no command: send interrupt, set, say or close")
        return True

    def follow(self, frames: "list[LiveFrame]") -> list[dict[str, Any]]:
        """Count frames, and return the events that they bring."""
        events, monitor = [], self.state.monitor
        for frame in frames:
            seconds = round(frame.index / self.session.fps, 3)
            if self.interrupted:
                events.append({"type": "interrupted", "seconds": seconds})
                self.interrupted = False
            if frame.is_speaking != self._speaking:
                events.append({"type": "speaking" if frame.is_speaking else "idle", "seconds": seconds})
                self._speaking = frame.is_speaking
            if frame.is_repeated and not self._repeated:
                events.append({"type": "lag", "seconds": seconds})
            self._repeated = frame.is_repeated
            (monitor.lag_frames if frame.is_repeated else monitor.frames.labels("sessions")).inc()
            if frame.latency_seconds is not None:
                monitor.latency.observe(frame.latency_seconds)
        return events


@contextmanager
def reserve_session(state: "ServerState") -> Iterator[str | None]:
    """Hold a place for a session; yields its id, or None where all are taken."""
    if len(state.sessions) >= state.settings.max_sessions:
        state.monitor.refused.labels("sessions").inc()
        yield None
        return
    session_id = f"session_{secrets.token_hex(8)}"
    state.sessions.add(session_id)
    try:
        yield session_id
    finally:
        state.sessions.discard(session_id)


async def open_session(state: "ServerState", asked: StartRequest, picture: bytes) -> "LiveSession":
    """Decode the picture in a child process and open a session. Raises InputError."""
    if not picture or len(picture) > state.settings.max_upload_bytes:
        raise InputError(f"the picture has {len(picture)} bytes, {state.settings.max_upload_mb:g} MB are the most")
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "upload", Path(folder) / "portrait.png"
        source.write_bytes(picture)
        limits = replace(state.settings, max_pixels=min(state.settings.max_pixels, asked.max_size**2))
        async with state.decoders:
            await decode_upload("image", source, target, "the picture", limits)
        pixels = read_image(target)
    check_policy(pixels, None)

    def start() -> "LiveSession":
        import torch

        delay = MICROPHONE_DELAY_SECONDS if asked.mode == "microphone" else None
        try:
            return state.model.get().live(
                pixels,
                fps=asked.fps,
                generator=torch.Generator().manual_seed(asked.seed),
                controls=asked.controls,
                face=asked.face,
                crop_only=asked.crop,
                max_delay_seconds=delay,
            )
        except InputError as error:
            raise InputError(str(error).replace(str(target), "the picture")) from error

    session = await asyncio.to_thread(start)
    state.monitor.sessions.inc()
    return session


def make_live_router(state: "ServerState") -> APIRouter:
    """Return the route of live sessions by web socket."""
    router = APIRouter()

    @router.websocket("/v1/sessions")
    async def run_session(socket: WebSocket) -> None:
        with reserve_session(state) as session_id:
            if session_id is None:
                return await refuse(socket, make_error(429, "all live sessions are taken, try again later"))
            await socket.accept()
            try:
                await serve_socket(state, socket, session_id)
            except WebSocketDisconnect:
                return
            except (InputError, ValidationError) as error:
                await end(socket, describe_error(error))
            except Exception:
                if socket.client_state is WebSocketState.CONNECTED:  # else it sent after the client had gone
                    logger.exception("%s failed", session_id)
                    await end(socket, "an error inside the server; its log says more")

    return router


def describe_error(error: Exception) -> str:
    """One line for the client."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'start'}: {first['msg']}"
    return str(error) or "it took too long"


async def refuse(socket: WebSocket, response: Response) -> None:
    """Answer the handshake with an HTTP error, where the server can, else close the socket."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:
        await socket.close(TOO_MANY)


async def end(socket: WebSocket, message: str) -> None:
    """Say why the session ends, and close the socket."""
    message = clean_text(message)
    reason = message.encode()[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    try:
        async with asyncio.timeout(CLOSE_SECONDS):  # the client may take nothing
            await socket.send_json({"type": "error", "message": message})
            await socket.close(WRONG, reason)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        return


async def serve_socket(state: "ServerState", socket: WebSocket, session_id: str) -> None:
    """Run a session from its first message to its end. Raises InputError for a wrong message."""
    asked = StartRequest.model_validate_json(await receive_first(state, socket, "text", "the start message (JSON)"))
    picture = await receive_first(state, socket, "bytes", "the picture (a binary message)")
    session = await open_session(state, asked, picture)
    connection = LiveConnection(state, session, session_id, asked.sample_rate)
    tasks = [asyncio.create_task(send_frames(socket, connection)), asyncio.create_task(receive(socket, connection))]
    try:
        limit = 60 * state.settings.session_minutes
        done, _ = await asyncio.wait(tasks, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if not done:
            raise InputError(f"a session ends after {state.settings.session_minutes:g} minutes; start another")
    finally:
        session.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await socket.send_json({"type": "ended"})
    await socket.close(ENDED)


async def receive_first(state: "ServerState", socket: WebSocket, kind: str, name: str) -> Any:
    """Wait for one of the messages that start a session. Raises InputError for another one, or for none."""
    try:
        message = await asyncio.wait_for(receive_message(socket), state.settings.receive_seconds)
    except TimeoutError as error:
        raise InputError(f"{name} did not come in time") from error
    if message.get(kind) is None:
        raise InputError(f"send {name} here")
    return message[kind]


async def receive_message(socket: WebSocket) -> dict[str, Any]:
    """Return the next message. Raises WebSocketDisconnect at the end."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", ENDED))
    return dict(message)


async def receive(socket: WebSocket, connection: LiveConnection) -> None:
    """Carry out what the client sends, until it closes."""
    while True:
        message = await receive_message(socket)
        if message.get("bytes") is not None:
            connection.push(message["bytes"])
        elif not await connection.command(message.get("text") or ""):
            return


async def send_frames(socket: WebSocket, connection: LiveConnection) -> None:
    """Send the frames of the session and its events.

    While the client takes nothing, no frames are made. Afterwards the last one repeats, so that sound and pictures keep
    their times. Raises InputError where the client takes nothing for too long.
    """
    session, wait = connection.session, connection.state.settings.send_seconds
    writer, loop, started = FragmentWriter(session.fps, session.sample_rate), asyncio.get_running_loop(), False

    def make_next() -> "tuple[list[LiveFrame], bytes]":
        frames = connection.make_block()
        return frames, b"".join(writer.write(frame.image, frame.audio) for frame in frames)

    with ThreadPoolExecutor(1, "emo-live") as executor:
        while True:
            frames, data = await loop.run_in_executor(executor, make_next)
            if not frames:
                return
            if not data:
                continue
            events = connection.follow(frames)
            if not started:
                started, events = True, [describe_start(connection, writer.mime_type), *events]
            try:
                async with asyncio.timeout(wait):
                    for event in events:
                        await socket.send_json(event)
                    await socket.send_bytes(data)
            except TimeoutError as error:
                raise InputError(f"the client took no frame for {wait:g} s") from error


def describe_start(connection: LiveConnection, mime_type: str) -> dict[str, Any]:
    """The event `started`."""
    session = connection.session
    return {
        "type": "started",
        "id": connection.id,
        "mime_type": mime_type,
        "width": session.size[0],
        "height": session.size[1],
        "fps": session.fps,
        "sample_rate": session.sample_rate,
    }
