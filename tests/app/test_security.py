"""Who may call the server: token, origin, host name; emo-serve refuses to be open to the network."""

import shutil
import socket

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emo.app.server import make_app
from emo.app.settings import ServerSettings
from emo.cli import serve as command
from emo.core.errors import InputError


@pytest.fixture
def open_client(tmp_path, tiny_pipeline):
    """open_client(token=..., host=...) -> a client of a server that was not started: no job runs."""

    def make(base_url="http://localhost", **changes) -> TestClient:
        return TestClient(make_app(ServerSettings(tmp_path, **changes), lambda: tiny_pipeline), base_url=base_url)

    return make


def test_token_by_header_or_cookie(open_client):
    client = open_client(token="secret", host="0.0.0.0")
    assert client.get("/healthz").status_code == 200
    for path in ("/v1/server", "/metrics", "/openapi.json", "/static/app.js", "/samples/song.wav"):
        assert client.get(path).status_code == 401, path
    assert client.post("/v1/videos").status_code == 401
    assert client.get("/v1/server", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/v1/server", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert client.get("/").status_code == 401 and "token" in client.get("/").text
    assert client.get("/?token=wrong").status_code == 401
    opened = client.get("/?token=secret")
    assert opened.status_code == 200 and opened.url.query == b""  # the token does not stay in the address
    assert client.get("/v1/server").status_code == 200  # by the cookie


def test_web_socket_needs_the_token(open_client):
    client = open_client(token="secret", host="0.0.0.0")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/sessions") as socket:
        socket.receive_json()


def test_other_sites_and_other_names_are_refused(open_client):
    client = open_client()
    assert client.get("/v1/server").status_code == 200
    assert client.get("/v1/server", headers={"Origin": "http://localhost"}).status_code == 200
    assert client.get("/v1/server", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/v1/server", headers={"Host": "evil.example"}).status_code == 403  # DNS rebinding
    with pytest.raises(WebSocketDisconnect):
        with client.websocket_connect("/v1/sessions", headers={"Origin": "http://evil.example"}) as socket:
            socket.receive_json()


def test_page_needs_nothing_from_elsewhere(open_client, tmp_path, samples):
    client = open_client()
    shutil.copytree(samples, tmp_path / "samples")  # drawing them takes seconds
    page = client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("/", "/docs", "/static/app.js", "/static/live.js", "/static/style.css", "/static/docs.js"):
        text = client.get(path).text
        assert "https://" not in text and "http://" not in text.replace("http://www.w3.org", ""), path
    assert {"/v1/videos", "/v1/videos/{job_id}/content", "/healthz"} <= client.get("/openapi.json").json()[
        "paths"
    ].keys()
    assert client.get("/samples/portrait.png").headers["content-type"] == "image/png"
    assert client.get("/samples/other").status_code == 404


def test_command_refuses_the_network_without_a_token(run_main, tmp_path):
    code, out, err = run_main(command.main, "emo-serve", "--host", "0.0.0.0", "--data", tmp_path)
    assert code == 2 and out == "" and err.startswith("emo-serve: --host 0.0.0.0 lets others") and "--token" in err


def test_an_address_that_cannot_be_used_is_said_in_one_line():
    with command.listen("127.0.0.1", 0) as listener:
        with pytest.raises(InputError, match="choose another --port or --host"):
            command.listen("127.0.0.1", listener.getsockname()[1])
    with pytest.raises(InputError, match="choose another --port or --host"):
        command.listen("a..b", 0)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="has no such time limit")
def test_connections_that_take_no_bytes_end():
    with command.listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            limit = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit == 1000 * command.UNREAD_SECONDS
