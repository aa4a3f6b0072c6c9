"""Generate a talking video from a picture and a sound: the only writer of videos that a model makes.

`generate` is what emo-infer, emo-eval, emo-bench and the preview videos of a training run call. It
reads both inputs, finds the face, runs the pipeline frame by frame and writes an mp4 with the user's own sound. Frames
are written as they come, so memory does not grow with the length of the sound.

The module is not called `generate` because the package exposes the function under that name: `emo.generate(...)`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from emo.core.errors import InputError
from emo.core.files import check_input_file
from emo.core.timing import FPS, SAMPLE_RATE
from emo.media.audio import SILENT_PEAK, probe_audio, stream_audio, write_wav
from emo.media.decode import check_trim, start_past_end_error, trim_chunks
from emo.media.image import read_image
from emo.media.video_writer import VideoWriter, limit_video_size
from emo.provenance.marks import Label, Marks, name_model
from emo.provenance.policy import check_policy

if TYPE_CHECKING:
    import torch

    from emo.face.selection import SelectedFace
    from emo.models.conditions import Value
    from emo.pipelines.controls import Controls
    from emo.pipelines.drive import Drive, DrivingVideo
    from emo.pipelines.emo import EMOPipeline
    from emo.provenance.content_credentials import Certificate
    from emo.provenance.watermark import Watermark

ARCFACE_FILE = "backbone.pth"  # the file name under which ArcFace's weights are published

Box = tuple[float, float, float, float]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerationResult:
    """The result of `generate`.

    Attributes:
        path: The mp4 file.
        num_frames: Number of frames.
        fps: Frames per second.
        elapsed_seconds: Time from the first call of the model to the last written frame.
        warnings: Warnings for the user, one line each.
        payload: The watermark's payload, 16 hexadecimal digits; None without a watermark.
    """

    path: Path
    num_frames: int
    fps: float
    elapsed_seconds: float
    warnings: tuple[str, ...] = ()
    payload: str | None = None

    @property
    def seconds_per_frame(self) -> float:
        """Seconds of work for one frame."""
        return self.elapsed_seconds / self.num_frames

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for one second of video; below 1 it is faster than it plays."""
        return self.seconds_per_frame * self.fps


