"""Contracts that let other networks plug in: what the pipeline needs of an autoencoder."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class VideoAutoencoder(Protocol):
    """Frames to latents and back, given the portrait.

    An image autoencoder ignores the portrait (see `ImageAutoencoder`). A motion autoencoder encodes how a frame differs
    from the portrait: its motion latents are zero for the portrait itself, and `decode` moves the portrait's own
    pixels.
    """

    def encode(self, frames: Tensor, reference: Tensor) -> Tensor:
        """Encode frames.

        Args:
            frames: (N 3 H W) in [-1, 1].
            reference: (1 3 H W) in [-1, 1], the portrait.

        Returns:
            Latents (N C h w), which the backbone diffuses.
        """
        ...

    def encode_reference(self, reference: Tensor) -> Tensor:
        """Encode the portrait's appearance, which the ReferenceNet reads.

        Args:
            reference: (1 3 H W) in [-1, 1], the portrait.

        Returns:
            Latents (1 C h w).
        """
        ...

    def decode(self, latents: Tensor, reference: Tensor) -> Tensor:
        """Decode latents.

        Args:
            latents: (N C h w).
            reference: (1 3 H W) in [-1, 1], the portrait.

        Returns:
            Frames (N 3 H W), about [-1, 1].
        """
        ...
