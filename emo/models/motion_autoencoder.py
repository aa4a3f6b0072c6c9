"""Motion latents: how a frame differs from its portrait, as a motion field and as what the portrait does not show.

`MotionAutoencoder.encode` gives latents that are exactly zero where a frame is the portrait itself. `decode` turns them
*linearly* into a backward motion field, warps the portrait with it at the portrait's own resolution, and paints only
what the portrait does not have: in windows around the mouth (teeth, tongue) and the eyes (closed lids, irises), and
coarsely on the whole square (what a turned head uncovers). Because the field is linear in the latents, a mean of two
latents is a smaller motion and a guided one a larger motion: both stay sharp. Latents of zero give back the portrait,
since the painted share is multiplied by a gate that is zero there.

The parts follow FOMM (Siarohin et al. 2019, arXiv 2003.00196: backward warping and occlusion), LIA (Wang et al. 2022,
arXiv 2203.09043: linear motion codes) and VASA-1 (Xu et al. 2024, arXiv 2404.10667: motion latents are diffused).

Shapes: N frames, C latent channels, S = config.size pixels, R pixels along a side of the portrait, M = config.flow_size
cells of the motion field. Positions and displacements are in sides of the square, x before y.
"""

import math
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn import functional

from emo.face.crop import RIGID_TEMPLATE
from emo.models.autoencoder import ResBlock
from emo.models.contracts import MotionLayers, VideoAutoencoder
from emo.models.motion_components import MotionComponents, solve_motion
from emo.models.painting import Paint, Painter, PaintWindow, paint_window
from emo.models.part_motions import MOUTH_CENTER, NUM_LIP_MOTIONS, measure_part_motions
from emo.models.warping import (
    blend_window,
    border_fade,
    follow,
    resize,
    smooth,
    stretch,
    warp,
)

PATCH = 16  # pixels of S for one latent, along a side
REFERENCE_PATCH = 8  # pixels of the portrait that become one pixel of its appearance latents, along a side
BORDER_FADE = 0.12  # sides from the square's border in which the motion fades to zero
FLOW_SCALE = 10.0  # displacements are multiplied by it where the painter reads them
GATE_LATENT = 0.05  # RMS of unscaled latents at which the gate of the paint is 1 - 1/e
EYE_CENTER = tuple(RIGID_TEMPLATE[:4].mean(0).tolist())  # middle of the eyes in an aligned square
# Weight of the motion at the eyes and at the mouth beside 1 elsewhere, and the areas' deviations in x and y, sides
EYES_WEIGHT, EYE_SIZE = 15.0, (0.08, 0.05)
MOUTH_WEIGHT, MOUTH_SIZE = 4.0, (0.12, 0.1)
LATENTS_PER_CHUNK = 256


def weigh_cells(cells: int) -> Tensor:
    """Weigh the cells of a motion field, so that lids and lips count beside the head.

    Args:
        cells: M.

    Returns:
        (M M), 1 where neither eyes nor mouth of an aligned square are.
    """
    position = (torch.arange(cells) + 0.5) / cells

    def area(center: tuple[float, float], size: tuple[float, float]) -> Tensor:
        columns, rows = (-0.5 * ((position - at) / width) ** 2 for at, width in zip(center, size, strict=True))
        return (rows[:, None] + columns).exp()

    left, right = (tuple(RIGID_TEMPLATE[pair].mean(0).tolist()) for pair in ([0, 1], [2, 3]))
    eyes = (area(left, EYE_SIZE) + area(right, EYE_SIZE)).clamp(max=1)
    return 1 + (EYES_WEIGHT - 1) * eyes + (MOUTH_WEIGHT - 1) * area(MOUTH_CENTER, MOUTH_SIZE)


@dataclass
class DecodedMotion:
    """Frames with all that the losses of training read."""

    frames: Tensor  # (N 3 R R) in [-1, 1]
    flow: Tensor  # (N 2 M M), the frame's cell at p shows the portrait at p + flow
    warped: Tensor  # (N 3 R R) the portrait, moved and not painted
    painted: Tensor  # (N 1 R R) share of each pixel that is painted


