"""A small image autoencoder, and one way to use every autoencoder.

`Autoencoder` codes patches by their principal components and refines them with a few convolutions. It takes the place
of Stable Diffusion's `AutoencoderKL` in small models and is called in the same way. `ImageAutoencoder` puts either
behind the contract `VideoAutoencoder`.

Shapes: images (N 3 H W) in [-1, 1], latents (N C h w).
"""

from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from emo.face.paste import BORDER, EDGE
from emo.models.contracts import VideoAutoencoder


class DeterministicDistribution:
    """A latent distribution without variance: every sample is its mode."""

    def __init__(self, mean: Tensor):
        self.mean = mean

    def mode(self) -> Tensor:
        """Return the latents (N C h w)."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return the latents (N C h w), which have no variance."""
        return self.mean


class ResBlock(nn.Module):
    """A residual block of two convolutions that starts as the identity."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(dim, dim, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a feature map (N C H W)."""
        return x + self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(x))))


def zero_conv(dim: int, out_dim: int) -> nn.Conv2d:
    """Make a 3x3 convolution whose weights are zero.

    Args:
        dim: Number of channels that enter.
        out_dim: Number of channels that leave.

    Returns:
        The convolution.
    """
    conv = nn.Conv2d(dim, out_dim, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class Autoencoder(ModelMixin, ConfigMixin):
    """Linear coding of 16x16 patches, plus a learned correction in both directions."""

    config: Any
    PATCH = 16

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 64,
        widths: tuple[int, int, int] = (128, 96, 48),
        scaling_factor: float = 1.0,
    ):
        """
        Args:
            latent_channels: Channels of the latents.
            widths: Channels of the convolutions at H/16, H/8 and H/4.
            scaling_factor: What latents are multiplied by before they are diffused.
        """
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
        """Pixels along one side of the image for one of the latents."""
        return self.PATCH

    @apply_forward_hook
    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Encode images.

        Args:
            x: (N 3 H W) in [-1, 1]; H and W are multiples of 16.

        Returns:
            The distribution of the latents (N C H/16 W/16), before scaling.
        """
        patches = nn.functional.pixel_unshuffle(x, self.PATCH)
        return AutoencoderKLOutput(latent_dist=DeterministicDistribution(self.patches_in(patches) + self.encoder(x)))

    @apply_forward_hook
    def decode(self, z: Tensor) -> DecoderOutput:
        """Decode latents.

        Args:
            z: (N C h w), before scaling.

        Returns:
            Images (N 3 16h 16w), about [-1, 1].
        """
        patches = nn.functional.pixel_shuffle(self.patches_out(z), self.PATCH)
        return DecoderOutput(sample=patches + self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        """Encodes and decodes images (N 3 H W)."""
        return self.decode(self.encode(x).latent_dist.mode()).sample

    @torch.no_grad()
    def fit_patches(self, images: Tensor) -> None:
        """Set the linear coding to the principal components of the images' patches.

        A component of standard deviation d is scaled by d ** -0.5, halfway to whitening: detail counts more than in a
        pixel's error, and less than brightness.

        Args:
            images: (N 3 H W) in [-1, 1].
        """
        patches = nn.functional.pixel_unshuffle(images, self.PATCH).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = patches.mean(0)
        variance, basis = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        top = torch.arange(len(variance) - 1, len(variance) - 1 - self.config.latent_channels, -1)
        deviation, basis = variance[top].sqrt(), basis[:, top]
        into, back = basis * deviation**-0.5, basis * deviation**0.5
        assert self.patches_in.bias is not None and self.patches_out.bias is not None  # nn.Conv2d's default
        self.patches_in.weight.copy_(into.T[:, :, None, None])
        self.patches_in.bias.copy_(-mean @ into)
        self.patches_out.weight.copy_(back[:, :, None, None])
        self.patches_out.bias.copy_(mean)
        self.register_to_config(scaling_factor=float(1 / deviation.mean().sqrt()))


def encode_images(vae: Autoencoder | AutoencoderKL, x: Tensor) -> Tensor:
    """Encode images with an `Autoencoder` or diffusers' `AutoencoderKL`.

    Args:
        vae: The autoencoder.
        x: (N 3 H W) in [-1, 1].

    Returns:
        Scaled latents (N C h w).
    """
    return vae.encode(x).latent_dist.mode() * vae.config.scaling_factor


def decode_latents(vae: Autoencoder | AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode latents with an `Autoencoder` or diffusers' `AutoencoderKL`.

    Args:
        vae: The autoencoder.
        latents: Scaled (N C h w).

    Returns:
        Images (N 3 H W), about [-1, 1].
    """
    return vae.decode(latents / vae.config.scaling_factor).sample


class ImageAutoencoder(VideoAutoencoder):
    """An image autoencoder behind the contract `VideoAutoencoder`: the portrait makes no difference."""

    def __init__(self, vae: Autoencoder | AutoencoderKL):
        """
        Args:
            vae: An `Autoencoder` or diffusers' `AutoencoderKL`.
        """
        self.vae = vae
        self._encoded: tuple[Tensor, Tensor] | None = None  # the last portrait and its latents

    def encode(self, frames: Tensor, reference: Tensor) -> Tensor:
        """Encode frames; the portrait does not matter.

        Args:
            frames: (N 3 H W) in [-1, 1].
            reference: The portrait; if it is the same object as `frames`, `encode_reference` encodes it.

        Returns:
            (N C h w) latents.
        """
        return self.encode_reference(reference) if frames is reference else encode_images(self.vae, frames)

    def encode_reference(self, reference: Tensor) -> Tensor:
        """Latents (1 C h w) of the portrait (1 3 H W), encoded once."""
        if self._encoded is None or self._encoded[0] is not reference:
            self._encoded = reference, encode_images(self.vae, reference)
        return self._encoded[1]

    def decode(self, latents: Tensor, reference: Tensor) -> Tensor:
        """Decode latents; the portrait does not matter.

        Args:
            latents: (N C h w) latents.
            reference: Not used.

        Returns:
            (N 3 H W) frames in [-1, 1].
        """
        return decode_latents(self.vae, latents)


def get_paste_edge(autoencoder: VideoAutoencoder) -> tuple[float, float]:
    """Where the edge of a decoded square fades into the picture, see `emo.face.paste.Paster`: what the autoencoder
    names, for one whose frames equal the portrait at the square's border, else the default."""
    return getattr(autoencoder, "paste_edge", (BORDER, EDGE))


def as_video_autoencoder(vae: nn.Module) -> VideoAutoencoder:
    """Return the autoencoder if it is a `VideoAutoencoder`, else an `ImageAutoencoder` with it."""
    return vae if isinstance(vae, VideoAutoencoder) else ImageAutoencoder(vae)
