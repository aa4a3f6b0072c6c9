"""Connections of clients that send a request slowly, or none at all, end; others are answered."""

import asyncio
import socket
from contextlib import suppress
from functools import partial

import pytest

pytest.importorskip("uvicorn")
import uvicorn

from emo.app.connections import TimedProtocol

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def answer(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def read_all(client: socket.socket) -> bytes:
    """What comes until the connection ends, by its end or by a reset, as bytes may have been under way to it."""
    said = b""
    with suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(client, 65536):
            said += piece
    return said


def talk(first: bytes, piece: bytes) -> bytes:
    """All that a server answers to `first` and then `piece` without end, until it closes the connection."""

    async def run() -> bytes:
        config = uvicorn.Config(answer, http=partial(TimedProtocol, seconds=0.2), lifespan="off", log_level="error")
        config.load()
        server, loop = uvicorn.Server(config), asyncio.get_running_loop()
        make = partial(config.http_protocol_class, config=config, server_state=server.server_state, app_state={})
        listener = await loop.create_server(make, "127.0.0.1", 0)
        with socket.create_connection(listener.sockets[0].getsockname()) as client:
            client.setblocking(False)
            client.sendall(first)
            answered = asyncio.create_task(read_all(client))
            while not answered.done():
                with suppress(ConnectionError):  # it has been closed already
                    client.sendall(piece)
                await asyncio.wait([answered], timeout=0.02)
        listener.close()
        return answered.result()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("first", "piece"),
    [(b"", b""), (b"G", b""), (GET + b"X-Slow: ", b"a"), (GET, b"X-A: b\r\n")],
    ids=["nothing", "one byte", "a header", "many headers"],
)
def test_headers_that_do_not_end_are_refused_with_a_reason(first, piece):
    said = talk(first, piece)
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n") and b"headers took longer than 0.2 s; send it" in said


def test_a_second_request_of_a_connection_is_limited_too():
    said = talk(GET + b"\r\nGET ", b"a")
    assert said.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 408 Request Timeout\r\n" in said


def test_a_body_that_nobody_reads_does_not_keep_the_connection():
    said = talk(GET + b"Content-Length: 1000000\r\n\r\n", b"a")
    assert said.startswith(b"HTTP/1.1 200") and said.endswith(b"ok") and b"408" not in said


def test_requests_that_arrive_are_answered_one_after_another():
    said = talk(2 * (GET + b"\r\n") + GET + b"Connection: close\r\n\r\n", b"")
    assert said.count(b"HTTP/1.1 200 OK\r\n") == 3 and b"408" not in said
