"""A portrait made ready to be animated: its square, its latents, and the way back from latents to whole pictures."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from emo.face.crop import crop_region
from emo.face.paste import ColorLimiter, Paster
from emo.media.image import images_to_tensor, tensor_to_images
from emo.models.autoencoder import as_video_autoencoder, get_paste_edge

if TYPE_CHECKING:
    from emo.face.selection import SelectedFace


class AnimatedPortrait:
    """A portrait and its autoencoder.

    Attributes:
        square: (1 3 s s) in [-1, 1], the animated square.
        reference: (1 C h w) latents of the portrait, which the ReferenceNet reads.
        frame_shape: (C h w) of a frame's latents.
        image: (H W 3) uint8, the frame of the portrait at rest.
    """

    def __init__(
        self,
        vae: Any,
        pixels: np.ndarray,
        face: "SelectedFace",
        size: int,
        device: torch.device,
        crop_only: bool = False,
        color_limit_radius: float = 0.0,
    ):
        """
        Args:
            vae: The autoencoder.
            pixels: (H W 3) uint8, the picture.
            face: The face to animate.
            size: Pixels s along a side of the square.
            device: Device of the autoencoder.
            crop_only: Whether frames are the square alone.
            color_limit_radius: See `EMOPipeline`.
        """
        self._codec, self._dtype = as_video_autoencoder(vae), vae.dtype
        self.square = images_to_tensor(crop_region(pixels, face.region, size)[None], device, vae.dtype)
        self.reference = self._codec.encode_reference(self.square)
        rest = self._codec.encode(self.square, self.square)
        self.frame_shape = rest.shape[1:]
        decoded = tensor_to_images(self._codec.decode(rest, self.square))[0]
        edge = get_paste_edge(self._codec)
        self._paster = None if crop_only else Paster(pixels, face.region, decoded, edge)
        self._limiter = ColorLimiter(decoded, color_limit_radius) if color_limit_radius else None
        self.image = decoded if crop_only else pixels

    def render(self, latents: Tensor) -> Iterator[np.ndarray]:
        """Decode latents (N C h w) and yield the frames (H W 3) uint8."""
        for frame in tensor_to_images(self._codec.decode(latents.to(self._dtype), self.square)):
            frame = frame if self._limiter is None else self._limiter.limit(frame)
            yield frame if self._paster is None else self._paster.paste(frame)
