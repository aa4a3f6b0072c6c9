"""The Ray Serve example on this machine: two replicas make videos and hold live sessions."""

import importlib
import io
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import av
import pytest
from filelock import FileLock

pytest.importorskip("ray.serve", reason="ray[serve] is not installed", exc_type=ImportError)
import httpx
import ray
from ray import serve
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

FOLDER = Path(__file__).parents[2] / "integrations" / "ray_serve"


@pytest.fixture
def address(tiny_model_folder, monkeypatch, tmp_path_factory):
    """HOST:PORT of two replicas with the tiny model, each with a place for one live session."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))  # where the replicas find the example
    monkeypatch.syspath_prepend(str(FOLDER))
    example = importlib.import_module("portraits")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run(example.build(example.Options(model=str(tiny_model_folder), device="cpu")))
            yield f"localhost:{port}"
        finally:
            serve.shutdown()
            ray.shutdown()


def test_two_replicas(address, portrait_path, wave, tmp_path, write_wav):
    write_wav(tmp_path / "sound.wav", wave[:9600])
    picture, sound = portrait_path.read_bytes(), (tmp_path / "sound.wav").read_bytes()

    def post(image: bytes) -> httpx.Response:
        files = {"image": ("me.png", image), "audio": ("sound.wav", sound)}
        fields = {"face": "full", "fps": "10"}
        return httpx.post(f"http://{address}/v1/videos/content", files=files, data=fields, timeout=None)

    with ThreadPoolExecutor() as executor:
        *made, refused = executor.map(post, [picture, picture, picture, b"no picture"])
    for response in made:
        assert response.status_code == 200 and response.headers["content-type"] == "video/mp4"
        with av.open(io.BytesIO(response.content)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 6 and video.streams.audio
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("me.png is not a picture that can be read")

    with ExitStack() as stack:
        started = []
        while len(started) < 2:  # a replica holds one session: the second is the other replica's
            try:
                client = stack.enter_context(connect(f"ws://{address}/v1/sessions", open_timeout=None))
                client.send(json.dumps({"type": "start", "face": "full"}))
                client.send(picture)
                started.append(json.loads(client.recv())["type"])
            except WebSocketException:  # it came to the replica that is taken
                continue
        assert started == ["started", "started"]
