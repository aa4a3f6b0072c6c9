"""The one place where pictures become latents and latents pictures."""

import numpy as np
import torch
from torch import Tensor


def to_model(images: np.ndarray, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """(N H W 3) uint8 -> (N 3 H W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1


def to_images(x: Tensor) -> np.ndarray:
    """(N 3 H W) in [-1, 1] -> (N H W 3) uint8."""
    levels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def encode_images(vae, x: Tensor) -> Tensor:
    """(N 3 H W) in [-1, 1] -> scaled latents (N C h w); diffusers' autoencoders and ours."""
    return vae.encode(x).latent_dist.mode() * vae.config.scaling_factor


def decode_latents(vae, latents: Tensor) -> Tensor:
    """Scaled latents (N C h w) -> (N 3 H W), about [-1, 1]."""
    return vae.decode(latents / vae.config.scaling_factor).sample


def through_pixels(vae, latents: Tensor) -> Tensor:
    """Latents (B F C h w) -> those of the pictures that they show (B F C h w)."""
    pictures = decode_latents(vae, latents.flatten(0, 1)).clamp(-1, 1)
    return encode_images(vae, pictures).unflatten(0, latents.shape[:2])
