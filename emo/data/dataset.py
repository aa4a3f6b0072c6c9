"""Prepared clips as the diffusion model reads them: latents and audio features, encoded once and kept.

Shapes: T frames of a clip, V variants of its sound, B samples, F frames of a sample, M motion frames, m n margins of
frames, C H W latents, W D audio features.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo.core.timing import FPS
from emo.data.augmentation import vary
from emo.data.clip import Clip, load_clip, read_clip_frames
from emo.data.sampling import Window, marks, pick, region_mask, speeds, widened
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import encode_images, to_model

CHUNK = 32  # frames encoded at once


@dataclass
class EncodedClip:
    latents: Tensor  # (T C H W) float16
    audio: Tensor  # (V T W D) float16: of the clip's own sound, and of changed ones
    lips: Tensor  # (T 3) centre x, y and width, in the unit square
    opening: Tensor  # (T,) of the mouth, over the face's height
    face_region: Tensor  # (1 H W) union of the clip's face boxes
    head_speed: Tensor  # (T,) rad/s, NaN where unknown
    name: str = ""  # of its JSON file


@dataclass
class Batch:
    latents: Tensor  # (B F C H W)
    reference: Tensor  # (B C H W) another frame of the clip
    motion: Tensor  # (B M C H W) the frames before; zeros before the clip's first
    audio: Tensor  # (B F+2m W D)
    lips: Tensor  # (B F 3)
    face_region: Tensor  # (B 1 H W)
    head_speed: Tensor  # (B F+2n)
    names: list[str] = field(default_factory=list)  # (B,) of the clips

    def to(self, device: torch.device) -> "Batch":
        tensors = {name: value.to(device) for name, value in vars(self).items() if name != "names"}
        return Batch(**tensors, names=self.names)


def fingerprint(*models: torch.nn.Module) -> str:
    """Twelve letters that change with any weight."""
    digest = hashlib.sha256()
    for model in models:
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def encode_frames(vae: torch.nn.Module, frames: np.ndarray, device: torch.device) -> Tensor:
    """(N H W 3) uint8 -> (N C h w), a few at a time."""
    chunks = [to_model(frames[i : i + CHUNK], device) for i in range(0, len(frames), CHUNK)]
    return torch.cat([encode_images(vae, chunk) for chunk in chunks])


@dataclass
class Cache:
    """Encodes clips once by the frozen parts and keeps the results in files, each part's under its fingerprint."""

    folder: Path
    vae: torch.nn.Module
    audio_encoder: AudioEncoder
    variants: int  # of a clip's sound; the first is its own
    device: torch.device

    def __post_init__(self):
        self.latents = self.folder / f"latents_{fingerprint(self.vae)}"
        self.audio = self.folder / f"audio_{fingerprint(self.audio_encoder)}_{self.variants}"
        for folder in (self.latents, self.audio):
            folder.mkdir(parents=True, exist_ok=True)

    @torch.no_grad()
    def encode_latents(self, path: Path) -> Tensor:
        """(T C H W) float16."""
        return encode_frames(self.vae, np.stack(list(read_clip_frames(path))), self.device).half().cpu()

    @torch.no_grad()
    def encode_audio(self, clip: Clip) -> Tensor:
        """(V T W D) float16."""
        rng = np.random.default_rng(list(clip.info.name.encode()))
        sounds = [(clip.voice, 1.0)] + [vary(clip.voice, rng) for _ in range(self.variants - 1)]
        waves = [(torch.from_numpy(wave)[None].to(self.device), FPS * speed) for wave, speed in sounds]
        heard = [self.audio_encoder(wave, 0, clip.info.num_frames, fps)[0] for wave, fps in waves]
        return torch.stack(heard).half().cpu()


def kept(file: Path, encode: Callable[[], Tensor]) -> Tensor:
    """What lies in the file; else what `encode` makes, then kept in it."""
    if not file.exists():
        part = Path(f"{file}.{os.getpid()}.part")  # processes may encode the same clip
        save_file({"value": encode().contiguous()}, part)
        part.replace(file)
    return load_file(file)["value"]


def kept_name(path: Path, suffix: str) -> str:
    """What is kept of a clip's file: a clip that was made anew has another name."""
    content = zlib.crc32(path.with_suffix(suffix).read_bytes())
    return f"{path.parent.name}_{path.stem}_{content:08x}.safetensors"


def encoded(path: Path, cache: Cache) -> EncodedClip:
    """The clip whose JSON is `path`."""
    clip = load_clip(path)
    known = marks(clip)
    latents = kept(cache.latents / kept_name(path, ".mp4"), lambda: cache.encode_latents(path))
    audio = kept(cache.audio / kept_name(path, ".safetensors"), lambda: cache.encode_audio(clip))
    region = region_mask(known.face_box, latents.shape[-1])
    return EncodedClip(latents, audio, known.lips, known.opening, region, known.head_speed, str(path))


def draw_sample(clip: EncodedClip, rng: np.random.Generator, window: Window) -> list[Tensor]:
    """The tensors of a Batch, without B."""
    picked = pick(clip.opening, window, len(clip.audio), rng)
    motion = torch.zeros(window.motion_frames, *clip.latents.shape[1:])
    if len(picked.motion):
        motion = clip.latents[picked.motion].float()
    heard, inside = widened(picked.rows, window.audio_margin, len(clip.latents))
    return [
        clip.latents[picked.rows].float(),
        clip.latents[picked.reference].float(),
        motion,
        clip.audio[picked.variant][heard].float() * inside[:, None, None],
        clip.lips[picked.rows],
        clip.face_region,
        speeds(clip.head_speed, picked.rows, window.speed_margin),
    ]


def draw_batch(
    clips: list[EncodedClip], chances: np.ndarray, seed: int, numbers: Iterable[int], window: Window
) -> Batch:
    """Samples of clips chosen with their chances; what a sample is comes from seed and number alone."""
    samples, names = [], []
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        clip = clips[rng.choice(len(clips), p=chances)]
        samples.append(draw_sample(clip, rng, window))
        names.append(clip.name)
    return stacked(samples, names)


def stacked(samples: list[list[Tensor]], names: list[str]) -> Batch:
    """samples: the tensors of each, in a Batch's order; names: their clips'."""
    return Batch(*(torch.stack(column) for column in zip(*samples, strict=True)), names=names)
