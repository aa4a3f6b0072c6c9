"""Who may call the server, and how much a request may send: an ASGI layer around the whole app.

- With a token, every request but GET /healthz gives it: `Authorization: Bearer TOKEN`, or the cookie that the page sets
  after it was opened as /?token=TOKEN (browsers send no headers with videos and web sockets).
- A browser's request from another site is refused (header Origin), and so is one for another name than this server's
  (header Host) where it listens on loopback: pages of strangers must not reach a server on the visitor's machine.
- A request that is larger than the limit, or sends nothing for too long, ends.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from emo.app.monitoring import Monitor
from emo.app.settings import LOOPBACK, ServerSettings

COOKIE = "emo_token"
OPEN_PATHS = {"/healthz"}
App = Callable[[dict, Callable, Callable], Awaitable[None]]
POLICY = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'"
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


def make_error(status: int, message: str, kind: str = "invalid_request_error", param: str | None = None) -> Response:
    """Make an error response in the shape of OpenAI's API.

    Args:
        status: HTTP status.
        message: One line that says what is wrong and how to fix it.
        kind: Kind of error.
        param: Name of the field that is wrong.

    Returns:
        The response.
    """
    headers = {"Retry-After": "10"} if status == 429 else None
    error = {"message": clean_text(message), "type": kind, "param": param, "code": None}
    return JSONResponse({"error": error}, status, headers)


def clean_text(text: str) -> str:
    """The text with ? in place of what UTF-8 can't hold, which JSON of clients may."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Guard:
    """The layer around the app.

    Args:
        app: The app.
        settings: Token, host and limits.
        monitor: Counts requests.
    """

    def __init__(self, app: App, settings: ServerSettings, monitor: Monitor):
        self.app, self.settings, self.monitor = app, settings, monitor

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        refusal = self._refuse(scope, headers)
        if scope["type"] == "websocket":
            if refusal is not None:
                await receive()
                return await send({"type": "websocket.close", "code": 1008, "reason": "token or origin is missing"})
            return await self.app(scope, receive, send)
        if refusal is not None:
            self._count(scope, refusal.status_code)
            return await refusal(scope, receive, send)
        await self.app(scope, self._limit(receive, headers), self._watch(scope, send))

    def _count(self, scope: dict, status: int) -> None:
        method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "DELETE"} else "other"
        self.monitor.requests.labels(method, str(status)).inc()

    def _watch(self, scope: dict, send: Callable) -> Callable:
        async def watched(message: dict) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"])
                message = message | {"headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        return watched

    def _limit(self, receive: Callable, headers: Headers) -> Callable:
        """`receive`, which ends a request that is too large or too slow with 413 or 408."""
        limit, received, ended = self.settings.max_upload_bytes, 0, False
        deadline = time.monotonic() + self.settings.upload_seconds
        stated = headers.get("content-length", "0")

        async def limited() -> dict:
            nonlocal received, ended
            if ended:  # waits for the client to go
                return await receive()
            if stated.isdecimal() and int(stated) > limit:
                raise self._too_large()
            try:
                seconds = min(self.settings.receive_seconds, deadline - time.monotonic())
                message = await asyncio.wait_for(receive(), seconds)
            except TimeoutError as error:
                raise HTTPException(408, "the request stopped or is too slow; send it again") from error
            received += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if received > limit:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> HTTPException:
        self.monitor.refused.labels("size").inc()
        return HTTPException(413, f"the request is larger than {self.settings.max_upload_mb:g} MB, this server's limit")

    def _refuse(self, scope: dict, headers: Headers) -> Response | None:
        host = _host_name(headers.get("host", ""))
        if self.settings.is_loopback and host not in LOOPBACK | {"testserver"}:
            return make_error(403, f"this server is called localhost, not {host or 'nothing'}")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return make_error(403, "requests from pages of other sites are refused")
        if self.settings.token is None or scope["path"] in OPEN_PATHS:
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if scope["path"] == "/" and self._is_token(query.get("token", [""])[0]):
            response = RedirectResponse("/", 303)
            secure = scope.get("scheme") == "https"
            response.set_cookie(COOKIE, self.settings.token, httponly=True, samesite="strict", secure=secure)
            return response
        given = headers.get("authorization", "").removeprefix("Bearer ").strip() or _read_cookie(headers)
        if self._is_token(given):
            return None
        if scope["path"] == "/" and scope["type"] == "http":
            return Response(LOGIN_PAGE, 401, media_type="text/html")
        return make_error(401, "give the server's token: Authorization: Bearer TOKEN", "authentication_error")

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), (self.settings.token or "").encode())


def _host_name(host: str) -> str:
    """localhost:8000 -> localhost, [::1]:8000 -> ::1."""
    return urlsplit(f"//{host}").hostname or "" if host.isascii() else ""


def _read_cookie(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>emo</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:1rem system-ui;max-width:22rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;width:100%;padding:.6rem;margin:.4rem 0;box-sizing:border-box}</style>
<h1>emo</h1><form method="get" action="/"><label>Token of this server
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Open</button></form></html>"""
