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

from dataclasses import dataclass
from typing import cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn import functional

from emo.face.crop import RIGID_TEMPLATE
from emo.models.autoencoder import ResBlock, zero_conv
from emo.models.contracts import VideoAutoencoder
from emo.models.motion_components import MotionComponents
from emo.models.warping import (
    blend_window,
    border_fade,
    edge_fade,
    follow,
    resize,
    sample,
    smooth,
    stretch,
    warp,
    window_positions,
)

PATCH = 16  # pixels of S for one latent, along a side
REFERENCE_PATCH = 8  # pixels of the portrait that become one pixel of its appearance latents, along a side
BORDER_FADE = 0.12  # sides from the square's border in which the motion fades to zero
FLOW_SCALE = 10.0  # displacements are multiplied by it where the painter reads them
GATE_LATENT = 0.05  # RMS of unscaled latents at which the gate of the paint is 1 - 1/e
# Middle of the eyes and of the mouth in an aligned square: emo.face.crop's template; the mean of 134 portraits' mouths,
# and a little lower, since mouths open downwards
EYE_CENTER = tuple(RIGID_TEMPLATE[:4].mean(0).tolist())
MOUTH_CENTER = (0.5, 0.68)


@dataclass
class DecodedMotion:
    """Frames with all that the losses of training read."""

    frames: Tensor  # (N 3 R R) in [-1, 1]
    flow: Tensor  # (N 2 M M), the frame's cell at p shows the portrait at p + flow
    warped: Tensor  # (N 3 R R) the portrait, moved and not painted
    painted: Tensor  # (N 1 R R) share of each pixel that is painted


@dataclass(frozen=True)
class PaintWindow:
    """Where a painter paints."""

    extent: tuple[float, float]  # height and width, in sides
    pixels: tuple[int, int]  # height and width; multiples of 8
    resolution: int  # pixels to a side of the square


def make_blocks(channels: int, count: int) -> nn.Sequential:
    """Make residual blocks in a row.

    Args:
        channels: Channels of each block.
        count: Number of blocks.

    Returns:
        The blocks.
    """
    return nn.Sequential(*(ResBlock(channels) for _ in range(count)))


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
            make_blocks(middle, max(1, num_blocks - 1)),
            nn.Conv2d(middle, coarse, 4, stride=2, padding=1),
            make_blocks(coarse, num_blocks),
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


