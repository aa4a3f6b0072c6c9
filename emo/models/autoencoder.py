"""A small image autoencoder, and the conversion between images and latents.

A small autoencoder: patches by their principal components, refined by a few convolutions.

Images (N 3 H W) in [-1, 1] <-> latents (N C H/16 W/16). It stands where full-size models have Stable
Diffusion's `AutoencoderKL` and is called in the same way.

The one place where pictures become latents and latents pictures.
"""

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn


class Exact:
    """A latent distribution of no width: every sample is its mode."""

    def __init__(self, mean: Tensor):
        self.mean = mean

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.mean


class ResBlock(nn.Module):
    """Two convolutions beside the identity; starts as the identity."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(dim, dim, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(x))))


def zero_conv(dim: int, out_dim: int) -> nn.Conv2d:
    """A 3x3 convolution that starts at zero."""
    conv = nn.Conv2d(dim, out_dim, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class Autoencoder(ModelMixin, ConfigMixin):
    """Linear patch coding plus a learned correction on both ways; 3 widths from coarse (H/16) to fine (H/4)."""

    PATCH = 16

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 64,
        widths: tuple[int, int, int] = (128, 96, 48),
        scaling_factor: float = 1.0,
    ):
        super().__init__()
        coarse, middle, fine = widths
        self.patches_in = nn.Conv2d(3 * self.PATCH**2, latent_channels, 1)
        self.patches_out = nn.Conv2d(latent_channels, 3 * self.PATCH**2, 1)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(8),
            nn.Conv2d(192, middle, 3, padding=1),
            ResBlock(middle),
            nn.Conv2d(middle, coarse, 3, padding=1, stride=2),
            ResBlock(coarse),
            zero_conv(coarse, latent_channels),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            ResBlock(coarse),
            nn.Conv2d(coarse, 4 * middle, 1),
            nn.PixelShuffle(2),
            ResBlock(middle),
            ResBlock(middle),
            nn.Conv2d(middle, 4 * fine, 1),
            nn.PixelShuffle(2),
            ResBlock(fine),
            ResBlock(fine),
            zero_conv(fine, 48),
            nn.PixelShuffle(4),
        )

    @property
    def spatial_compression(self) -> int:
        """Pixels of the image per latent pixel, along one side."""
        return self.PATCH

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """(N 3 H W), H and W multiples of 16 -> latents (N C H/16 W/16) before scaling."""
        patches = nn.functional.pixel_unshuffle(x, self.PATCH)
        return AutoencoderKLOutput(latent_dist=Exact(self.patches_in(patches) + self.encoder(x)))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Latents (N C h w) before scaling -> (N 3 16h 16w)."""
        patches = nn.functional.pixel_shuffle(self.patches_out(z), self.PATCH)
        return DecoderOutput(sample=patches + self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).latent_dist.mode()).sample

    @torch.no_grad()
    def fit_patches(self, images: Tensor) -> None:
        """Starts the linear coding at the principal components of the images' patches (N 3 H W).

        A component of standard deviation d is scaled by d ** -0.5: halfway to white, so that detail counts
        more than in a pixel's error and less than as much as brightness.
        """
        patches = nn.functional.pixel_unshuffle(images, self.PATCH).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = patches.mean(0)
        variance, basis = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        top = torch.arange(len(variance) - 1, len(variance) - 1 - self.config.latent_channels, -1)
        deviation, basis = variance[top].sqrt(), basis[:, top]
        into, back = basis * deviation**-0.5, basis * deviation**0.5
        self.patches_in.weight.copy_(into.T[:, :, None, None])
        self.patches_in.bias.copy_(-mean @ into)
        self.patches_out.weight.copy_(back[:, :, None, None])
        self.patches_out.bias.copy_(mean)
        self.register_to_config(scaling_factor=float(1 / deviation.mean().sqrt()))


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
