"""The jobs API, in the shape of OpenAI's videos: POST /v1/videos, then GET, /content, /events, /preview, DELETE."""

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from emo.app.decoding import decode_upload
from emo.app.jobs import COMPLETED, IN_PROGRESS, Job
from emo.app.security import make_error
from emo.app.state import ServerState
from emo.core.errors import InputError
from emo.media.audio import write_wav

EVENT_SECONDS, KEEP_ALIVE_SECONDS = 0.25, 15.0
FILE_FIELDS = {"image": "image", "input_reference": "image", "audio": "audio"}


class VideoRequest(BaseModel):
    """The fields of POST /v1/videos beside its files `image` (or `input_reference`) and `audio`."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(None, description="what the portrait says, in place of `audio`")
    prompt: str | None = Field(None, description="the same as `text`, OpenAI's name")
    voice: str | None = Field(None, max_length=100, description="a voice of the speech synthesizer")
    language: str = Field("en-US", max_length=20, description="language of the text, BCP 47")
    model: str | None = Field(None, description="must be the model that this server runs")
    seconds: Annotated[float, Field(gt=0)] | None = Field(None, description="use only the first seconds of the sound")
    fps: Annotated[float, Field(ge=1, le=60)] = Field(25, description="frames per second")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="the same seed gives the same frames")
    steps: Annotated[int, Field(ge=1, le=100)] | None = Field(None, description="denoising steps per window")
    guidance: Annotated[float, Field(ge=0, le=20)] | None = Field(None, description="guidance on the sound; 1: off")
    head_speed: Annotated[float, Field(ge=0.1, le=1.5)] | None = Field(None, description="rad/s")
    controls: dict[str, Any] | None = Field(None, description="values of the model's other conditions, as JSON")
    face: str | None = Field(None, max_length=100, description="x0,y0,x1,y1 in pixels, or full; default: found")
    crop: bool = Field(False, description="write the animated square alone")
    max_size: Annotated[int, Field(ge=64, le=4096)] | None = Field(None, description="longest side, pixels")

    @field_validator("controls", mode="before")
    @classmethod
    def _parse_controls(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("face")
    @classmethod
    def _check_face(cls, value: str | None) -> str | None:
        if value is not None and value != "full":
            box = [float(part) for part in value.split(",")]
            if len(box) != 4 or not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]:
                raise ValueError("give x0,y0,x1,y1 or full")
        return value

    def options(self) -> dict[str, Any]:
        """Arguments of `emo.generate`, that JSON can hold."""
        face = self.face if self.face in (None, "full") else [float(part) for part in self.face.split(",")]
        return {
            "fps": self.fps,
            "generator": self.seed,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "head_speed": self.head_speed,
            "controls": self.controls,
            "face": face,
            "crop_only": self.crop,
            "max_size": self.max_size,
            "duration_seconds": self.seconds,
        }


def make_schema() -> dict:
    """The body of POST /v1/videos for the OpenAPI page."""
    schema = VideoRequest.model_json_schema()
    files = {"image": "a picture with a face", "audio": "speech or song; or give text"}
    for name, text in files.items():
        schema["properties"][name] = {"type": "string", "format": "binary", "description": text}
    schema["required"] = ["image"]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def describe(job: Job, state: ServerState) -> dict[str, Any]:
    """Return a job in the shape of OpenAI's video object, with frames, time left and place in the queue beside."""
    progress = state.runner.progress(job.id)
    total = max(1, round(job.seconds * job.options["fps"]))
    done = progress.done if progress is not None else total if job.status == COMPLETED else 0
    percent = (
        100 if job.status == COMPLETED else min(99, int(100 * done / (progress.total or total))) if progress else 0
    )
    ended = None if job.ended_at is None else int(job.ended_at)
    left = progress.seconds_left if progress is not None else None
    return {
        "id": job.id,
        "object": "video",
        "model": state.settings.model_name,
        "status": job.status,
        "progress": percent,
        "created_at": int(job.created_at),
        "completed_at": ended if job.status == COMPLETED else None,
        "expires_at": None if ended is None else ended + int(3600 * state.settings.keep_hours),
        "seconds": f"{job.seconds:g}",
        "error": None if job.error is None else {"code": "failed", "message": job.error},
        "warnings": job.warnings,
        "frames": done,
        "total_frames": total,
        "seconds_left": None if left is None else round(left, 1),
        "jobs_before": 0 if job.is_over or job.status == IN_PROGRESS else state.store.count_before(job),
        "has_preview": progress is not None and progress.frame is not None,
    }


