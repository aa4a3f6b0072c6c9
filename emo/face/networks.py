"""Small networks that find faces and their landmarks."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

CELL = 8  # pixels
CROP_SIZE = 96  # pixels of the landmarker's picture
CROP_MARGIN = 1.2  # its side over the region's
POINTS = 68
MIRRORED = (  # each point's index in the mirror image
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
)
SPAN = 1.2  # the landmarker's maps reach this much beyond its picture, in sides


class ConvNorm(nn.Module):
    """3x3 convolution, group norm, SiLU."""

    def __init__(self, dim: int, out_dim: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(dim, out_dim, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.GroupNorm(8, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return silu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two of them beside the identity."""

    def __init__(self, dim: int, dilation: int = 1):
        super().__init__()
        self.first, self.second = ConvNorm(dim, dim, dilation=dilation), ConvNorm(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class FaceFinder(nn.Module):
    """Where regions are, from 1/8 to all of a 128-pixel square (CenterNet, arXiv 1904.07850)."""

    def __init__(self, width: int = 48):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width // 3, 3, stride=2, padding=1),
            nn.SiLU(),
            ConvNorm(width // 3, width * 2 // 3, stride=2),
            ConvNorm(width * 2 // 3, width, stride=2),
            *(Residual(width, dilation) for dilation in (1, 2, 4, 2)),
        )
        self.head = nn.Conv2d(width, 4, 1)
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N 3 H W) -> logits (N H/8 W/8) that a region's centre lies in the cell, and (N 3 H/8 W/8): the way
        from the cell's centre to the region's in cells, and the log of the region's side in cells."""
        maps = self.head(self.body(pictures)).float()
        return maps[:, 0], maps[:, 1:]


class Landmarker(nn.Module):
    """The K points of a face, or of a part of it, as the means of K maps (arXiv 1711.08229), and whether it is one."""

    def __init__(self, points: int = POINTS, widths: tuple[int, int, int, int] = (24, 48, 80, 128)):
        super().__init__()
        a, b, c, d = widths
        first = nn.Conv2d(3, a, 3, stride=2, padding=1)
        self.stem = nn.Sequential(first, nn.SiLU(), ConvNorm(a, b, stride=2), ConvNorm(b, b))
        self.middle = nn.Sequential(ConvNorm(b, c, stride=2), Residual(c))
        self.deep = nn.Sequential(ConvNorm(c, d, stride=2), Residual(d), Residual(d))
        self.from_deep, self.from_middle = nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1)
        self.refine, self.sharpen = Residual(c), ConvNorm(b, b)
        self.maps = nn.Conv2d(b, points, 1)
        self.face = nn.Linear(d, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N 3 S S) -> points (N K 2) in the unit square of the crop, logits (N,) that it is what it should be, and the
        logs of the maps (N K P) over the P places of `grid`, a quarter of S a side."""
        fine = self.stem(crops)  # (N b S/4 S/4)
        middle = self.middle(fine)  # (N c S/8 S/8)
        deep = self.deep(middle)  # (N d S/16 S/16)
        middle = self.refine(middle + interpolate(self.from_deep(deep), scale_factor=2))
        fine = self.sharpen(fine + interpolate(self.from_middle(middle), scale_factor=2, mode="bilinear"))
        maps = self.maps(fine).float().flatten(2).log_softmax(-1)  # (N K P)
        points = (maps.exp()[..., None] * grid(maps)).sum(2)
        return points, self.face(deep.float().mean((2, 3))).float()[:, 0], maps


def grid(maps: Tensor) -> Tensor:
    """(P 2): x and y, in the unit square of the crop, of the places of the landmarker's maps (... P)."""
    length = round(maps.shape[-1] ** 0.5)
    places = ((torch.arange(length, device=maps.device) + 0.5) / length - 0.5) * SPAN + 0.5
    return torch.stack(torch.meshgrid(places, places, indexing="xy"), -1).reshape(-1, 2)


class FaceNet(nn.Module):
    """Both, as they are trained and stored."""

    def __init__(self):
        super().__init__()
        self.finder, self.landmarker = FaceFinder(), Landmarker()

    def forward(self, pictures: Tensor, crops: Tensor) -> tuple[Tensor, ...]:
        """The outputs of both."""
        return *self.finder(pictures), *self.landmarker(crops)

    def save(self, path: Path) -> None:
        save_half(self, path)

    @classmethod
    def load(cls, path: Path) -> "FaceNet":
        """The stored networks, ready to look. Raises RuntimeError for other weights."""
        return load_half(cls(), path)


def save_half(model: nn.Module, path: Path) -> None:
    """Writes the weights as safetensors, half precision."""
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)


def load_half(model: nn.Module, path: Path) -> nn.Module:
    """The model with stored weights in float32, ready to look. Raises RuntimeError for other weights."""
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model.eval().requires_grad_(False)
