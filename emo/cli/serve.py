"""emo-serve: a page and an HTTP API that make talking videos, and live sessions."""

import argparse
import logging
import os
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from emo.cli.command import Parser, run
from emo.cli.options import integer, number
from emo.core.errors import InputError

UNREAD_SECONDS = 60  # bytes that no client takes for so long end its connection
BACKLOG = 2048  # connections that wait to be accepted
TOKEN_VARIABLE = "EMO_SERVE_TOKEN"
PARAMETERS = {"tts": "--tts", "data_dir": "--data"}


def default_data_dir() -> Path:
    """Return where jobs are kept unless the user says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "emo" / "serve"


def make_parser() -> Parser:
    """Return the parser of emo-serve."""
    parser = Parser(
        "emo-serve", description="Serves a page and an API that make portraits talk.", parameters=PARAMETERS
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all (default 127.0.0.1)")
    parser.add_argument("--port", type=integer(1, 65535), default=8000, help="(default 8000)")
    parser.add_argument(
        "--token", help=f"demanded of every request; needed beyond this machine (or the variable {TOKEN_VARIABLE})"
    )
    parser.add_argument("--certificate", type=Path, help="PEM file: serve https, which microphones of phones need")
    parser.add_argument("--key", type=Path, help="PEM file of the certificate's key, where it is not in the same file")
    parser.add_argument("--data", type=Path, help="folder of the jobs (default: ~/.cache/emo/serve)")
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="mini", help="folder or Hub id (default: mini, built in)")
    model.add_argument("--device", help="cpu, cuda, mps, ... (default: the best available)")
    model.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    model.add_argument("--tts", metavar="URL", help="speech server with OpenAI's API, in place of hibari-tts")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-upload", type=number(0.1, 10000), default=50.0, help="MB of a request (default 50)")
    limits.add_argument("--max-seconds", type=number(1, 36000), default=300.0, help="of sound (default 300)")
    limits.add_argument(
        "--max-pixels", type=integer(4096), default=4_000_000, help="of a portrait; shrunk above (default 4000000)"
    )
    limits.add_argument("--max-queue", type=integer(1), default=8, help="videos that wait or run (default 8)")
    limits.add_argument("--max-sessions", type=integer(0), default=2, help="live sessions at a time (default 2)")
    limits.add_argument("--keep", type=number(0.01, 1e5), default=24.0, help="hours that videos are kept (default 24)")
    return parser


def make_settings(args: argparse.Namespace):
    """Return the `ServerSettings` of the arguments.

    Raises:
        InputError: The server would be open to the network without a token, or the folder can't be made.
    """
    from emo.app.settings import ServerSettings

    folder = args.data or default_data_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"data_dir={folder} can't be made ({error.strerror}): choose another folder") from error
    settings = ServerSettings(
        folder,
        model=args.model,
        device=args.device,
        dtype=args.dtype,
        host=args.host,
        token=args.token or os.environ.get(TOKEN_VARIABLE) or None,
        tts_url=args.tts,
        max_upload_mb=args.max_upload,
        max_pixels=args.max_pixels,
        max_seconds=args.max_seconds,
        max_queue=args.max_queue,
        keep_hours=args.keep,
        max_sessions=args.max_sessions,
    )
    if not settings.is_loopback and settings.token is None:
        raise InputError(f"host={args.host} lets others on the network in: give --token, at best a long random one")
    if settings.token is not None and not (settings.token.isascii() and settings.token.isprintable()):
        raise InputError("--token: use printable ASCII characters")
    return settings


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that the server listens at; it drops clients that vanish or stop to read.

    The ping of web sockets and time limits end what the server does for such a client. Only the system can give up the
    connection itself while bytes wait in it.

    Raises:
        InputError: The address can't be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        if os.name != "nt":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections take it over
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_SECONDS)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a machine
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{host}:{port} can't be used ({reason}): choose another --port or --host") from error
    return listener


def log_marks() -> None:
    """Print the payload of each job and live session, so that an operator can tell who made a video."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("emo").addHandler(handler)
    logging.getLogger("emo").setLevel(logging.INFO)


def serve(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C.

    Args:
        args: Arguments of `make_parser`.

    Raises:
        InputError: An option can't be used.
    """
    settings = make_settings(args)
    for path in (args.certificate, args.key):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: no such file; give a PEM file")

    import uvicorn

    from emo.app.connections import TimedProtocol
    from emo.app.server import make_app
    from emo.hub.resolve import resolve_model
    from emo.speech.synthesis import load_synthesizer

    resolve_model(args.model)
    if args.tts is not None:
        load_synthesizer(args.tts)
    app = make_app(settings)
    listener = listen(args.host, args.port)
    log_marks()
    scheme = "http" if args.certificate is None else "https"
    name = "localhost" if settings.is_loopback else settings.host
    print(f"emo-serve: {scheme}://{name}:{args.port}/ (Ctrl-C ends it)", file=sys.stderr)
    config = uvicorn.Config(
        app,
        http=partial(TimedProtocol, seconds=settings.receive_seconds),
        log_level="warning",
        limit_concurrency=400,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=3,
        ws_max_size=settings.max_upload_bytes,
        ssl_certfile=args.certificate,
        ssl_keyfile=args.key,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Run emo-serve."""
    run(make_parser(), serve)


if __name__ == "__main__":
    main()
