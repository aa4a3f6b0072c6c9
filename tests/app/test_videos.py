"""The jobs API: upload, progress, content, cancel, limits, restart; bad uploads get one clear line."""

import io
import json
import time
from contextlib import contextmanager

import av
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from emo.app.jobs import INTERRUPTED_MESSAGE, JobStore
from emo.app.server import make_app
from emo.app.settings import ServerSettings

FULL = {"face": "full"}


@pytest.fixture
def serve(tmp_path, tiny_pipeline):
    """with serve(max_queue=1, ...) as client: ..."""

    @contextmanager
    def start(load=lambda: tiny_pipeline, **changes):
        app = make_app(ServerSettings(tmp_path, **changes), load)
        with TestClient(app, base_url="http://localhost") as client:
            client.server = app.state.server
            yield client

    return start


@pytest.fixture
def files(portrait_path, tmp_path_factory, write_wav, wave):
    """The files of a request: the drawn portrait and 0.6 s of sound."""
    sound = tmp_path_factory.mktemp("request") / "sound.wav"
    write_wav(sound, wave[:9600])
    return {
        "image": ("me.png", portrait_path.read_bytes(), "image/png"),
        "audio": ("sound.wav", sound.read_bytes(), "audio/wav"),
    }


@pytest.fixture
def copied_uploads(monkeypatch):
    """Uploads are copied, not decoded in a process of their own: for tests of what comes after."""

    async def copy(kind, source, target, name, settings) -> float:
        target.write_bytes(source.read_bytes())
        return 0.6

    monkeypatch.setattr("emo.app.videos.decode_upload", copy)


