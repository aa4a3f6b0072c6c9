"""Talking portraits on a Ray cluster: Ray Serve spreads clients over replicas, each of which holds the model.

    pip install 'emo-portrait[serve]' 'ray[serve]'
    cd integrations/ray_serve
    serve run --working-dir . portraits:build model=mini replicas=2

`POST /v1/videos/content` takes the form of `POST /v1/videos` of emo-serve and answers with the mp4. `WS /v1/sessions`
is its live API; a session stays with its replica. Uploads are decoded, and token and sizes checked, as by emo-serve.
There is no queue of jobs here: a request waits in Ray Serve until a replica is free.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from ray import serve

from emo.app.live import describe_error, make_live_router
from emo.app.security import Guard, make_error
from emo.app.server import add_errors, load_model, make_state
from emo.app.settings import ServerSettings
from emo.app.state import ServerState
from emo.app.videos import VideoRequest, prepare_files, sort_fields
from emo.core.errors import InputError
from emo.generation import generate


class Options(BaseModel):
    """What `serve run portraits:build NAME=VALUE ...` takes.

    Attributes:
        model: The model's name, folder or Hub id, the same on all machines.
        device: Name of a torch device; None: the best of the machine.
        token: Demanded of every request; without one, requests to localhost alone are answered.
        replicas: Processes with the model.
        gpus: GPUs of each, also a part of one.
        max_sessions: Live sessions of each replica at a time.
    """

    model: str = "mini"
    device: str | None = None
    token: str | None = None
    replicas: int = 2
    gpus: float = 0
    max_sessions: int = 1


def build(options: Options) -> serve.Application:
    """Return the application of the options for Ray Serve."""
    host = "127.0.0.1" if options.token is None else "0.0.0.0"

    def make_replica() -> FastAPI:
        settings = ServerSettings(
            Path(mkdtemp(prefix="emo-")),  # where the server's jobs would lie
            model=options.model,
            device=options.device,
            token=options.token,
            host=host,
            max_sessions=options.max_sessions,
        )
        state = make_state(settings, lambda: load_model(settings))
        state.model.get()  # a replica without its model gets no requests
        return make_app(state)

    resources = {"num_cpus": 1, "num_gpus": options.gpus}
    make = serve.deployment(
        name="portraits",
        num_replicas=options.replicas,
        max_ongoing_requests=options.max_sessions + 1,
        ray_actor_options=resources,
    )
    return make(serve.ingress(make_replica)()).bind()


def make_app(state: ServerState) -> FastAPI:
    """Return the app of one replica.

    Args:
        state: From `make_state`; its jobs are not used.

    Returns:
        The app.
    """
    app, turn = FastAPI(title="emo"), asyncio.Lock()

    @app.post("/v1/videos/content")
    async def make_video(request: Request) -> Response:
        """Make a video of a portrait and a sound or a text, and answer with the mp4."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            try:
                async with request.form(max_files=2, max_fields=40) as form:
                    fields, files = sort_fields(form.multi_items())
                    asked = VideoRequest.model_validate(fields)
                    await prepare_files(state, asked, files, folder)
                async with turn:
                    await asyncio.to_thread(write_video, state, asked, folder)
            except (InputError, ValidationError) as error:
                return make_error(400, describe_error(error).replace(f"{folder}/", ""))
            return Response((folder / "video.mp4").read_bytes(), media_type="video/mp4")

    app.include_router(make_live_router(state))
    add_errors(app)
    app.add_middleware(Guard, settings=state.settings, monitor=state.monitor)
    return app


def write_video(state: ServerState, asked: VideoRequest, folder: Path) -> None:
    """Make video.mp4 of portrait.png and sound.wav in the folder. Raises InputError."""
    files = [folder / name for name in ("portrait.png", "sound.wav", "video.mp4")]
    generate(*files, pipeline=state.model.get, on_warning=lambda text: None, **asked.options())
