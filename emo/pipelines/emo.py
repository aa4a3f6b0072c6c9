"""EMOPipeline: a portrait and a wave -> frames, window by window.

A window is F frames denoised together, behind the M motion frames that come before it. Where windows overlap, one
fades into the next. The wave may come in chunks and its length need not be known.
Shapes: H W the portrait's pixels, s those of the animated square, C h w latents, S samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from emo.core.download import snapshot
from emo.core.errors import InputError
from emo.face.crop import crop, locator_mask
from emo.face.masks import regional_masks
from emo.face.paste import Palette, Paster
from emo.face.selection import Located, locate
from emo.media.audio import Sound
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import Autoencoder, decode_latents, encode_images, through_pixels, to_images, to_model
from emo.models.emo import Conditions, EMOModel
from emo.models.layers import Regions
from emo.models.lora import load_lora, merge_lora
from emo.pipelines.guidance import Guidance

DECODED_AT_ONCE = 4  # frames


@dataclass
class EMOPipelineOutput(BaseOutput):
    """frames: (T H W 3) uint8, or (T s s 3) of the square alone."""

    frames: np.ndarray


def count_frames(seconds: float, fps: float) -> int:
    """Frames of a video as long as the sound."""
    return round(seconds * fps)


def fade(held: Tensor, window: Tensor) -> Tensor:
    """The first N frames of a window (1 F C h w) come evenly out of those held of the window before, (1 N C h w)."""
    count = held.shape[1]
    share = ((torch.arange(count, device=window.device) + 0.5) / max(1, count)).to(window).view(1, -1, 1, 1, 1)
    faded = torch.lerp(held, window[:, :count], share)
    return torch.cat([faded, window[:, count:]], dim=1)


class EMOPipeline(DiffusionPipeline):
    """EMO (arXiv 2402.17485) from a trained EMOModel, an autoencoder, an audio encoder and a scheduler.

    size, num_inference_steps and guidance_scale are what the model was made for; a call may ask otherwise. What
    guidance adds to a frame grows with what the sound changes in it up to `guidance_threshold` (RMS; 0: without end),
    so that small movements are helped and large ones not overdone (the rescaling of APG, arXiv 2410.02416). A window
    begins `overlap_frames` before the end of the one before: frames that both have fade from one to the other. Colours
    are those that lie within `palette_reach` sides of the square in the portrait (0: any), see `Palette`.
    For models that know them: guides_identity is `Guidance.identity`; motion frames pass through the autoencoder where
    `motion_through_pixels`; the three scales say how strongly surroundings, face and lips follow the sound; the square
    is `crop_scale` times as wide as that of EMO's own models.
    """

    model_cpu_offload_seq = "audio_encoder->model->vae"

    def __init__(
        self,
        model: EMOModel,
        vae: Autoencoder | AutoencoderKL,
        audio_encoder: AudioEncoder,
        scheduler: DDIMScheduler,
        size: int = 512,
        num_inference_steps: int = 40,
        guidance_scale: float = 3.5,
        guidance_threshold: float = 0.0,
        overlap_frames: int = 0,
        palette_reach: float = 0.0,
        guides_identity: bool = False,
        motion_through_pixels: bool = False,
        surroundings_scale: float = 1.0,
        face_scale: float = 1.0,
        lips_scale: float = 1.0,
        crop_scale: float = 1.0,
    ):
        """Raises ValueError when windows overlap by more than half, colours come from outside the square, or faces
        shall guide a model that knows none."""
        super().__init__()
        if not 0 <= 2 * overlap_frames <= model.config.num_frames:
            raise ValueError(f"overlap_frames={overlap_frames}: give 0 to {model.config.num_frames // 2}")
        if not 0 <= palette_reach <= 0.5:
            raise ValueError(f"palette_reach={palette_reach}: give 0 to 0.5")
        if guides_identity and model.config.identity_dim is None:
            raise ValueError("guides_identity=true: needs a model with an identity_dim")
        self.register_modules(model=model, vae=vae, audio_encoder=audio_encoder, scheduler=scheduler)
        self.register_to_config(
            size=size,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_threshold=guidance_threshold,
            overlap_frames=overlap_frames,
            palette_reach=palette_reach,
            guides_identity=guides_identity,
            motion_through_pixels=motion_through_pixels,
            surroundings_scale=surroundings_scale,
            face_scale=face_scale,
            lips_scale=lips_scale,
            crop_scale=crop_scale,
        )

    @classmethod
    def download(cls, pretrained_model_name: str, **options) -> Path:
        """What `from_pretrained` does for a Hub id: the whole model as a folder, each file held against its hash.

        Raises InputError when it can't be had.
        """
        known = {name: options.get(name) for name in ("revision", "cache_dir", "token")}
        return snapshot(f"{pretrained_model_name}: no such folder", pretrained_model_name, **known)

    def load_lora_weights(self, folder: str | Path) -> None:
        """Adapters that emo-train has left. Raises InputError when they are none, or of another model."""
        load_lora(self.model, Path(folder))

    def fuse_lora(self) -> None:
        """Merges the adapters into the weights, so that they cost no time."""
        merge_lora(self.model)

    def __call__(self, portrait: Image.Image | np.ndarray, wave: np.ndarray, **options) -> EMOPipelineOutput:
        """portrait and wave (S,) at 16 kHz -> all frames, round(seconds * fps). Options and errors: see `stream`."""
        wave = np.asarray(wave, np.float32)
        total = count_frames(len(wave) / self.audio_encoder.sample_rate, options.get("fps", 25.0))
        frames = []
        with self.progress_bar(total=total) as bar:
            for frame in self.stream(portrait, wave, **options):
                frames.append(frame)
                bar.update()
        return EMOPipelineOutput(frames=np.stack(frames))

    @torch.no_grad()
    def stream(
        self,
        portrait: Image.Image | np.ndarray,
        wave: np.ndarray | Iterable[np.ndarray],
        *,
        fps: float = 25.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        head_speed: float | None = None,
        face: Located | tuple[float, float, float, float] | str | None = None,
        crop_only: bool = False,
        size: int | None = None,
        identity: np.ndarray | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields frames (H W 3) uint8 as their windows are done.

        portrait: a PIL image or (H W 3) uint8. wave: (S,) float32 mono at `audio_encoder.sample_rate`, or chunks
        of it. head_speed: rad/s, None: the model's choice. face: what `locate` found, a box (x0, y0, x1, y1) in pixels
        from forehead to chin, "full" for a portrait that is a face crop, or None: find it. crop_only: frames of
        the animated square alone (s s 3). size: pixels of that square inside the model. guidance_scale: how much
        further to go with the sound than without it (classifier-free guidance, 2207.12598); 1 is off. identity: the
        face's embedding (G,), for a model that knows faces; None: nobody's.
        Raises InputError for no face, a wave of no frame, or a setting that can't be.
        """
        size = size or self.config.size
        if fps <= 0 or size < 64 or size % 64:
            raise InputError(f"fps={fps} size={size}: fps must be above 0, size a multiple of 64 from 64 on")
        image = np.asarray(portrait.convert("RGB") if isinstance(portrait, Image.Image) else portrait)
        found = face if isinstance(face, Located) else locate(image, face)
        found = replace(found, region=replace(found.region, side=found.region.side * self.config.crop_scale))
        square = crop(image, found.region, size)
        latents = encode_images(self.vae, to_model(square[None], self.device, self.vae.dtype))
        again = to_images(decode_latents(self.vae, latents))[0]
        paster = None if crop_only else Paster(image, found.region, again)
        palette = Palette(again, self.config.palette_reach) if self.config.palette_reach else None
        sound = self._sound(wave)
        windows = self._windows(
            sound,
            self._still(latents, found, identity),
            fps,
            num_inference_steps or self.config.num_inference_steps,
            self.config.guidance_scale if guidance_scale is None else guidance_scale,
            head_speed,
            generator,
        )
        count = 0
        for window in windows:
            for part in window.split(DECODED_AT_ONCE):
                for frame in to_images(decode_latents(self.vae, part)):
                    count += 1
                    frame = frame if palette is None else palette.bound(frame)
                    yield frame if paster is None else paster.paste(frame)
        if count == 0:
            raise InputError(f"the sound is shorter than half a frame ({sound.seconds:.3f} s at {fps:g} fps)")

    def _still(self, latents: Tensor, found: Located, identity: np.ndarray | None) -> Conditions:
        """What all windows share: the portrait's latents (1 C h w), where face and lips are, whose face it is."""
        if identity is not None and len(identity) != self.model.config.identity_dim:
            knows = self.model.config.identity_dim or "no"
            raise InputError(f"an identity of {len(identity)} numbers: the model takes {knows}, leave --arcface out")
        config, sides = self.model.config, [latents.shape[-1]]
        pixels = sides[0] if config.locator_widths is None else sides[0] * 2 ** (len(config.locator_widths) - 1)
        mask = torch.from_numpy(locator_mask(found.box, found.region, pixels)).to(latents)
        still = Conditions(latents, face_region=mask[None, None])
        if config.identity_dim is not None:
            whose = np.zeros(config.identity_dim) if identity is None else identity
            still.identity = torch.from_numpy(whose)[None].to(latents)
        if config.audio_regions:
            sides += [-(-sides[0] // 2**level) for level in range(1, len(config.block_out_channels))]
            scales = latents.new_ones(1, len(sides), config.audio_regions)
            strengths = self.config.surroundings_scale, self.config.face_scale, self.config.lips_scale
            scales[:, self.model.motion_levels] = latents.new_tensor(strengths)
            masks = regional_masks(found, sides)
            still.regions = Regions([torch.from_numpy(mask).to(latents)[None] for mask in masks], scales)
        return still

    def _sound(self, wave: np.ndarray | Iterable[np.ndarray]) -> Sound:
        chunks = iter([wave]) if isinstance(wave, np.ndarray) else iter(wave)
        return Sound(chunks, self.audio_encoder.sample_rate, np.zeros(0, np.float32))

    def _windows(
        self,
        sound: Sound,
        still: Conditions,
        fps: float,
        steps: int,
        guidance_scale: float,
        head_speed: float | None,
        generator: torch.Generator | None,
    ) -> Iterator[Tensor]:
        """Yields the latents (N C h w) of frame after frame, N at once; the last window is as long as the sound."""
        config, encoder, latents = self.model.config, self.audio_encoder, still.reference
        margin, first, motion, held = config.audio_margin, 0, None, latents[None, :0]
        portrait = self._guidance(guidance_scale).look_at_portrait(self.model, still)
        while True:
            end = first + config.num_frames
            sound.hear((end + margin) / fps + encoder.future_seconds)
            count = min(end, count_frames(sound.seconds, fps)) - first if sound.ended else config.num_frames
            if count <= 0:
                return
            wave = torch.from_numpy(sound.wave)[None].to(latents.device)
            start_seconds = sound.first_sample / sound.sample_rate
            audio = encoder(wave, first - margin, count + 2 * margin, fps, start_seconds).to(latents)
            known_speed = torch.nan if head_speed is None else head_speed
            speed = torch.full((1, count + 2 * config.speed_margin), known_speed).to(latents)
            conditions = replace(still, audio=audio, motion=motion, head_speed=speed)
            shape = torch.Size((1, count, *latents.shape[1:]))
            window = fade(held, self._denoise(conditions, shape, portrait, steps, guidance_scale, generator))
            at_end = sound.ended and first + count == count_frames(sound.seconds, fps)
            done = count - (0 if at_end else self.config.overlap_frames)
            yield window[0, :done]
            motion, held = self._last(latents, motion, window[:, :done]), window[:, done:]
            first += done
            sound.forget((first - margin) / fps - encoder.past_seconds - 1)

    def _last(self, latents: Tensor, motion: Tensor | None, window: Tensor) -> Tensor:
        """The motion frames (1 M C h w) for the next window."""
        count = self.model.config.num_motion_frames
        before, window = self.model.motion_before(latents) if motion is None else motion, window[:, -count:]
        window = through_pixels(self.vae, window) if self.config.motion_through_pixels else window
        return torch.cat([before, window], dim=1)[:, -count:]

    def _guidance(self, scale: float) -> Guidance:
        return Guidance(scale, self.config.guidance_threshold, self.config.guides_identity)

    def _denoise(
        self,
        conditions: Conditions,
        shape: torch.Size,
        portrait: list[Tensor | None],
        steps: int,
        guidance_scale: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Noise -> latents (1 F C h w) of one window."""
        reference, guidance = conditions.reference, self._guidance(guidance_scale)
        seen = guidance.look(self.model, conditions, shape, portrait)
        self.scheduler.set_timesteps(steps, device=reference.device)
        sample = randn_tensor(shape, generator=generator, device=reference.device, dtype=reference.dtype)
        sample = sample * self.scheduler.init_noise_sigma
        for timestep in self.scheduler.timesteps:
            scaled = self.scheduler.scale_model_input(sample, timestep)
            prediction = guidance.predict(self.model, scaled, timestep, conditions, seen)
            sample = self.scheduler.step(prediction, timestep, sample, generator=generator).prev_sample
        return self.model.from_diffused(sample, reference)