def read_events(client, job_id: str) -> list[tuple[str, dict]]:
    """The events of a job until it is over."""
    with client.stream("GET", f"/v1/videos/{job_id}/events") as response:
        text = "".join(response.iter_text())
    events = [block.split("\n", 1) for block in text.strip().split("\n\n") if block.startswith("event")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


def post(client, files, **fields):
    return client.post("/v1/videos", files=files, data=FULL | fields)


def test_portrait_and_sound_become_a_video(serve, files):
    with serve() as client:
        job = post(client, files, fps="10").json()
        assert job["object"] == "video" and job["status"] in ("queued", "in_progress") and job["seconds"] == "0.6"
        name, last = read_events(client, job["id"])[-1]
        assert name == "completed" and last["status"] == "completed" and last["progress"] == 100
        assert client.get(f"/v1/videos/{job['id']}").json() == last
        response = client.get(f"/v1/videos/{job['id']}/content")
        assert response.headers["content-type"] == "video/mp4"
        with av.open(io.BytesIO(response.content)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 6 and video.streams.audio
        part = client.get(f"/v1/videos/{job['id']}/content", headers={"Range": "bytes=0-9"})
        assert part.status_code == 206 and part.content == response.content[:10]  # players seek by ranges
        assert 'emo_jobs_total{outcome="completed"} 1.0' in client.get("/metrics").text
        assert client.delete(f"/v1/videos/{job['id']}").json()["deleted"]
        assert client.get(f"/v1/videos/{job['id']}").status_code == 404
        assert list(client.server.store.folder("").glob("video_*")) == []


def test_openai_names_of_the_fields(serve, files, copied_uploads):
    """`client.videos.create(prompt=..., input_reference=..., model=...)` of OpenAI's package sends this."""
    from emo.speech.contracts import SynthesizedSpeech

    spoken = []

    class Synthesizer:
        def synthesize(self, text, language, voice=None):
            spoken.append((text, language, voice))
            return SynthesizedSpeech(0.1 * np.ones(2400, np.float32), 24000)

    with serve() as client:
        client.server._synthesizer = Synthesizer()
        image = {"input_reference": files["image"]}
        job = client.post("/v1/videos", files=image, data=FULL | {"prompt": "Hello", "model": "mini"}).json()
        assert (
            job["seconds"] == "0.1"
            and job["status"] in ("queued", "in_progress")
            and spoken == [("Hello", "en-US", None)]
        )
        assert read_events(client, job["id"])[-1][0] == "completed"


@pytest.mark.parametrize(
    ("change", "fields", "status", "said"),
    [
        ({"image": ("a.png", b"no picture", "image/png")}, {}, 400, "a.png is not a picture that can be read"),
        ({"audio": ("a.wav", b"no sound" * 99, "audio/wav")}, {}, 400, "a.wav can't be read as sound"),
        ({"audio": ("a.wav", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "audio/wav")}, {}, 400, "a.wav can't be read"),
        ({"image": ("a.png", b"", "image/png")}, {}, 400, "image: the file a.png is empty; choose another"),
        ({"audio": ("../../a.wav", b"no sound" * 99, "audio/wav")}, {}, 400, "a.wav can't be read as sound"),
        ({"image": None}, {}, 400, "image is missing"),
        ({"audio": None}, {}, 400, "send either audio (a file) or text"),
        ({}, {"text": "and a text"}, 400, "send either audio (a file) or text"),
        ({}, {"fps": "many"}, 400, "fps: "),
        ({}, {"face": "4,4,2,2"}, 400, "face: "),
        ({}, {"fsp": "25"}, 400, "fsp: "),
        ({}, {"model": "other"}, 400, "model: this server runs mini alone"),
        ({}, {"controls": '{"gaze": [0, 0]}'}, 400, "gaze is not a condition of this model"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(serve, files, change, fields, status, said):
    with serve() as client:
        response = post(client, {k: v for k, v in (files | change).items() if v is not None}, **fields)
        assert response.status_code == status and response.json()["error"]["message"].startswith(said)
        assert list(client.server.store.folder("").glob("video_*")) == []  # nothing is left of it


def test_a_picture_without_a_face_fails_with_its_reason(serve, files, copied_uploads):
    blank = io.BytesIO()
    Image.new("RGB", (128, 128), (90, 120, 150)).save(blank, "PNG")
    with serve() as client:
        job = client.post("/v1/videos", files=files | {"image": ("a.png", blank.getvalue())}).json()
        name, last = read_events(client, job["id"])[-1]
        assert name == "failed" and "face" in last["error"]["message"]
        assert str(client.server.settings.data_dir) not in last["error"]["message"]
        assert client.get(f"/v1/videos/{job['id']}/content").status_code == 409


def test_limits_of_size_length_and_pixels(serve, files):
    large = io.BytesIO()
    Image.new("RGB", (400, 300)).save(large, "PNG")
    with serve(max_upload_mb=0.1, max_seconds=0.5, max_pixels=10_000, max_queue=100) as client:
        response = post(client, files | {"image": ("a.png", bytes(200_000))})
        assert response.status_code == 413 and "0.1 MB" in response.json()["error"]["message"]
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        chunks = (b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n', *[bytes(50_000)] * 9)
        assert client.post("/v1/videos", content=iter(chunks), headers=kind).status_code == 413  # no length is stated
        response = post(client, files)
        assert response.status_code == 400 and "longer than 0.5 s" in response.json()["error"]["message"]
        short = io.BytesIO(files["audio"][1][: 44 + 2 * 3200])
        job = post(client, files | {"image": ("a.png", large.getvalue()), "audio": ("a.wav", short)}).json()
        with Image.open(client.server.store.folder(job["id"]) / "portrait.png") as picture:
            assert picture.size == (115, 86)


def test_queue_is_bounded_and_cancel_makes_room(serve, files, tiny_pipeline, copied_uploads):
    release = []

    def load():
        while not release:
            time.sleep(0.01)
        return tiny_pipeline

    with serve(load, max_queue=2) as client:
        first, second = post(client, files).json(), post(client, files).json()
        refused = post(client, files)
        assert refused.status_code == 429 and refused.headers["retry-after"]
        assert client.get(f"/v1/videos/{second['id']}").json()["jobs_before"] == 1
        assert client.delete(f"/v1/videos/{first['id']}").status_code == 200
        third = post(client, files).json()
        release.append(True)
        assert [read_events(client, job["id"])[-1][0] for job in (second, third)] == ["completed"] * 2
        assert client.get(f"/v1/videos/{first['id']}").status_code == 404


def test_a_running_job_is_cancelled(serve, files, copied_uploads):
    with serve() as client:
        client.server.runner.is_busy = lambda: True  # holds the job before its first frame
        job = post(client, files).json()
        while client.server.runner.progress(job["id"]) is None:
            time.sleep(0.01)
        assert client.delete(f"/v1/videos/{job['id']}").status_code == 200
        client.server.runner.stop()
        assert client.server.store.get(job["id"]) is None and not client.server.store.folder(job["id"]).exists()


def test_what_a_killed_server_leaves(tmp_path, serve, files):
    """Finished jobs stay, the one that ran says that it broke off, a queued one runs after the next start."""
    store = JobStore(tmp_path)
    ids = {}
    for name in ("finished", "written", "broken"):
        ids[name], folder = store.new_folder()
        store.add(ids[name], 0.6, {"fps": 25}, 99)
        store.claim()
        if name != "broken":
            (folder / "video.mp4").write_bytes(b"a video")
    store.complete(ids["finished"], [])
    orphan = store.new_folder()[1]
    store.close()  # no other method is called: the rows are as after kill -9
    with serve() as client:
        status = {name: client.get(f"/v1/videos/{job}").json() for name, job in ids.items()}
        assert status["finished"]["status"] == status["written"]["status"] == "completed"
        assert status["broken"]["status"] == "failed" and status["broken"]["error"]["message"] == INTERRUPTED_MESSAGE
        assert client.get(f"/v1/videos/{ids['finished']}/content").content == b"a video"
        assert not orphan.exists()


def test_old_videos_are_swept(tmp_path):
    store = JobStore(tmp_path)
    job_id, folder = store.new_folder()
    store.add(job_id, 1, {}, 9)
    assert store.sweep(0) == 0  # it still waits
    store.complete(job_id, [])
    assert store.sweep(1) == 0 and store.sweep(0) == 1
    assert store.get(job_id) is None and not folder.exists()
    store.close()
