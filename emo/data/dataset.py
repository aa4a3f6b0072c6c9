"""Prepared clips as the diffusion model reads them: latents and audio features, encoded once and kept.

Shapes: T frames of a clip, B samples, F frames of a sample, M motion frames, m n margins of frames, C H W latents,
W D audio features.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo.data.clip import FPS, LIPS, Clip, load_clip, read_clip_frames
from emo.face.region import Region, box_of_landmarks, locator_mask
from emo.models.audio import AudioEncoder
from emo.models.latents import encode_images, to_model

CHUNK = 32  # frames encoded at once


@dataclass
class EncodedClip:
    latents: Tensor  # (T C H W) float16
    audio: Tensor  # (T W D) float16
    lips: Tensor  # (T 3) centre x, y and width, in the unit square
    face_region: Tensor  # (1 H W) union of the clip's face boxes
    head_speed: Tensor  # (T,) rad/s, NaN where unknown


@dataclass
class Batch:
    latents: Tensor  # (B F C H W)
    reference: Tensor  # (B C H W) any other frame of the clip
    motion: Tensor  # (B M C H W) the frames before; zeros before the clip's first
    audio: Tensor  # (B F+2m W D)
    lips: Tensor  # (B F 3)
    face_region: Tensor  # (B 1 H W)
    head_speed: Tensor  # (B F+2n)


def fingerprint(*models: torch.nn.Module) -> str:
    """Twelve letters that change with any weight."""
    digest = hashlib.sha256()
    for model in models:
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


@torch.no_grad()
def encode_clip(path: Path, clip: Clip, vae, audio_encoder: AudioEncoder, device: torch.device) -> dict[str, Tensor]:
    """Latents and audio features of a clip, float16 on the CPU."""
    frames = np.stack(list(read_clip_frames(path)))
    chunks = [to_model(frames[i : i + CHUNK], device) for i in range(0, len(frames), CHUNK)]
    latents = torch.cat([encode_images(vae, chunk).half().cpu() for chunk in chunks])
    wave = torch.from_numpy(clip.wave)[None].to(device)
    return {
        "latents": latents.contiguous(),
        "audio": audio_encoder(wave, 0, len(frames), FPS)[0].half().cpu().contiguous(),
    }


def encoded(path: Path, vae, audio_encoder: AudioEncoder, cache: Path, device: torch.device) -> EncodedClip:
    """The clip whose JSON is `path`, from the cache where it lies there, else into it."""
    clip, kept = load_clip(path), cache / f"{path.parent.name}_{path.stem}.safetensors"
    if not kept.exists():
        save_file(encode_clip(path, clip, vae, audio_encoder, device), f"{kept}.part")
        Path(f"{kept}.part").replace(kept)
    tensors = load_file(kept)
    lips = clip.landmarks[:, LIPS]
    width = lips[..., 0].max(1) - lips[..., 0].min(1)
    boxes = np.array([box_of_landmarks(points) for points in clip.landmarks])
    box = (*boxes[:, :2].min(0), *boxes[:, 2:].max(0))
    mask = locator_mask(box, Region((0.5, 0.5), 1.0), tensors["latents"].shape[-1])
    return EncodedClip(
        **tensors,
        lips=torch.from_numpy(np.concatenate([lips.mean(1), width[:, None]], 1)).float(),
        face_region=torch.from_numpy(mask)[None],
        head_speed=torch.from_numpy(clip.head_speed),
    )


def draw_sample(
    clip: EncodedClip,
    rng: np.random.Generator,
    num_frames: int,
    contiguous: bool,
    motion_frames: int,
    audio_margin: int,
    speed_margin: int,
) -> list[Tensor]:
    """The fields of a Batch, without B. Frames in a row, or any frames (then without motion frames and margins)."""
    total = len(clip.latents)
    if contiguous:
        first = int(rng.integers(total - num_frames + 1))
        rows = np.arange(first, first + num_frames)
    else:
        rows = rng.choice(total, num_frames, replace=False)
    motion = torch.zeros(motion_frames, *clip.latents.shape[1:])
    if contiguous and first >= motion_frames:
        motion = clip.latents[first - motion_frames : first].float()
    heard, inside = widened(rows, audio_margin, total)
    audio = clip.audio[heard].float() * inside[:, None, None]
    turned, inside = widened(rows, speed_margin, total)
    head_speed = torch.where(inside, clip.head_speed[turned], torch.nan)
    reference = clip.latents[int(rng.integers(total))].float()
    return [
        clip.latents[rows].float(),
        reference,
        motion,
        audio,
        clip.lips[rows],
        clip.face_region,
        head_speed,
    ]


def widened(rows: np.ndarray, margin: int, total: int) -> tuple[np.ndarray, Tensor]:
    """rows (F,) and `margin` more on each side, held within the clip, and which of them (F+2m,) lie in it."""
    before, after = rows[0] - np.arange(margin, 0, -1), rows[-1] + np.arange(1, margin + 1)
    wide = np.concatenate([before, rows, after])
    return wide.clip(0, total - 1), torch.from_numpy((wide >= 0) & (wide < total))


def draw_batch(
    clips: list[EncodedClip],
    chances: np.ndarray,
    rng: np.random.Generator,
    batch_size: int,
    **sample: int | bool,
) -> Batch:
    """batch_size samples of clips chosen with their chances; `sample`: the arguments of draw_sample."""
    chosen = rng.choice(len(clips), batch_size, p=chances)
    rows = [draw_sample(clips[i], rng, **sample) for i in chosen]
    return Batch(*(torch.stack(column) for column in zip(*rows, strict=True)))
