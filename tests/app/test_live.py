"""Live sessions: sound in, fragmented mp4 and events out; wrong and misbehaving clients harm nobody else."""

import asyncio
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import av
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from emo.app.live import LiveConnection
from emo.app.server import make_app
from emo.app.settings import ServerSettings
from emo.media.fragments import FragmentWriter
from emo.speech.contracts import SynthesizedSpeech

START = {"type": "start", "face": "full", "mode": "speech"}


@pytest.fixture
def client(tmp_path, tiny_pipeline, monkeypatch):
    """A server that was not started (no job runs), with one live session; uploads are copied, not decoded."""

    async def copy(kind, source, target, name, settings) -> float:
        target.write_bytes(source.read_bytes())
        return 0.6

    monkeypatch.setattr("emo.app.live.decode_upload", copy)
    app = make_app(ServerSettings(tmp_path, max_sessions=1, receive_seconds=20), lambda: tiny_pipeline)
    client = TestClient(app, base_url="http://localhost")
    client.server = app.state.server
    return client


@pytest.fixture
def picture(portrait_path) -> bytes:
    return portrait_path.read_bytes()


def open_socket(client, picture, **start):
    socket = client.websocket_connect("/v1/sessions")
    socket.__enter__()
    socket.send_json(START | start)
    socket.send_bytes(picture)
    return socket


def receive_until(socket, kind: str, data: bytearray) -> dict:
    """The next event of this kind; the bytes on the way are appended to `data`."""
    while True:
        message = socket.receive()
        assert message["type"] == "websocket.send", message
        if message.get("bytes") is not None:
            data += message["bytes"]
        elif (event := json.loads(message["text"]))["type"] == kind:
            return event
        else:
            assert event["type"] != "error", event


def pcm(wave: np.ndarray) -> bytes:
    return (wave * 32767).astype("<i2").tobytes()


def test_sound_in_video_out(client, picture, wave):
    data = bytearray()
    client.server._synthesizer = type("Synthesizer", (), {"synthesize": speak})()
    socket = open_socket(client, picture)
    started = receive_until(socket, "started", data)
    assert (started["width"], started["height"], started["fps"]) == (192, 192, 25)
    assert started["mime_type"].startswith('video/mp4; codecs="avc1.42')
    socket.send_bytes(pcm(wave[:8000]))
    spoken = receive_until(socket, "speaking", data)
    socket.send_bytes(pcm(np.resize(wave, 160_000)))
    socket.send_json({"type": "interrupt"})
    interrupted = receive_until(socket, "interrupted", data)
    assert interrupted["seconds"] >= spoken["seconds"]
    receive_until(socket, "idle", data)  # long before the ten seconds are over
    socket.send_json({"type": "set", "head_speed": 0.3})
    socket.send_json({"type": "say", "text": "Hello"})
    receive_until(socket, "speaking", data)
    socket.send_json({"type": "close"})
    receive_until(socket, "ended", data)
    with pytest.raises(WebSocketDisconnect):
        socket.receive_json()
    assert not client.server.sessions
    with av.open(io.BytesIO(data)) as video:
        times = [(type(frame).__name__, frame.time) for frame in video.decode()]
    pictures = np.diff([time for name, time in times if name == "VideoFrame"])
    sounds = np.diff([time for name, time in times if name == "AudioFrame"])
    assert np.allclose(pictures, 1 / 25, atol=1e-4) and np.allclose(sounds[1:], 1024 / 48000, atol=1e-4)
    assert abs(times[-1][1] - 0.04 * len(pictures)) < 0.1
    assert 'emo_frames_total{kind="sessions"}' in client.get("/metrics").text