def generate(
    image: str | Path | Image.Image | np.ndarray,
    audio: str | Path | np.ndarray,
    output: str | Path,
    *,
    pipeline: "EMOPipeline | str | Callable[[], EMOPipeline]" = "mini",
    fps: float = FPS,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    condition_scales: Mapping[str, float] | None = None,
    head_speed: "Value | None" = None,
    controls: "Controls | None" = None,
    still: bool = False,
    drive: "Drive | None" = None,
    size: int | None = None,
    crop_only: bool = False,
    face: "SelectedFace | Box | str | None" = None,
    identity: np.ndarray | None = None,
    arcface: str | Path | None = None,
    generator: "torch.Generator | int" = 0,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    overwrite: bool = False,
    preset: str = "default",
    crf: float | None = None,
    max_size: int | None = None,
    compose: Callable[[int, np.ndarray], np.ndarray] | None = None,
    watermark: "Watermark | str | None" = "auto",
    label: str | None = None,
    label_font: str | Path | None = None,
    certificate: "Certificate | None" = None,
    on_frame: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> GenerationResult:
    """Make the portrait in `image` speak or sing `audio` and write the video to `output`.

    All inputs are checked before a model is loaded. The file takes its name only when it is complete. It is marked as
    generated: by a watermark in every frame, by metadata, and, with the extra `c2pa`, by signed content credentials.

    Args:
        image: A picture with a face: a file, a PIL image or (H W 3) uint8 RGB.
        audio: A file with sound (also a video), or (S,) float32 mono in [-1, 1] at 16 kHz. The video carries the
            file's own sound, or the array.
        output: The .mp4 to write.
        pipeline: An `EMOPipeline`; a name, folder or Hub id for `load_pipeline`; or a function that loads one, called
            after the inputs were checked.
        fps: Frames per second.
        num_inference_steps: Denoising steps per window; None: the model's default.
        guidance_scale: Classifier-free guidance on the audio; 1 is off, None: the model's default.
        condition_scales: Guidance on other conditions, by name; each costs one more forward pass in every step.
        head_speed: Speed of the head in rad/s, constant or one per frame; None: the model chooses.
        controls: Values of the model's other conditions, by name, constant or one row per frame, or a controls file;
            see `emo.models.conditions` and `emo.pipelines.control_files`.
        still: Whether the head keeps its pose, for models with a control of it.
        drive: A video whose motion is put on the portrait in place of a generated one, for models with motion latents:
            a file, (T H W 3) uint8 at `fps`, or a `DrivingVideo`. `start_seconds` and `duration_seconds` cut it as they
            cut the sound.
        size: Side of the animated square inside the model in pixels, a multiple of 64; None: the model's.
        crop_only: Write the animated square alone instead of the whole picture.
        face: A `SelectedFace`, a box (x0, y0, x1, y1) in pixels from forehead to chin, "full" if the picture is a face
            crop, or None: find the largest face.
        identity: (G,) embedding of the face, for models that take one.
        arcface: Weights of ArcFace (a file or OWNER/NAME/FILE of the Hub) that compute `identity`.
        generator: Source of the noise, or its seed. The same seed gives the same frames.
        start_seconds: Where in the sound to begin.
        duration_seconds: How much of the sound to use; None: to its end.
        overwrite: Replace `output` if it exists.
        preset: How the video is encoded: "default", "share" (for messengers and old phones) or "dataset" (near
            lossless).
        crf: Quality from 0 (lossless) to 51; None: the preset's.
        max_size: Longest side of the video in pixels; None: the preset's. A larger picture is shrunk first.
        compose: Called as compose(index, frame) with each frame (H W 3) uint8; returns the frame to write.
        watermark: "auto": a new random payload; a `Watermark` of your own payload; None: no watermark, see
            docs/responsible-use for what the law then asks of you.
        label: Text of a visible label in every frame; None: no label.
        label_font: Font file of the label, for letters other than Latin.
        certificate: Signs the content credentials; None: one made on this computer.
        on_frame: Called as on_frame(done, total): with done=0 before the first frame and after each written frame.
        on_warning: Called with each warning as it arises; None: the warning is logged.

    Returns:
        A `GenerationResult`.

    Raises:
        InputError: An input or setting can't be used: no face, no sound, an unknown model, an existing output; or the
            operator's policy (EMO_POLICY) refuses it.
        OutputError: The video can't be written.
    """
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        (on_warning or logger.warning)(text)

    with TemporaryDirectory() as folder:
        picture, image_name = _read_picture(image)
        full_size = picture.shape[:2]
        if not crop_only:
            video_size = limit_video_size(picture.shape[1], picture.shape[0], fps, preset, max_size)
            picture = _shrink(picture, image_name, video_size, warn)
        sound = _open_sound(audio, Path(folder), start_seconds, duration_seconds)
        total = _count_frames(sound, fps)
        if isinstance(drive, str | Path):
            check_input_file(Path(drive), "video file")
        if isinstance(controls, str | Path):
            check_input_file(Path(controls), "controls file")
        check_policy(picture, sound.path)
        if label is not None:
            Label(label, label_font)  # refuses what can't be written
        writer = VideoWriter(
            output,
            fps,
            sound.path,
            sound.start_seconds,
            sound.duration_seconds,
            overwrite,
            preset=preset,
            crf=crf,
            max_size=max_size,
            on_note=warn,
        )

        import torch

        from emo.face.selection import SelectedFace, is_mouth_occluded, select_upright_face

        face = _scale_face(face, full_size, picture.shape[:2])
        degrees = 0
        if isinstance(face, SelectedFace):
            selected = face
        else:
            picture, selected, degrees = select_upright_face(picture, face, image_name)
            if is_mouth_occluded(picture, selected):
                warn(f"something covers the mouth in {image_name} (a mask, a hand, text): the mouth will look wrong")
        if degrees:
            warn(f"{image_name} lies on its side or head; it is turned by {degrees} degrees clockwise")
        if selected.other_faces:
            warn(f"{image_name} shows {selected.other_faces + 1} faces; the largest is used (choose with face=)")
        if arcface is not None:
            identity = embed_face(arcface, picture, selected)
        pipeline = _load(pipeline)
        marks = Marks(
            name_model(pipeline),
            watermark=watermark,
            label=label,
            label_font=label_font,
            certificate=certificate,
            sources=_name_sources(image, audio),
        )
        writer.metadata, writer.on_complete = marks.metadata, marks.sign

        with writer:
            on_frame, began, done = on_frame or (lambda done, total: None), time.perf_counter(), 0
            frames = pipeline.stream(
                picture,
                _warn_if_silent(sound.stream(pipeline.audio_encoder.sample_rate), sound.name, warn),
                fps=fps,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                condition_scales=condition_scales,
                head_speed=head_speed,
                controls=controls,
                still=still,
                drive=None if drive is None else _cut_drive(drive, start_seconds, total / fps),
                face=selected,
                crop_only=crop_only,
                size=size,
                identity=identity,
                generator=torch.Generator().manual_seed(generator) if isinstance(generator, int) else generator,
            )
            on_frame(0, total)
            for frame in frames:
                writer.write(marks.mark_frame(frame if compose is None else compose(done, frame)))
                done += 1
                on_frame(done, total)
            elapsed = time.perf_counter() - began
    return GenerationResult(Path(output), done, fps, elapsed, tuple(warnings), marks.payload_hex)


def embed_face(arcface: str | Path, image: np.ndarray, face: "SelectedFace") -> np.ndarray:
    """Compute ArcFace's identity embedding of a face.

    Args:
        arcface: A file of weights, or OWNER/NAME/FILE of the Hub.
        image: (H W 3) uint8 RGB.
        face: The face, with landmarks (68 2) in pixels.

    Returns:
        (512,) float32.

    Raises:
        InputError: The face has no landmarks, or there are no such weights.
    """
    from emo.face.landmarks import align_face, five_points
    from emo.hub.resolve import find_weights_file
    from emo.media.image import images_to_tensor
    from emo.models.arcface import load_arcface

    if face.landmarks is None:
        raise InputError("arcface= needs a face that is detected: leave face=full out, or give a box around a face")
    net = load_arcface(find_weights_file(str(arcface), "arcface=", ARCFACE_FILE))
    aligned = align_face(image.transpose(2, 0, 1), five_points(face.landmarks[None])[0])
    return net.embed(images_to_tensor(aligned.transpose(1, 2, 0)[None]).contiguous())[0].numpy()


@dataclass(frozen=True)
class _Sound:
    """The sound of one video: a file, and the part of it that is used."""

    path: Path
    name: str  # in messages
    start_seconds: float = 0.0
    duration_seconds: float | None = None
    samples: np.ndarray | None = None  # (S,) the array that `path` was written from, at SAMPLE_RATE

    def seconds(self) -> float:
        """Length in seconds of the part that is used. Raises InputError if it begins after the end."""
        seconds = probe_audio(self.path).seconds - self.start_seconds
        if self.start_seconds > 0 and seconds <= 0:
            raise start_past_end_error(self.path, self.start_seconds)
        return seconds if self.duration_seconds is None else min(seconds, self.duration_seconds)

    def stream(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Yield pieces (N,) float32 mono; an array unrounded."""
        if self.samples is not None:
            return iter([self.samples])
        return stream_audio(self.path, sample_rate, self.start_seconds, self.duration_seconds)


def _open_sound(audio: str | Path | np.ndarray, folder: Path, start: float, duration: float | None) -> _Sound:
    """Return the sound as a file; an array is written to `folder`, trimmed. Raises InputError for a range that can't
    be."""
    if not isinstance(audio, np.ndarray):
        check_trim(audio, start, duration)
        return _Sound(Path(audio), str(audio), start, duration)
    if audio.ndim != 1 or audio.dtype.kind != "f":
        raise InputError(f"audio of shape {audio.shape} and type {audio.dtype}: give (S,) float samples in [-1, 1]")
    check_trim("audio", start, duration)
    samples = np.concatenate([*trim_chunks([audio], start, duration, SAMPLE_RATE), np.zeros(0, np.float32)])
    path = folder / "audio.wav"
    write_wav(path, samples, SAMPLE_RATE)
    return _Sound(path, "audio", samples=samples)


def _read_picture(image: str | Path | Image.Image | np.ndarray) -> tuple[np.ndarray, str]:
    """Return (H W 3) uint8 RGB, and its name in messages. Raises InputError."""
    if isinstance(image, str | Path):
        return read_image(image), str(image)
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB")), "image"
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"image of shape {image.shape} and type {image.dtype}: give (H, W, 3) uint8 RGB")
    return image, "image"


def _shrink(picture: np.ndarray, name: str, size: tuple[int, int], warn: Callable[[str], None]) -> np.ndarray:
    """Return the picture (H W 3), made as small as `size` (width, height) where it is larger."""
    height, width = picture.shape[:2]
    if size == (width, height):
        return picture
    warn(
        f"{name} is shrunk from {width} x {height} to {size[0]} x {size[1]} pixels, the largest video that "
        "max_size, the preset and H.264 allow"
    )
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _scale_face(
    face: "SelectedFace | Box | str | None", old: tuple[int, int], new: tuple[int, int]
) -> "SelectedFace | Box | str | None":
    """Return a face given in a picture of `old` (height, width) in the same picture of `new`."""
    from emo.face.selection import SelectedFace

    if old == new or face is None or isinstance(face, str):
        return face
    scale = np.array([new[1] / old[1], new[0] / old[0]])
    if not isinstance(face, SelectedFace):
        x0, y0, x1, y1 = (np.reshape(face, (2, 2)) * scale).ravel().tolist()
        return x0, y0, x1, y1
    box = tuple((np.reshape(face.box, (2, 2)) * scale).ravel().tolist())
    center = tuple((np.array(face.region.center) * scale).tolist())
    region = replace(face.region, center=center, side=face.region.side * float(scale.mean()))
    landmarks = None if face.landmarks is None else face.landmarks * scale
    return replace(face, box=box, region=region, landmarks=landmarks)


def _count_frames(sound: _Sound, fps: float) -> int:
    """Count the frames of a video as long as the sound. Raises InputError if there are none."""
    seconds = sound.seconds()
    count = round(seconds * fps)
    if count < 1:
        problem = f"{max(0, seconds):g} s of sound is shorter than half a frame at {fps:g} fps"
        raise InputError(f"{sound.name}: {problem}: use a longer sound")
    return count


def _cut_drive(drive: "Drive", start_seconds: float, duration_seconds: float) -> "DrivingVideo":
    """Return the part of a driving video that belongs to the part of the sound that is used."""
    from emo.pipelines.drive import DrivingVideo

    return drive if isinstance(drive, DrivingVideo) else DrivingVideo(drive, start_seconds, duration_seconds)


def _load(pipeline: "EMOPipeline | str | Callable[[], EMOPipeline]") -> "EMOPipeline":
    """Return the pipeline, loaded where its name or a function is given."""
    if isinstance(pipeline, str):
        from emo.hub.resolve import load_pipeline

        return load_pipeline(pipeline)
    from emo.pipelines.emo import EMOPipeline

    return pipeline if isinstance(pipeline, EMOPipeline) else pipeline()


def _name_sources(image: object, audio: object) -> dict[str, Path]:
    """The files that a video is made from, by what they are; pictures and samples in memory have none."""
    given = {"portrait": image, "sound": audio}
    return {name: Path(source) for name, source in given.items() if isinstance(source, str | Path)}


def _warn_if_silent(pieces: Iterable[np.ndarray], name: str, warn: Callable[[str], None]) -> Iterator[np.ndarray]:
    """Yield the pieces unchanged and warn after the last one if all were silent."""
    peak = 0.0
    for piece in pieces:
        peak = max(peak, float(abs(piece).max(initial=0.0)))
        yield piece
    if peak < SILENT_PEAK:
        warn(f"{name} is silent, so the mouth stays closed")
