"""HTTP connections that end when a request does not arrive; uvicorn by itself waits for one without end.

A client that connects and sends nothing, or its headers byte by byte, would keep its connection for hours, and so would
one that goes on sending a body which nobody reads any more, as the answer is complete. The layer in `security` limits
the time of a body that is read.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from emo.app.security import make_error


class TimedProtocol(H11Protocol):
    """One connection, of which uvicorn makes an object each.

    Args:
        args: Those of `H11Protocol`.
        seconds: Longest time from the opening of a connection, or from the first byte of a further request, to the end
            of the request's headers; and from a complete answer to the end of its request's body.
        options: Those of `H11Protocol`.
    """

    def __init__(self, *args, seconds: float, **options):
        super().__init__(*args, **options)
        self._seconds = seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; complete headers end the wait."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request; the rest of this one's body must come in time."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Wait for the rest of headers or of a body; an idle connection is uvicorn's own matter (keep-alive)."""
        asks, answered = self.conn.their_state, self.cycle is not None and self.cycle.response_complete
        is_headers = asks is h11.IDLE and (self.cycle is None or self.conn.trailing_data[0])
        if is_headers or asks is h11.SEND_BODY and answered:
            self._wait()
        else:
            self._stop_waiting()

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._seconds, self._end)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end(self) -> None:
        """Close the connection; a client whose request was not answered is told why."""
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE:
            error = make_error(408, f"the request's headers took longer than {self._seconds:g} s; send it again")
            headers = [*error.raw_headers, (b"connection", b"close")]
            parts = [h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"), h11.Data(error.body)]
            self.transport.write(b"".join(self.conn.send(part) or b"" for part in [*parts, h11.EndOfMessage()]))
        self.transport.close()