def make_video_router(state: ServerState) -> APIRouter:
    """Return the routes of the jobs API."""
    router = APIRouter(prefix="/v1/videos", tags=["videos"])

    def find(job_id: str) -> Job:
        job = state.store.get(job_id)
        if job is None:
            raise HTTPException(404, f"there is no video {job_id[:60]}; it may have been swept")
        return job

    @router.post("", openapi_extra=make_schema(), summary="Queue a video")
    async def create_video(request: Request) -> Response:
        """Upload a portrait and a sound or a text; answers at once with the queued job, or 429 where the queue is
        full."""
        most = state.settings.max_queue
        if state.store.count_waiting() + state.uploading >= most:
            state.monitor.refused.labels("queue").inc()
            return make_error(429, f"{most} videos wait already, try again later", "rate_limit_error")
        state.uploading += 1
        job_id, folder = state.store.new_folder()
        job = None
        try:
            async with request.form(max_files=2, max_fields=40) as form:
                fields, files = sort_fields(form.multi_items())
                asked = VideoRequest.model_validate(fields)
                seconds = await prepare_files(state, asked, files, folder)
            if asked.seconds is not None:
                seconds = min(seconds, asked.seconds)
            job = state.store.add(job_id, seconds, asked.options(), most)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "request"
            return make_error(400, f"{name}: {first['msg']}", param=name)
        except InputError as error:
            return make_error(400, str(error))
        finally:
            state.uploading -= 1
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)
        if job is None:
            return make_error(429, f"{most} videos wait already, try again later", "rate_limit_error")
        state.runner.notify()
        return Response(json.dumps(describe(job, state)), 200, media_type="application/json")

    @router.get("/{job_id}", summary="How far a video is")
    def get_video(job_id: str) -> dict[str, Any]:
        return describe(find(job_id), state)

    @router.get("/{job_id}/content", summary="The finished mp4")
    def get_content(job_id: str, download: bool = False) -> Response:
        job = find(job_id)
        if job.status != COMPLETED:
            return make_error(409, f"the video is {job.status.replace('_', ' ')}")
        kind = "attachment" if download else "inline"
        return FileResponse(
            state.store.video(job_id), media_type="video/mp4", filename="emo.mp4", content_disposition_type=kind
        )

    @router.get("/{job_id}/preview", summary="The last frame of a running job, JPEG")
    def get_preview(job_id: str) -> Response:
        find(job_id)
        picture = state.runner.preview(job_id)
        return Response(picture, media_type="image/jpeg") if picture else Response(status_code=204)

    @router.get("/{job_id}/events", summary="Server-sent events: the job whenever it changes")
    def get_events(job_id: str) -> StreamingResponse:
        find(job_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(state, job_id), media_type="text/event-stream", headers=headers)

    @router.delete("/{job_id}", summary="Cancel a job, or forget a finished one")
    def delete_video(job_id: str) -> dict[str, Any]:
        state.runner.cancel(find(job_id))
        return {"id": job_id, "object": "video.deleted", "deleted": True}

    return router


async def _events(state: ServerState, job_id: str) -> AsyncIterator[str]:
    """Yield the job's events: `progress` with each change, then `completed`, `failed` or `deleted`."""
    last, waited = "", 0.0
    while True:
        job = state.store.get(job_id)
        text = "{}" if job is None else json.dumps(describe(job, state))
        name = "deleted" if job is None else job.status if job.is_over else "progress"
        if text != last or job is None:
            yield f"event: {name}\ndata: {text}\n\n"
            last, waited = text, 0.0
        elif waited >= KEEP_ALIVE_SECONDS:
            yield ": waiting\n\n"
            waited = 0.0
        if job is None or job.is_over:
            return
        await asyncio.sleep(EVENT_SECONDS)
        waited += EVENT_SECONDS


def sort_fields(items: list[tuple[str, Any]]) -> tuple[dict[str, str], dict[str, UploadFile]]:
    """Separate the texts and files of a form; fields that were left empty are left out.

    Args:
        items: Name and value of each field, the value a text or a file.

    Returns:
        Texts by name, and files by `image` and `audio`.

    Raises:
        InputError: A file has an unknown name or is empty, or a text stands in the place of a file.
    """
    fields, files = {}, {}
    for name, value in items:
        if isinstance(value, UploadFile):
            if name not in FILE_FIELDS:
                raise InputError(f"{name[:60]}: there is no such file field; give image and audio")
            if value.size:
                files[FILE_FIELDS[name]] = value
            elif value.filename:  # a browser sends a file without a name where none was chosen
                raise InputError(f"{name}: the file {value.filename[:80]} is empty; choose another")
        elif name in FILE_FIELDS:
            raise InputError(f"{name} must be a file")
        elif value != "":
            fields[name] = value
    return fields, files


async def prepare_files(state: ServerState, asked: VideoRequest, files: dict[str, UploadFile], folder: Path) -> float:
    """Leave portrait.png and sound.wav in the folder.

    Args:
        state: Limits, decoders and synthesizer.
        asked: The fields of the request.
        files: Its files, see `sort_fields`.
        folder: The folder.

    Returns:
        Seconds of the sound.

    Raises:
        InputError: A file or text is missing, or can't be used.
    """
    settings, text = state.settings, asked.text or asked.prompt
    if asked.model is not None and asked.model != settings.model_name:
        raise InputError(f"model: this server runs {settings.model_name} alone")
    if "image" not in files:
        raise InputError("image is missing: send a picture with a face")
    if ("audio" in files) == (text is not None):
        raise InputError("send either audio (a file) or text, and not both")
    if asked.controls is not None:
        await asyncio.to_thread(state.check_controls, asked.controls)
    async with state.decoders:
        await decode_file(state, "image", files["image"], folder, folder / "portrait.png")
        if "audio" in files:
            return await decode_file(state, "audio", files["audio"], folder, folder / "sound.wav")
    speech = await asyncio.to_thread(state.speak, text or "", asked.language, asked.voice)
    write_wav(folder / "sound.wav", np.asarray(speech.wave), speech.sample_rate)
    return len(speech.wave) / speech.sample_rate


async def decode_file(state: ServerState, kind: str, upload: UploadFile, folder: Path, target: Path) -> float:
    """Copy an upload to the folder and decode it to `target`; see `decode_upload`."""
    name = Path(upload.filename or "the file").name[:80]
    source = folder / f"upload-{kind}"
    with source.open("wb") as file:
        while piece := await upload.read(1 << 20):
            file.write(piece)
    try:
        return await decode_upload(kind, source, target, name, state.settings)
    finally:
        source.unlink(missing_ok=True)
