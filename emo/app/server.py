"""The server of `emo-serve`: jobs API, live API, page, /healthz and /metrics in one FastAPI app."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from emo import __version__
from emo.app.jobs import JobStore
from emo.app.live import make_live_router
from emo.app.monitoring import Monitor
from emo.app.runner import JobRunner, ModelHolder
from emo.app.security import Guard, make_error
from emo.app.settings import ServerSettings
from emo.app.state import ServerState
from emo.app.videos import make_video_router
from emo.app.webrtc import make_webrtc_router
from emo.generation import generate

if TYPE_CHECKING:
    from emo.pipelines.emo import EMOPipeline

PAGE = Path(__file__).parent / "page"
SAMPLES = {"portrait.png": "image/png", "song.wav": "audio/wav"}


def load_model(settings: ServerSettings) -> "EMOPipeline":
    """Load the pipeline that the settings name. Raises InputError."""
    from diffusers.utils import logging

    from emo.hub.resolve import load_pipeline

    logging.disable_progress_bar()
    pipeline = load_pipeline(settings.model, settings.device, settings.dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_state(settings: ServerSettings, load: "Callable[[], EMOPipeline]") -> ServerState:
    """Make what the routes share; nothing runs yet."""
    store, model, sessions = JobStore(settings.data_dir), ModelHolder(load), set()
    monitor = Monitor(store.count_waiting, lambda: len(sessions))
    runner = JobRunner(store, model, settings, monitor, lambda: bool(sessions), generate)
    return ServerState(settings, model, store, runner, monitor, sessions)


def make_app(settings: ServerSettings, load: "Callable[[], EMOPipeline] | None" = None) -> FastAPI:
    """Make the app; the worker of the jobs runs from its start to its end.

    Args:
        settings: Settings and limits.
        load: Loads the pipeline; None: the one that the settings name.

    Returns:
        The app; `app.state.server` is its `ServerState`.
    """
    state = make_state(settings, load or (lambda: load_model(settings)))

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        state.runner.start()
        yield
        await asyncio.to_thread(state.runner.stop)
        state.store.close()

    app = FastAPI(title="emo", version=__version__, lifespan=run, docs_url=None, redoc_url=None)
    app.state.server = state
    app.include_router(make_video_router(state))
    app.include_router(make_live_router(state))
    app.include_router(make_webrtc_router(state))
    add_page(app, state)
    add_operation(app, state)
    add_errors(app)
    app.add_middleware(Guard, settings=settings, monitor=state.monitor)
    return app


def add_page(app: FastAPI, state: ServerState) -> None:
    """Add the page, its files and the samples."""

    @app.get("/", include_in_schema=False)
    def get_page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    def get_docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    @app.get("/v1/server", tags=["server"], summary="What this server can do, and its limits")
    def get_server() -> dict[str, Any]:
        names = ("max_upload_mb", "max_seconds", "max_text", "max_queue", "max_sessions", "keep_hours")
        return {name: getattr(state.settings, name) for name in names} | {
            "model": state.settings.model_name,
            "version": __version__,
            "ready": state.model.is_ready,
            "sessions": len(state.sessions),
            "text": state.can_speak,
            "controls": state.list_controls(),
        }

    @app.get("/samples/{name}", include_in_schema=False)
    def get_sample(name: str) -> Response:
        if name not in SAMPLES:
            raise HTTPException(404, "there is no such sample")
        return FileResponse(make_sample(name, state.settings.data_dir / "samples"), media_type=SAMPLES[name])

    app.mount("/static", StaticFiles(directory=PAGE), name="static")


def make_sample(name: str, folder: Path) -> Path:
    """Return the path of the sample portrait or song; it is drawn or synthesized once, by code."""
    from PIL import Image

    from emo.core.files import atomic_file
    from emo.media.audio import write_wav
    from emo.synthetic.sample_portrait import paint_portrait
    from emo.synthetic.sample_song import SAMPLE_RATE_HZ, synthesize_song

    path = folder / name
    if not path.exists():
        folder.mkdir(exist_ok=True)
        with atomic_file(path) as partial:
            if name == "portrait.png":
                Image.fromarray(paint_portrait()).save(partial, "PNG")
            else:
                write_wav(partial, synthesize_song(), SAMPLE_RATE_HZ)
    return path


def add_operation(app: FastAPI, state: ServerState) -> None:
    """Add /healthz and /metrics."""

    @app.get("/healthz", tags=["server"], summary="Whether the server runs")
    def get_health() -> dict[str, Any]:
        return {"status": "ok", "ready": state.model.is_ready}

    @app.get("/metrics", tags=["server"], summary="Counters for Prometheus")
    def get_metrics() -> Response:
        return Response(state.monitor.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def add_errors(app: FastAPI) -> None:
    """Answer errors in the shape of OpenAI's API."""

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return make_error(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return make_error(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
