"""A portrait made ready to be animated: its square, its latents, and the way back from latents to whole pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from emo.face.crop import crop_region, full_region
from emo.face.move import Patch, PictureMover
from emo.face.paste import ColorLimiter, Paster
from emo.media.image import images_to_tensor, tensor_to_images
from emo.models.autoencoder import as_video_autoencoder, get_paste_edge
from emo.models.contracts import LayerDecoder, MotionLayers
from emo.models.warping import resize

if TYPE_CHECKING:
    from emo.face.selection import SelectedFace


class AnimatedPortrait:
    """A portrait and its autoencoder.

    With motion latents the picture's own pixels move, at its own resolution. Other frames are pasted into the picture.

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
            color_limit_radius: See `EMOPipeline`; it needs frames that are decoded as squares.
        """
        self._codec, self._dtype = as_video_autoencoder(vae), vae.dtype
        crop = crop_region(pixels, face.region, size)
        self.square = images_to_tensor(crop[None], device, vae.dtype)
        self.reference = self._codec.encode_reference(self.square)
        rest = self._codec.encode(self.square, self.square)
        self.frame_shape = rest.shape[1:]
        self._mover: _PortraitMover | None = None
        self._paster = self._limiter = None
        if isinstance(self._codec, LayerDecoder) and not color_limit_radius:
            self.image = crop if crop_only else pixels
            mover = PictureMover(self.image, full_region(size, size) if crop_only else face.region)
            self._mover = _PortraitMover(self._codec, mover, resize(self.square, self._codec.paint_size))
            return
        decoded = tensor_to_images(self._codec.decode(rest, self.square))[0]
        self.image = decoded if crop_only else pixels
        if not crop_only:
            self._paster = Paster(pixels, face.region, decoded, get_paste_edge(self._codec))
        if color_limit_radius:
            self._limiter = ColorLimiter(decoded, color_limit_radius)

    @torch.no_grad()
    def render(self, latents: Tensor) -> Iterator[np.ndarray]:
        """Decode latents (N C h w) and yield the frames (H W 3) uint8."""
        latents = latents.to(self._dtype)
        if self._mover is not None:
            yield from self._mover.render(latents)
            return
        for frame in tensor_to_images(self._codec.decode(latents, self.square)):
            frame = frame if self._limiter is None else self._limiter.limit(frame)
            yield frame if self._paster is None else self._paster.paste(frame)


@dataclass(frozen=True)
class _PortraitMover:
    """Makes frames of the picture's own pixels."""

    codec: LayerDecoder
    mover: PictureMover
    reference: Tensor  # (1 3 S S) in [-1, 1], what painters see of the square

    def render(self, latents: Tensor) -> Iterator[np.ndarray]:
        """Decode latents (N C h w) and yield the frames (H W 3) uint8."""
        layers = self.codec.decode_layers(latents, self.reference)
        patches = list_patches(layers)
        for number, flow in enumerate(layers.flow.cpu().numpy()):
            yield self.mover.move(flow, patches[number])


def list_patches(layers: MotionLayers) -> list[list[Patch]]:
    """List the painted patches of each of N frames, in gray levels."""
    frames: list[list[Patch]] = [[] for _ in layers.flow]
    for extent, values, centers in layers.patches:
        share = values[:, 3:]
        levels = torch.cat([(values[:, :3] + share) * 127.5, share], dim=1).permute(0, 2, 3, 1).contiguous()
        for patches, image, (x, y) in zip(frames, levels.cpu().numpy(), centers.tolist(), strict=True):
            patches.append(Patch(image, (x, y), extent))
    return frames
