"""Contracts that let other networks plug in: what the pipeline needs of an autoencoder."""

from dataclasses import dataclass
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


@dataclass
class MotionLayers:
    """Frames before their pixels are made; positions and extents are in sides of the square, see `emo.face.move`.

    Attributes:
        flow: (N 2 M M), the frame's cell at p shows the portrait at p + flow.
        patches: For each painted window its extent (height, width), colors in [-1, 1] times share and the share (N 4 h
            w), and centers (N 2).
    """

    flow: Tensor
    patches: list[tuple[tuple[float, float], Tensor, Tensor]]


@runtime_checkable
class LayerDecoder(Protocol):
    """A motion autoencoder whose frames can be made of the picture's own pixels, at the picture's resolution."""

    @property
    def paint_size(self) -> int:
        """Pixels along a side of the square that its painters see."""
        ...

    def decode_layers(self, latents: Tensor, reference: Tensor) -> MotionLayers:
        """Decode latents into layers.

        Args:
            latents: (N C h w).
            reference: (1 3 R R) in [-1, 1], the portrait, of at least paint_size.

        Returns:
            The motion, and what is painted, in this order.
        """
        ...
