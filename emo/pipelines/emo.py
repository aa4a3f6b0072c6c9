"""EMOPipeline: a portrait and audio in, video frames out, window by window.

A window is F frames that are denoised together, after the M motion frames before it. Where windows overlap, one fades
into the next. The audio may come in chunks and its length need not be known.

Shapes: H W pixels of the picture, s pixels along a side of the animated square, C h w latents, S samples, T frames of
the video.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput, logging
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from emo.core.errors import InputError
from emo.core.parallel import compute_ahead
from emo.core.timing import count_frames
from emo.face.crop import locator_mask
from emo.face.selection import SelectedFace, select_face
from emo.media.audio import AudioBuffer
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import as_video_autoencoder
from emo.models.conditions import Conditions, Value, pixels_per_latent
from emo.models.emo import EMOModel
from emo.models.loading import find_pipeline, load_components, read_model_index
from emo.models.lora import LoraPipelineMixin
from emo.pipelines.controls import Controls, make_curves, make_relative, slice_curves
from emo.pipelines.drive import Drive, check_drive, drive_portrait
from emo.pipelines.guidance import Guidance, SamplingOptions, StepCallback, crossfade, make_guidance
from emo.pipelines.inputs import (
    AudioInput,
    ImageInput,
    OutputType,
    check_options,
    collate_frames,
    convert_frame,
    count_output_frames,
    open_audio,
    read_pixels,
)
from emo.pipelines.live import LivePipelineMixin
from emo.pipelines.portrait import AnimatedPortrait

DECODE_BATCH_FRAMES = 4
Face = SelectedFace | tuple[float, float, float, float] | str
logger = logging.get_logger(__name__)


@dataclass
class EMOPipelineOutput(BaseOutput):
    """Output of EMOPipeline.

    Attributes:
        frames: By output_type: np (T H W 3) uint8; pil a list of PIL images; pt (T 3 H W) float32 in [0, 1]; latent (T
            C h w).
    """

    frames: np.ndarray | Tensor | list[Image.Image]


class EMOPipeline(LivePipelineMixin, LoraPipelineMixin, DiffusionPipeline):
    """Animates a portrait by audio (EMO, arXiv 2402.17485)."""

    config: Any
    audio_encoder: AudioEncoder
    progress_bar: Any  # torch.compiler.disable hides its type
    model_cpu_offload_seq = "audio_encoder->model->vae"
    _callback_tensor_inputs = ["latents"]
    _make_relative = staticmethod(make_relative)  # for live sessions

    def __init__(
        self,
        model: EMOModel,
        vae: ModelMixin,
        audio_encoder: AudioEncoder,
        scheduler: SchedulerMixin,
        size: int = 512,
        num_inference_steps: int = 40,
        guidance_scale: float = 3.5,
        guidance_threshold: float = 0.0,
        overlap_frames: int = 0,
        color_limit_radius: float = 0.0,
    ):
        """
        Args:
            model: A trained EMOModel.
            vae: An Autoencoder, diffusers' AutoencoderKL, or a module that fulfils the contract VideoAutoencoder.
            audio_encoder: Turns samples into features by frame.
            scheduler: Scheduler of diffusers, with the prediction_type that the model was trained with.
            size: Pixels along a side of the animated square, unless a call gives another.
            num_inference_steps: Denoising steps of a window, unless a call gives another number.
            guidance_scale: Classifier-free guidance by the audio, unless a call gives another.
            guidance_threshold: Limit of a guidance update's RMS in a frame (APG, arXiv 2410.02416); 0: no limit.
            overlap_frames: Frames that a window shares with the one before; they fade from one to the other.
            color_limit_radius: A pixel has only colors of the portrait within this radius, in sides of the square; 0:
                no limit.

        Raises:
            ValueError: When windows would overlap by more than half, or the radius is out of range.
        """
        super().__init__()
        if not 0 <= 2 * overlap_frames <= model.config.num_frames:
            raise ValueError(f"overlap_frames={overlap_frames}: give 0 to {model.config.num_frames // 2}")
        if not 0 <= color_limit_radius <= 0.5:
            raise ValueError(f"color_limit_radius={color_limit_radius}: give 0 to 0.5")
        self.register_modules(model=model, vae=vae, audio_encoder=audio_encoder, scheduler=scheduler)
        self.register_to_config(
            size=size,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_threshold=guidance_threshold,
            overlap_frames=overlap_frames,
            color_limit_radius=color_limit_radius,
        )
        self._interrupt = False
        self._num_timesteps = 0

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        torch_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        revision: str | None = None,
        cache_dir: str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
        variant: str | None = None,
        force_download: bool = False,
        **components: Any,
    ) -> Self:
        """Load a pipeline; every weight must be there, and none may be left over.

        Args:
            pretrained_model_name_or_path: "mini", which is built in, a folder, or a Hub id (OWNER/NAME).
            torch_dtype: Data type of the weights, or one for each component by name; float32 by default.
            revision: Branch, tag or commit of a Hub id.
            cache_dir: Where downloads are stored; None: where huggingface_hub stores them.
            token: For private models of the Hub.
            local_files_only: Whether only downloads of before are used.
            variant: Variant of the weight files' names, such as "fp16".
            force_download: Whether files are downloaded again.
            components: Model, vae, audio_encoder or scheduler to use in place of the folder's, and settings of the
                pipeline.

        Returns:
            The pipeline, of the class that its model_index.json names.

        Raises:
            InputError: When there is no such model, it can't be downloaded, or weights are missing or left over.
        """
        hub = {"cache_dir": cache_dir, "token": token, "local_files_only": local_files_only}
        folder = find_pipeline(pretrained_model_name_or_path, revision, force_download=force_download, **hub)
        named = getattr(import_module("emo"), read_model_index(folder)["_class_name"])
        loaded = load_components(folder, torch_dtype, variant, components)
        try:
            kind = named if issubclass(named, cls) else cls
            return super(EMOPipeline, kind).from_pretrained(folder, **loaded, **components)
        except (TypeError, ValueError, OSError) as error:
            raise InputError(f"{folder} is not an {cls.__name__}: {str(error).splitlines()[0]}") from error

    @classmethod
    def download(cls, pretrained_model_name: str, **options: Any) -> Path:
        """Download a pipeline and verify its files.

        Args:
            pretrained_model_name: Hub id (OWNER/NAME).
            options: Revision, cache_dir, token, local_files_only, force_download.

        Returns:
            Its folder in the cache.

        Raises:
            InputError: When it can't be downloaded.
        """
        names = "revision", "cache_dir", "token", "local_files_only", "force_download"
        return find_pipeline(pretrained_model_name, **{name: options[name] for name in names if options.get(name)})

    @property
    def interrupt(self) -> bool:
        """Whether sampling ends: set `pipe._interrupt = True` in a callback. The window is decoded as it is, and is the
        last."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Denoising steps of the current window."""
        return self._num_timesteps

    def __call__(
        self,
        image: ImageInput,
        audio: AudioInput,
        *,
        fps: float = 25.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        condition_scales: Mapping[str, float] | None = None,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        eta: float = 0.0,
        output_type: OutputType = "np",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        head_speed: Value | None = None,
        controls: Controls | None = None,
        still: bool = False,
        drive: Drive | None = None,
        face: Face | None = None,
        crop_only: bool = False,
        size: int | None = None,
        identity: np.ndarray | None = None,
    ) -> EMOPipelineOutput | tuple:
        """Generate all frames of a video that is as long as the audio.

        Args:
            image: A picture with a face: a PIL image, (H W 3) uint8, or the path of a file.
            audio: (S,) float mono samples in [-1, 1] at `audio_encoder.sample_rate`, chunks of such samples, or the
                path of a file.
            fps: Frames per second.
            num_inference_steps: Denoising steps of a window; None: the pipeline's.
            guidance_scale: Classifier-free guidance by the audio (arXiv 2207.12598); 1: off; None: the pipeline's.
            condition_scales: The same by other conditions, by name; each that is not 1 costs a forward pass more in
                every step.
            generator: Random generator of the noise.
            latents: (N F C h w), standard normal noise of the first N windows of F = model.config.num_frames frames;
                further windows draw theirs from `generator`. None: all of them do.
            eta: Parameter eta of DDIM (arXiv 2010.02502, equation 16); other schedulers ignore it.
            output_type: np: (T H W 3) uint8; pil: PIL images; pt: (T 3 H W) float32 in [0, 1]; latent: (T C h w), not
                decoded.
            return_dict: Whether an EMOPipelineOutput is returned, else a tuple.
            callback_on_step_end: Called as (pipeline, step, timestep, tensors) after each step of each window; returns
                a dict of tensors to go on with. `pipeline._interrupt = True` ends the video with this window, as it is.
            callback_on_step_end_tensor_inputs: Names of these tensors; only "latents" is known: what is diffused (1 F C
                h w).
            head_speed: rad/s, constant or one per frame; None: the model's choice.
            controls: Name of another condition that the model has -> value, constant or one row per frame, see
                emo.models.conditions; "head_pose_offset" is head pose relative to the portrait's. Or the path of a
                controls file, see emo.pipelines.control_files. Beyond its end a curve keeps its last value.
            still: Whether the head keeps its pose, for models with a control of it.
            drive: A video whose motion is put on the portrait in place of a generated one, for models with motion
                latents: a file, (T H W 3) uint8 at `fps`, or a DrivingVideo. The audio says how long.
            face: A SelectedFace, a box (x0, y0, x1, y1) in pixels from forehead to chin, "full" for a picture that is a
                face crop, or None: the largest face is found.
            crop_only: Whether frames are the animated square alone (s s), not pasted into the picture.
            size: Pixels along a side of the animated square, a multiple of 64; None: the pipeline's.
            identity: (G,) embedding of the face, for models with this condition; None: null.

        Returns:
            The frames.

        Raises:
            InputError: When no face is found, the audio is shorter than half a frame, or an argument is out of range.
        """
        stream = self.stream(
            image,
            audio,
            fps=fps,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            condition_scales=condition_scales,
            generator=generator,
            latents=latents,
            eta=eta,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
            head_speed=head_speed,
            controls=controls,
            still=still,
            drive=drive,
            face=face,
            crop_only=crop_only,
            size=size,
            identity=identity,
        )
        total = count_output_frames(audio, self.audio_encoder.sample_rate, fps) if fps > 0 else None
        bar, frames = self.progress_bar(total=total) if total else self.progress_bar(iter(())), []
        with bar:
            for frame in stream:
                frames.append(frame)
                bar.update()
        video = collate_frames(frames, output_type)
        return EMOPipelineOutput(frames=video) if return_dict else (video,)

    @torch.no_grad()
    def stream(
        self,
        image: ImageInput,
        audio: AudioInput,
        *,
        fps: float = 25.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        condition_scales: Mapping[str, float] | None = None,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        eta: float = 0.0,
        output_type: OutputType = "np",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        head_speed: Value | None = None,
        controls: Controls | None = None,
        still: bool = False,
        drive: Drive | None = None,
        face: Face | None = None,
        crop_only: bool = False,
        size: int | None = None,
        identity: np.ndarray | None = None,
    ) -> Iterator[np.ndarray | Image.Image | Tensor]:
        """Check the arguments, then make the frames one by one; the audio is read no further than their windows need.

        Arguments and errors are those of `__call__`.

        Returns:
            Frames by output_type: (H W 3) uint8, PIL images, tensors (3 H W) or latents (C h w).
        """
        size = size or self.config.size
        tensor_inputs = callback_on_step_end_tensor_inputs
        tensor_inputs = ["latents"] if tensor_inputs is None else tensor_inputs
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            tensor_inputs = callback_on_step_end.tensor_inputs
        check_options(fps, size, output_type, tensor_inputs, self._callback_tensor_inputs)
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        steps = num_inference_steps or self.config.num_inference_steps
        guidance = self._make_guidance(scale, condition_scales or {})
        sampling = SamplingOptions(steps, guidance, generator, eta, callback_on_step_end, tuple(tensor_inputs))

        pixels, codec, limit = read_pixels(image), as_video_autoencoder(self.vae), self.config.color_limit_radius
        selected = self._select_face(pixels, face)
        check_drive(drive, self.model.config, controls=controls, head_speed=head_speed, still=still)
        curves = make_curves(self.model.conditions, controls, head_speed, still, fps, pixels, selected)
        animated = AnimatedPortrait(self.vae, pixels, selected, size, self._execution_device, crop_only, limit)
        buffer, square = open_audio(audio, rate := self.audio_encoder.sample_rate), animated.square
        portrait = self._encode_portrait(animated.reference.to(self.model.dtype), selected, identity)
        is_stored, on_cpu = isinstance(audio, str | Path | np.ndarray | Tensor), animated.square.device.type == "cpu"
        is_free = is_stored and on_cpu and drive is None and callback_on_step_end is None  # a callback may interrupt
        if drive is None:
            windows = self._windows(buffer, portrait, curves, fps, sampling, square, animated.frame_shape, latents)
        else:
            windows = drive_portrait(codec, drive, buffer, fps, square, count_output_frames(audio, rate, fps))

        @torch.no_grad()
        def decode_frames() -> Iterator:
            count, self._interrupt = 0, False
            try:
                for window in compute_ahead(windows) if is_free else windows:
                    for part in window.split(DECODE_BATCH_FRAMES):
                        count += len(part)
                        if output_type == "latent":
                            yield from part
                            continue
                        for frame in animated.render(part):
                            yield convert_frame(frame, output_type)
            finally:
                self.maybe_free_model_hooks()
            if count == 0:
                raise InputError(f"the audio is shorter than half a frame ({buffer.seconds:.3f} s at {fps:g} fps)")

        return decode_frames()

    def _make_guidance(self, scale: float, condition_scales: Mapping[str, float]) -> Guidance:
        return make_guidance(scale, self.config.guidance_threshold, self.model.conditions, condition_scales)

    def _select_face(self, pixels: np.ndarray, face: Face | None) -> SelectedFace:
        """Return the face to animate in (H W 3) uint8."""
        return face if isinstance(face, SelectedFace) else select_face(pixels, face)

    def _encode_portrait(self, reference: Tensor, face: SelectedFace, identity: np.ndarray | None) -> Conditions:
        """Return the conditions that all windows share; reference: latents (1 C h w) of the portrait."""
        if identity is not None and "identity" not in {spec.name for spec in self.model.conditions}:
            raise InputError("identity: the model has no such condition; leave it out")
        side = reference.shape[-1] * pixels_per_latent(self.model.config)
        mask = torch.from_numpy(locator_mask(face.box, face.region, side)).to(reference)
        return Conditions(reference, face_region=mask[None, None])

    @torch.no_grad()
    def _windows(
        self,
        buffer: AudioBuffer,
        portrait: Conditions,
        curves: Mapping[str, np.ndarray],
        fps: float,
        sampling: SamplingOptions,
        square: Tensor,
        frame_shape: torch.Size,
        noise: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Yield latents (N C h w) of frame after frame, of shape frame_shape, N at once; the last window ends with the
        audio.
        """
        config, encoder, latents = self.model.config, self.audio_encoder, portrait.reference
        assert latents is not None
        margin, first, index = config.audio_margin, 0, 0
        motion, previous = None, latents.new_zeros(1, 0, *frame_shape)
        reference_tokens = sampling.guidance.encode_reference(self.model, portrait)
        while True:
            end = first + config.num_frames
            buffer.read_until((end + margin) / fps + encoder.future_seconds)
            count = min(end, count_frames(buffer.seconds, fps)) - first if buffer.ended else config.num_frames
            if count <= 0:
                return
            wave = torch.from_numpy(buffer.wave)[None].to(latents.device)
            start_seconds = buffer.first_sample / buffer.sample_rate
            audio = encoder(wave, first - margin, count + 2 * margin, fps, start_seconds).to(latents)
            values = slice_curves(curves, first, count, config, latents)
            conditions = replace(portrait, audio=audio, motion=motion, **values)
            shape = torch.Size((1, count, *frame_shape))
            start = None if noise is None or index >= len(noise) else noise[index : index + 1, :count]
            window = self.denoise_window(conditions, shape, reference_tokens, sampling, start)
            window = crossfade(previous, window)
            at_end = self.interrupt or buffer.ended and first + count == count_frames(buffer.seconds, fps)
            done = count - (0 if at_end else self.config.overlap_frames)
            yield window[0, :done]
            if self.interrupt:
                return
            motion = self._next_motion(latents, motion, window[:, :done], square)
            previous, first, index = window[:, done:], first + done, index + 1
            buffer.trim((first - margin) / fps - encoder.past_seconds - 1)

    def _next_motion(self, reference: Tensor, motion: Tensor | None, window: Tensor, square: Tensor) -> Tensor:
        """Return the motion frames (1 M C h w) of the next window: the last frames of the video so far."""
        count = self.model.config.num_motion_frames
        before = self.model.initial_motion(reference) if motion is None else motion
        return torch.cat([before, window[:, -count:]], dim=1)[:, -count:]

    def prepare_extra_step_kwargs(self, generator: torch.Generator | None, eta: float) -> dict[str, Any]:
        """Choose the arguments that the scheduler's `step` takes, as diffusers' pipelines do.

        Args:
            generator: Source of noise.
            eta: Noise of DDIM, 0 to 1 (arXiv 2010.02502, equation 16).

        Returns:
            `generator` and `eta`, each only if the scheduler takes it.
        """
        given, taken = {"generator": generator, "eta": eta}, signature(self.scheduler.step).parameters
        return {name: value for name, value in given.items() if name in taken}

    @torch.no_grad()
    def denoise_window(
        self,
        conditions: Conditions,
        shape: torch.Size,
        reference_tokens: list[Tensor | None] | None,
        sampling: SamplingOptions,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Denoises one window.

        Args:
            conditions: Conditions of the window, with the portrait's latents.
            shape: (B F C h w) of the window's latents.
            reference_tokens: From `Guidance.encode_reference`; None: they are computed.
            sampling: Steps, guidance and generator.
            noise: (B F C h w) standard normal; None: it is drawn.

        Returns:
            Latents (B F C h w).

        Raises:
            InputError: For noise of another shape.
        """
        reference, guidance = conditions.reference, sampling.guidance
        assert reference is not None
        encoded = guidance.encode_conditions(self.model, conditions, shape, reference_tokens)
        self.scheduler.set_timesteps(sampling.num_inference_steps, device=reference.device)
        timesteps, extra = self.scheduler.timesteps, self.prepare_extra_step_kwargs(sampling.generator, sampling.eta)
        if noise is None:
            noise = randn_tensor(shape, generator=sampling.generator, device=reference.device, dtype=reference.dtype)
        if noise.shape != shape:
            raise InputError(f"latents have shape {tuple(noise.shape)} for a window, give {tuple(shape)}")
        sample = noise.to(reference) * self.scheduler.init_noise_sigma
        self._num_timesteps, first = len(timesteps), sample
        for step, timestep in enumerate(timesteps):
            if self.interrupt:
                break
            scaled = self.scheduler.scale_model_input(sample, timestep)
            prediction = guidance.predict(self.model, scaled, timestep, conditions, encoded)
            first = prediction if step == 0 else first
            sample = self.scheduler.step(prediction, timestep, sample, **extra).prev_sample.to(reference.dtype)
            if sampling.callback is not None:
                tensors = {"latents": sample} if "latents" in sampling.callback_tensor_inputs else {}
                changed = sampling.callback(self, step, timestep, tensors) or {}
                sample = changed.get("latents", sample)
        sample = self.model.choose_lips(sample, first)
        return self.model.smooth_motion(self.model.from_diffused(sample, reference), conditions.motion)