class MotionEncoder(nn.Module):
    """Frame and portrait -> latents before the portrait's own are subtracted."""

    def __init__(self, latent_channels: int, widths: tuple[int, int, int], num_blocks: int):
        super().__init__()
        fine, middle, coarse = widths
        self.net = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(6 * 16, fine, 1),
            ResBlock(fine),
            nn.Conv2d(fine, middle, 4, stride=2, padding=1),
            nn.Sequential(*(ResBlock(middle) for _ in range(max(1, num_blocks - 1)))),
            nn.Conv2d(middle, coarse, 4, stride=2, padding=1),
            nn.Sequential(*(ResBlock(coarse) for _ in range(num_blocks))),
            nn.SiLU(),
            nn.Conv2d(coarse, latent_channels, 3, padding=1),
        )

    def forward(self, frames: Tensor, portraits: Tensor) -> Tensor:
        """Encode frames and portraits.

        Args:
            frames: (N 3 S S) in [-1, 1].
            portraits: (N 3 S S) in [-1, 1].

        Returns:
            (N C S/16 S/16).
        """
        pair = torch.cat([frames, portraits], dim=1)
        return self.net(pair.contiguous(memory_format=torch.channels_last))


class MotionAutoencoder(ModelMixin, ConfigMixin, VideoAutoencoder):
    """Motion latents of frames given their portrait, and the way back at any resolution."""

    paste_edge = (0.0, 0.02)  # frames equal the portrait at the square's border, see `emo.face.paste.Paster`

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 12,
        size: int = 256,
        flow_size: int = 64,
        encoder_widths: tuple[int, int, int] = (32, 64, 128),
        encoder_blocks: int = 3,
        mouth_widths: tuple[int, int, int] = (24, 48, 96),
        eye_widths: tuple[int, int, int] = (16, 32, 64),
        square_widths: tuple[int, int, int] = (16, 32, 64),
        painter_blocks: int = 3,
        mouth_window: tuple[int, int] = (96, 112),
        eye_window: tuple[int, int] = (48, 144),
        square_pixels: int = 64,
        num_components: int = 0,
    ):
        """
        Args:
            latent_channels: C.
            size: S, the pixels at which frames are encoded and windows are painted; a multiple of 16.
            flow_size: M, cells of the motion field along a side; a multiple of S / 16.
            encoder_widths: channels of the encoder at S/4, S/8 and S/16.
            encoder_blocks: residual blocks of the encoder's coarsest level.
            mouth_widths: channels of the mouth's painter at 1/2, 1/4 and 1/8 of the window's pixels.
            eye_widths: the same of the eyes' painter.
            square_widths: the same of the painter of the whole square.
            painter_blocks: residual blocks of a painter's coarsest level.
            mouth_window: height and width of the painted window around the mouth, pixels of S; multiples of 8.
            eye_window: the same around both eyes.
            square_pixels: side of the painted whole square, before it is enlarged; a multiple of 8.
            num_components: K, of `emo.models.motion_components`, that latents are limited to; 0 until `fit_components`.

        Raises:
            ValueError: for a size that is no such multiple.
        """
        super().__init__()
        if size % PATCH or flow_size % (size // PATCH):
            raise ValueError(f"size={size} flow_size={flow_size}: give multiples of {PATCH} and of size / {PATCH}")
        if any(side % 8 for side in (*mouth_window, *eye_window, square_pixels)):
            raise ValueError("mouth_window, eye_window, square_pixels: give multiples of 8")
        cells = flow_size // (size // PATCH)
        self.encoder = MotionEncoder(latent_channels, tuple(encoder_widths), encoder_blocks)
        self.motion_head = nn.Conv2d(latent_channels, 2 * cells**2, 3, padding=1, bias=False)
        nn.init.normal_(self.motion_head.weight, std=0.002)  # latents of 1 then move by about a fiftieth of the side
        shape = num_components, latent_channels * (size // PATCH) ** 2
        self.components = MotionComponents(*shape) if num_components else None
        widths = square_widths, eye_widths, mouth_widths
        self.painters = nn.ModuleList(Painter(latent_channels, tuple(w), painter_blocks) for w in widths)

    @property
    def spatial_compression(self) -> int:
        """Pixels of S for one latent, along a side."""
        return PATCH

    @property
    def paint_size(self) -> int:
        """S, the pixels along a side of the square that painters see."""
        return self.config.size

    @property
    def reference_channels(self) -> int:
        """Channels of the portrait's appearance latents."""
        return 3 * REFERENCE_PATCH**2

    @property
    def windows(self) -> list[PaintWindow]:
        """Where the painters paint: the whole square, the eyes, the mouth."""
        size, coarse = self.config.size, self.config.square_pixels
        windows = [PaintWindow((1.0, 1.0), (coarse, coarse), coarse)]
        for height, width in (self.config.eye_window, self.config.mouth_window):
            windows.append(PaintWindow((height / size, width / size), (height, width), size))
        return windows

    def latent_shape(self, size: int) -> tuple[int, int, int]:
        """(C h w) of a frame's latents; the same for frames of every size."""
        side = self.config.size // PATCH
        return self.config.latent_channels, side, side

    @apply_forward_hook
    def encode(self, frames: Tensor, reference: Tensor) -> Tensor:
        """Encodes how frames differ from their portraits.

        Args:
            frames: (N 3 R R) in [-1, 1].
            reference: (N 3 R R) in [-1, 1], the portraits, or (1 3 R R) for all.

        Returns:
            Latents (N C S/16 S/16), scaled by their components; zeros for a frame that is its portrait.
        """
        size = self.config.size
        if frames is reference:
            return frames.new_zeros(len(frames), *self.latent_shape(size))
        frames, portraits = resize(frames, size), resize(reference, size)
        images = torch.cat([frames, portraits])  # the portraits as frames: their latents are subtracted
        moved, still = self.encoder(images, torch.cat([portraits.expand_as(frames), portraits])).split(
            [len(frames), len(portraits)]
        )
        return self.components.scale(moved - still) if self.components else moved - still

    @torch.no_grad()
    def fit_latents(self, flow: Tensor) -> Tensor:
        """Find the latents of known motion: what `encode` should give.

        Args:
            flow: (N 2 M' M') backward motion fields, in sides, of any number of cells.

        Returns:
            Latents (N C h w), scaled by their components, whose motion field is the nearest to the given one.
        """
        cells = self.config.flow_size
        known = functional.interpolate(flow.float(), (cells, cells), mode="area")
        target = (known * border_fade(cells, BORDER_FADE, flow.device)).flatten(1)
        size = self.latent_shape(self.config.size)
        if self.components is None:
            return solve_motion(self.compute_motion_matrix(), target).view(-1, *size)
        fields = self._predict_unscaled(self.components.writing.view(-1, *size)).flatten(1)  # of each component
        weights = weigh_cells(self.config.flow_size).to(flow.device).square().flatten().repeat(2)
        return self.components.place((target * weights) @ fields.T).view(-1, *size)

    @torch.no_grad()
    def fit_components(self, latents: Tensor, count: int) -> None:
        """Fit the components that latents are limited to and scaled by, in place of those before.

        Args:
            latents: (N C h w) of `encode` or `fit_latents`, of frames of footage.
            count: Largest number of components.
        """
        unscaled, motion = self.unscale(latents), self.compute_motion_matrix()
        weights = weigh_cells(self.config.flow_size).to(latents.device)
        self.components = MotionComponents.fit(unscaled, motion, weights, count)
        motions = self._measure_part_motions()
        for kept, projection in (
            (motions, self.components.parts),
            (motions[:, NUM_LIP_MOTIONS:], self.components.eyes),
        ):
            own = torch.linalg.qr(kept)[0]
            projection.copy_(own @ own.T)
        self.register_to_config(num_components=len(self.components.gains))

    @torch.no_grad()
    def project_parts(self) -> Tensor:
        """A projection (D n) of scaled latents to the own motion of parts, see `emo.models.part_motions`."""
        assert self.components is not None
        return self.components.basis.T @ self._measure_part_motions()

    def _measure_part_motions(self) -> Tensor:
        assert self.components is not None
        unit = self.components.basis.view(-1, *self.latent_shape(self.config.size))
        return measure_part_motions(self.predict_motion(unit), self.components.deviations)

    def compute_motion_matrix(self) -> Tensor:
        """The motion fields (D 2*M*M) that each of the D unscaled latents causes alone."""
        size, device = self.latent_shape(self.config.size), self.motion_head.weight.device
        ones = torch.eye(math.prod(size), device=device).split(LATENTS_PER_CHUNK)
        return torch.cat([self._predict_unscaled(rows.view(-1, *size)).flatten(1) for rows in ones])

    def unscale(self, latents: Tensor) -> Tensor:
        """Undo the scaling of the components of latents (N C h w)."""
        return self.components.unscale(latents) if self.components else latents

    @apply_forward_hook
    def encode_reference(self, reference: Tensor) -> Tensor:
        """Encodes the portrait's appearance for the ReferenceNet: its pixels at S/2, in patches of 8 x 8.

        Nothing is learned and nothing lost at that size, so the autoencoder has no second network to train, to ship and
        to run, and the ReferenceNet's first convolution learns its own coding.

        Args:
            reference: (N 3 R R) in [-1, 1].

        Returns:
            (N 192 S/16 S/16).
        """
        side = self.config.size * REFERENCE_PATCH // PATCH
        return functional.pixel_unshuffle(resize(reference, side), REFERENCE_PATCH)

    def predict_motion(self, latents: Tensor) -> Tensor:
        """The backward motion field (N 2 M M) float32 of latents (N C h w), linear in them; zero at the border."""
        return self._predict_unscaled(self.unscale(latents))

    def _predict_unscaled(self, latents: Tensor) -> Tensor:
        cells = self.motion_head(latents.to(self.motion_head.weight.dtype))
        flow = smooth(functional.pixel_shuffle(cells, self.config.flow_size // cells.shape[-1]).float())
        return flow * border_fade(self.config.flow_size, BORDER_FADE, flow.device)

    @apply_forward_hook
    def decode(self, latents: Tensor, reference: Tensor, centers: Tensor | None = None) -> Tensor:
        """Decodes frames at the portrait's own resolution.

        Args:
            latents: scaled, (N C h w).
            reference: (N 3 R R) in [-1, 1], any R, or (1 3 R R) for all.
            centers: (N 2 2) or (1 2 2), the middle of the eyes and of the mouth in the portrait; None: where an aligned
                square has them.

        Returns:
            (N 3 R R) in [-1, 1].
        """
        flow = self.predict_motion(latents)
        frames = warp(reference.float().expand(len(latents), -1, -1, -1), flow)
        for paint in self.paint(latents, reference.float(), flow, centers):
            frames = blend_window(frames, paint.cover(), paint.center, paint.window.extent)
        return frames.clamp(-1, 1).to(reference.dtype)

    def decode_parts(self, latents: Tensor, reference: Tensor, centers: Tensor | None = None) -> DecodedMotion:
        """Decode as `decode` does, and return the intermediate results as well.

        Args:
            latents: As of `decode`.
            reference: As of `decode`.
            centers: As of `decode`.

        Returns:
            The frames, the motion field, the warped portrait and the painted share.
        """
        flow = self.predict_motion(latents)
        warped = warp(reference.float().expand(len(latents), -1, -1, -1), flow)
        canvas = torch.cat([warped, torch.zeros_like(warped[:, :1])], dim=1)
        for paint in self.paint(latents, reference.float(), flow, centers):
            values = torch.cat([paint.cover(), paint.share], dim=1)
            canvas = blend_window(canvas, values, paint.center, paint.window.extent)
        return DecodedMotion(canvas[:, :3].clamp(-1, 1), flow, warped, canvas[:, 3:])

    @apply_forward_hook
    def decode_layers(self, latents: Tensor, reference: Tensor) -> MotionLayers:
        """Decodes frames into layers, from which their pixels are made at any resolution.

        Args:
            latents: scaled, (N C h w).
            reference: (N 3 R R) in [-1, 1], or (1 3 R R) for all; painters see S pixels of it at most.

        Returns:
            The motion field and the painted patches; no motion and empty patches for latents of zero.
        """
        flow = self.predict_motion(latents)
        paints = self.paint(latents, reference.float(), flow, None)
        return MotionLayers(flow, [(paint.window.extent, paint.keep_detail(), paint.center) for paint in paints])

    def paint(self, latents: Tensor, reference: Tensor, flow: Tensor, centers: Tensor | None) -> list[Paint]:
        """Paints all windows.

        Args:
            latents: scaled, (N C h w).
            reference: (N 3 R R) or (1 3 R R) float32.
            flow: (N 2 M M).
            centers: see `decode`.

        Returns:
            The windows, in the order in which they are blended.
        """
        count, unscaled = len(latents), self.unscale(latents).float()
        if centers is None:
            centers = flow.new_tensor([EYE_CENTER, MOUTH_CENTER])[None]
        centers = torch.cat([torch.full_like(centers[:, :1], 0.5), centers.float()], dim=1).expand(count, -1, -1)
        power = unscaled.square().mean(1, keepdim=True)
        gate = 1 - (-power / ((power + 1e-6).sqrt() + 1e-3) / GATE_LATENT).exp()  # (N 1 h w)
        motion = torch.cat([flow * FLOW_SCALE, stretch(flow)], dim=1)
        painted = []
        for painter, window, center in zip(self.painters, self.windows, centers.unbind(1), strict=True):
            moved = center if window.extent == (1.0, 1.0) else follow(center, flow)
            fields = flow, motion, unscaled, gate
            portraits = resize(reference, window.resolution)
            painted.append(paint_window(painter, window, portraits, fields, center, moved))
        return painted