def speak(self, text, language, voice=None) -> SynthesizedSpeech:
    return SynthesizedSpeech(0.3 * np.ones(12000, np.float32), 24000)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"123", "3 bytes of sound: send 16-bit samples"),
        ("no JSON", 'a command is JSON such as {"type": "interrupt"}'),
        ("[1]", "a command is JSON"),
        ('{"type": "dance"}', "dance is no command"),
        ('{"type": "set", "gaze": [0, 0]}', "gaze is not a condition of this model"),
        ('{"type": "say"}', "say: give"),
    ],
)
def test_a_wrong_message_ends_the_session_with_one_line(client, picture, sent, said):
    socket = open_socket(client, picture)
    receive_until(socket, "started", bytearray())
    (socket.send_bytes if isinstance(sent, bytes) else socket.send_text)(sent)
    while (message := socket.receive()).get("text") is None or "error" not in message["text"]:
        assert message["type"] == "websocket.send", message
    assert said in json.loads(message["text"])["message"]
    with pytest.raises(WebSocketDisconnect):
        socket.receive_json()
    assert not client.server.sessions


def test_a_wrong_start_is_refused(client, picture):
    for start, content, said in [({"fps": 1}, picture, "fps"), ({}, b"", "0 bytes")]:
        socket = open_socket(client, content, **start)
        assert said in socket.receive_json()["message"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
    assert not client.server.sessions


def test_a_set_of_any_name_is_answered(client, picture):
    socket = open_socket(client, picture)
    receive_until(socket, "started", bytearray())
    socket.send_json({"type": "set", "self": 1})
    socket.send_json({"type": "\ud800"})
    while (message := socket.receive()).get("text") is None or "error" not in message["text"]:
        assert message["type"] == "websocket.send", message
    assert "self is not a condition" in message["text"]


def test_first_messages_of_the_wrong_kind(client, picture):
    for first, second, said in [
        (b"a picture", None, "send the start message (JSON) here"),
        ("{}", "a text", "send the picture (a binary message) here"),
        ('{"type": "start", "\ud800": 1}', None, "start"),
    ]:
        with client.websocket_connect("/v1/sessions") as socket:
            for message in (first, second):
                if message is not None:
                    (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
            assert said in socket.receive_json()["message"]
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert said in closed.value.reason
    assert not client.server.sessions


class StuckClient:
    """An ASGI client that takes messages until the first frames, and then nothing any more."""

    def __init__(self, picture: bytes):
        self.messages = [{"type": "websocket.connect"}, {"text": json.dumps(START)}, {"bytes": picture}]
        self.taken, self.waiting = [], 0

    async def receive(self) -> dict:
        if not self.messages:
            await asyncio.Event().wait()
        return {"type": "websocket.receive"} | self.messages.pop(0)

    async def send(self, message: dict) -> None:
        self.taken.append(message)
        if message.get("bytes"):
            self.waiting += 1
            await asyncio.Event().wait()


def test_a_client_that_stops_to_read_is_dropped(client, picture, monkeypatch):
    """It holds one block of frames and no place for a session; nothing more waits for it."""
    monkeypatch.setattr("emo.app.live.CLOSE_SECONDS", 0)
    state = client.server
    state.settings = replace(state.settings, send_seconds=0)
    stuck = StuckClient(picture)
    headers = [(b"host", b"localhost")]
    scope = {"type": "websocket", "path": "/v1/sessions", "headers": headers, "query_string": b"", "subprotocols": []}
    asyncio.run(client.app(scope, stuck.receive, stuck.send))
    assert not state.sessions and stuck.waiting == 1
    assert "took no frame" in stuck.taken[-2]["text"]
    state.settings = replace(state.settings, send_seconds=10)
    after = open_socket(client, picture)
    assert receive_until(after, "started", bytearray())["id"]
    after.close()
    after.__exit__(None, None, None)


def test_a_client_that_starts_nothing_gives_its_place_back(client):
    client.server.settings = replace(client.server.settings, receive_seconds=0)
    with client.websocket_connect("/v1/sessions") as socket:
        assert socket.receive_json()["message"] == "the start message (JSON) did not come in time"
    assert not client.server.sessions


def test_repeated_frames_are_marked_once(client, tiny_pipeline, portrait):
    """A client that halts for a minute gets them all afterwards; they must not fill the memory."""
    clock = SimpleNamespace(time=0.0, now=lambda: clock.time, wait=lambda condition, seconds: None)
    session = tiny_pipeline.live(portrait, face="full", clock=clock)
    connection = LiveConnection(client.server, session, "session", 16000)
    connection.make_block()
    clock.time += 60
    blocks = [connection.make_block() for _ in range(3)]
    assert all(len(block) == 25 and {frame.is_repeated for frame in block} == {True} for block in blocks)
    assert len({id(frame.image) for block in blocks for frame in block}) == 1


def test_one_session_too_many_is_answered_with_429(client, picture):
    first = open_socket(client, picture)
    receive_until(first, "started", bytearray())
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/v1/sessions"):
        pass
    assert refused.value.status_code == 429
    first.close()  # without a word
    first.__exit__(None, None, None)
    second = open_socket(client, picture)
    assert receive_until(second, "started", bytearray())["id"]
    second.close()
    second.__exit__(None, None, None)


def test_fragments_leave_with_every_frame(wave, draw):
    writer, sizes = FragmentWriter(25, 16000), []
    for index in range(10):
        sizes.append(len(writer.write(draw(index % 2), wave[640 * index :][:640])))
    assert min(sizes) > 0 and sizes[0] > 1000  # the head and the first picture come with frame 0
    assert writer.mime_type.endswith('mp4a.40.2"')


def test_a_peer_that_never_connects_gives_its_place_back(client, picture, monkeypatch):
    aiortc = pytest.importorskip("aiortc")
    monkeypatch.setattr("emo.app.webrtc.CONNECT_SECONDS", 0)

    async def call() -> None:
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        peer.addTransceiver("video", direction="recvonly")
        peer.addTransceiver("audio", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            fields = {"sdp": peer.localDescription.sdp, "type": "offer", "start": '{"face": "full"}'}
            reply = await http.post("/v1/sessions/offer", files={"image": picture}, data=fields)
        assert reply.status_code == 200
        while client.server.sessions:
            await asyncio.sleep(0.01)
        await peer.close()

    asyncio.run(asyncio.wait_for(call(), 60))


def test_webrtc_on_loopback(tmp_path, tiny_pipeline, picture, monkeypatch):
    aiortc = pytest.importorskip("aiortc")
    from emo.app.webrtc import QueueTrack

    async def copy(kind, source, target, name, settings) -> float:
        target.write_bytes(source.read_bytes())
        return 0.0

    monkeypatch.setattr("emo.app.live.decode_upload", copy)
    app = make_app(ServerSettings(tmp_path, max_sessions=1), lambda: tiny_pipeline)

    async def call() -> tuple[list, list, list]:
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        tracks, events, microphone = {}, [], QueueTrack("audio")
        peer.on("track", lambda track: tracks.update({track.kind: track}))
        peer.addTransceiver("video", direction="recvonly")
        peer.addTrack(microphone)
        channel = peer.createDataChannel("events")
        channel.on("message", lambda text: events.append(json.loads(text)["type"]))
        await peer.setLocalDescription(await peer.createOffer())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            fields = {"sdp": peer.localDescription.sdp, "type": "offer", "start": '{"face": "full"}'}
            wrong = await http.post("/v1/sessions/offer", files={"image": picture}, data=fields | {"sdp": "none"})
            assert wrong.status_code == 400 and "sdp" in wrong.json()["error"]["message"]
            reply = (await http.post("/v1/sessions/offer", files={"image": picture}, data=fields)).json()
            await peer.setRemoteDescription(aiortc.RTCSessionDescription(reply["sdp"], reply["type"]))
            pictures = [await asyncio.wait_for(tracks["video"].recv(), 60) for _ in range(5)]
            sounds = [await asyncio.wait_for(tracks["audio"].recv(), 60) for _ in range(5)]
        await peer.close()
        while app.state.server.sessions:
            await asyncio.sleep(0.01)
        return pictures, sounds, events

    pictures, sounds, events = asyncio.run(call())
    assert (pictures[0].width, pictures[0].height) == (192, 192) and sounds[0].sample_rate == 48000
    assert all(b.pts > a.pts for a, b in zip(pictures, pictures[1:], strict=False)) and "started" in events
