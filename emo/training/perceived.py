"""How much of an error in each latent channel the eye sees."""

import cv2
import torch
from torch import Tensor, nn

from emo.models.latents import decode_latents

STEP = 0.5  # of a channel's own deviation


def cielab(x: Tensor) -> Tensor:
    """(N 3 H W) in [-1, 1] -> (N H W 3): L from 0 to 100, a and b; colours 1 apart are just told apart."""
    rgb = ((x.float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(cv2.cvtColor(rgb.reshape(1, -1, 3), cv2.COLOR_RGB2LAB).reshape(rgb.shape))


@torch.no_grad()
def perceived_weights(vae: nn.Module, latents: Tensor) -> Tensor:
    """Scaled latents (N C h w) of pictures -> (C,): the squared CIELAB distance that an error of 1 in a channel makes
    in the decoded pictures, over that of the mean channel."""
    sign = torch.randint(0, 2, latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents) * 2 - 1
    before, seen = cielab(decode_latents(vae, latents)), []
    for channel, step in enumerate(STEP * latents.std((0, 2, 3))):
        changed = latents.clone()
        changed[:, channel] += step * sign
        seen.append((cielab(decode_latents(vae, changed)) - before).square().mean() / step.cpu() ** 2)
    return torch.stack(seen) / torch.stack(seen).mean()
