"""Painters of motion latents: small networks that paint, in windows, what a moved portrait does not have.

Shapes: N frames, C latent channels, h w pixels of a window, M cells of the motion field, P pixels along a side of the
portrait. Positions and displacements are in sides of the square, x before y.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from emo.models.autoencoder import zero_conv
from emo.models.warping import edge_fade, sample, window_positions

NORM_GROUPS = 8
KEPT_CHANGE, LOST_CHANGE = 0.04, 0.16  # changes of color, of 2, that keep and that replace the portrait's fine detail


@dataclass(frozen=True)
class PaintWindow:
    """Where a painter paints."""

    extent: tuple[float, float]  # height and width, in sides
    pixels: tuple[int, int]  # height and width; multiples of 8
    resolution: int  # pixels to a side of the square


@dataclass
class Paint:
    """What a painter makes of its window."""

    window: PaintWindow
    warped: Tensor  # (N 3 h w) in [-1, 1], the moved portrait at the window's resolution
    change: Tensor  # (N 3 h w), what is added to it
    share: Tensor  # (N 1 h w), how much of the change shows; it fades to 0 at the window's edge
    center: Tensor  # (N 2), where the window lies in the frames

    def cover(self) -> Tensor:
        """Colors times share and the share (N 4 h w), of a blend in which the painted pixels replace the moved ones."""
        return torch.cat([(self.warped + self.change) * self.share, self.share], dim=1)

    def keep_detail(self) -> Tensor:
        """The same of a blend in which pixels keep the detail that is too fine for the window, where the change of
        their color is too small to see."""
        change = self.change * self.share
        red, green, blue = change.abs().split(1, dim=1)
        size = functional.avg_pool2d(red.maximum(green).maximum(blue), 3, 1, 1)
        ramp = ((size - KEPT_CHANGE) / (LOST_CHANGE - KEPT_CHANGE)).clamp(0, 1)
        replaced = self.share * ramp * ramp * (3 - 2 * ramp)
        return torch.cat([self.warped * replaced + change, replaced], dim=1)


class PaintBlock(nn.Module):
    """A residual block of two convolutions that starts as the identity.

    It is normalized: without that the features of two painters grew from block to block in a training, until the logit
    of their share was so low that they painted nothing and had no gradient.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm, self.conv1 = nn.GroupNorm(NORM_GROUPS, dim), nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = zero_conv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a feature map (N C H W)."""
        return x + self.conv2(functional.silu(self.conv1(functional.silu(self.norm(x)))))


def make_blocks(channels: int, count: int) -> nn.Sequential:
    """Make residual blocks in a row.

    Args:
        channels: Channels of each block.
        count: Number of blocks.

    Returns:
        The blocks.
    """
    return nn.Sequential(*(PaintBlock(channels) for _ in range(count)))


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
        self.norm, self.out = nn.GroupNorm(NORM_GROUPS, fine), zero_conv(fine, 16)
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
        change, logit = functional.pixel_shuffle(self.out(functional.silu(self.norm(fine))), 2).split([3, 1], dim=1)
        return change, logit


def paint_window(
    painter: Painter,
    window: PaintWindow,
    portraits: Tensor,
    fields: tuple[Tensor, Tensor, Tensor, Tensor],
    center: Tensor,
    moved: Tensor,
) -> Paint:
    """Paints one window.

    Args:
        painter: of the window.
        window: its size.
        portraits: (N 3 P P) or (1 3 P P) at the window's resolution.
        fields: displacement (N 2 M M), displacement and stretch for the painter (N 3 M M), unscaled latents (N C h w)
            and the gate of the paint (N 1 h w).
        center, moved: (N 2), the window's middle in the portrait and in the frame.

    Returns:
        What was painted.
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
    return Paint(window, warped, change.float(), share, moved)