class Painter(nn.Module):
    """A small UNet over a window: what is there after warping -> what should be there, and where.

    Its finest level is half of the window's resolution. What varies slowly enters where it is no waste: the motion
    field at that level, the latents at half of it.
    """

    def __init__(self, latent_channels: int, widths: tuple[int, int, int], num_blocks: int):
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Conv2d(6 * 4 + 3, fine, 3, padding=1)
        self.latents_in = nn.Conv2d(latent_channels, middle, 1)
        self.down1, self.down2 = nn.Conv2d(fine, middle, 4, 2, 1), nn.Conv2d(middle, coarse, 4, 2, 1)
        self.fine_in, self.middle_in = make_blocks(fine, 1), make_blocks(middle, max(1, num_blocks - 2))
        self.coarse = make_blocks(coarse, num_blocks)
        self.up2, self.up1 = nn.Conv2d(coarse, 4 * middle, 1), nn.Conv2d(middle, 4 * fine, 1)
        self.middle_out, self.fine_out = make_blocks(middle, max(1, num_blocks - 1)), make_blocks(fine, 1)
        self.out = zero_conv(fine, 16)
        nn.init.constant_(cast(Tensor, self.out.bias)[12:], -1.0)  # of the share's logit

    def forward(self, images: Tensor, motion: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Paints a window.

        Args:
            images: (N 6 h w) in [-1, 1], the warped portrait and the unmoved one.
            motion: (N 3 h/2 w/2), displacement and stretch.
            latents: (N C h/4 w/4).

        Returns:
            The change of color (N 3 h w) and the logit of its share (N 1 h w).
        """
        x = torch.cat([functional.pixel_unshuffle(images, 2), motion], dim=1)
        fine = self.fine_in(self.stem(x.contiguous(memory_format=torch.channels_last)))
        middle = self.middle_in(self.down1(fine) + self.latents_in(latents))
        coarse = self.coarse(self.down2(middle))
        middle = self.middle_out(middle + functional.pixel_shuffle(self.up2(coarse), 2))
        fine = self.fine_out(fine + functional.pixel_shuffle(self.up1(middle), 2))
        change, logit = functional.pixel_shuffle(self.out(fine), 2).split([3, 1], dim=1)
        return change, logit


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

    def fit_components(self, latents: Tensor, count: int) -> None:
        """Fit the components that latents are limited to and scaled by, in place of those before.

        Args:
            latents: (N C h w) of `encode`, of frames of footage.
            count: Largest number of components.
        """
        self.components = MotionComponents.fit(self.unscale(latents), count)
        self.register_to_config(num_components=len(self.components.gains))

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
        cells = self.motion_head(self.unscale(latents).to(self.motion_head.weight.dtype))
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
        for window, values, moved in self.paint(latents, reference.float(), flow, centers):
            frames = blend_window(frames, values, moved, window.extent)
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
        for window, values, moved in self.paint(latents, reference.float(), flow, centers):
            canvas = blend_window(canvas, torch.cat([values, values[:, 3:]], dim=1), moved, window.extent)
        return DecodedMotion(canvas[:, :3].clamp(-1, 1), flow, warped, canvas[:, 3:])

    def paint(
        self, latents: Tensor, reference: Tensor, flow: Tensor, centers: Tensor | None
    ) -> list[tuple[PaintWindow, Tensor, Tensor]]:
        """Paints all windows.

        Args:
            latents: scaled, (N C h w).
            reference: (N 3 R R) or (1 3 R R) float32.
            flow: (N 2 M M).
            centers: see `decode`.

        Returns:
            For each window, in the order in which they are blended: the window, colors times share and the share (N 4 h
            w), and where it lies in the frames (N 2).
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
            values = paint_window(painter, window, resize(reference, window.resolution), fields, center, moved)
            painted.append((window, values, moved))
        return painted


def paint_window(
    painter: Painter,
    window: PaintWindow,
    portraits: Tensor,
    fields: tuple[Tensor, Tensor, Tensor, Tensor],
    center: Tensor,
    moved: Tensor,
) -> Tensor:
    """Paints one window.

    Args:
        painter: of the window.
        window: its size.
        portraits: (N 3 P P) or (1 3 P P) at the window's resolution.
        fields: displacement (N 2 M M), displacement and stretch for the painter (N 3 M M), unscaled latents (N C h w)
            and the gate of the paint (N 1 h w).
        center, moved: (N 2), the window's middle in the portrait and in the frame.

    Returns:
        Colors times share and the share (N 4 h w); the share fades to 0 at the window's edge.
    """
    flow, motion, latents, gate = fields
    portraits = portraits.expand(len(flow), -1, -1, -1)
    (height, width), dtype = window.pixels, painter.stem.weight.dtype
    places = window_positions(moved, window.extent, window.pixels)
    half, quarter = (window_positions(moved, window.extent, (height // n, width // n)) for n in (2, 4))
    warped = sample(portraits, places + sample(flow, places).permute(0, 2, 3, 1))
    unmoved = sample(portraits, window_positions(center, window.extent, window.pixels))
    images = torch.cat([warped, unmoved], dim=1).to(dtype)
    change, logit = painter(images, sample(motion, half).to(dtype), sample(latents, quarter).to(dtype))
    share = logit.float().sigmoid() * edge_fade(window.pixels, flow.device) * sample(gate, places)
    return torch.cat([(warped + change.float()) * share, share], dim=1)
