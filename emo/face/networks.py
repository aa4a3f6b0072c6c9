"""The small networks that find faces and their landmarks, and their file format."""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from emo.face.landmarks import NUM_LANDMARKS

Network = TypeVar("Network", bound=nn.Module)
CELL_PIXELS = 8  # side of a cell of the proposal network's maps
CROP_PIXELS = 96  # side of the crop that the landmarker takes
CROP_MARGIN = 1.2  # side of that crop over the side of the region
MAP_SPAN = 1.2  # side of the landmarker's maps over the side of its crop: points may lie beyond the crop


class ConvNorm(nn.Module):
    """3 x 3 convolution, group norm, SiLU."""

    def __init__(self, dim: int, out_dim: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(dim, out_dim, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.GroupNorm(8, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply convolution, batch norm and SiLU: (N C H W) -> (N D H' W')."""
        return silu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """A residual block of two `ConvNorm`."""

    def __init__(self, dim: int, dilation: int = 1):
        super().__init__()
        self.first, self.second = ConvNorm(dim, dim, dilation=dilation), ConvNorm(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Add the output of two convolutions to the input: (N C H W) -> (N C H W)."""
        return x + self.second(self.first(x))


class FaceFinder(nn.Module):
    """Proposes face regions of 1/8 to all of a square of 128 pixels (CenterNet, arXiv 1904.07850)."""

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
        """Predict regions.

        Args:
            pictures: (N 3 H W) in [-1, 1], H and W multiples of CELL_PIXELS.

        Returns:
            Logits (N H/8 W/8) that a region's center lies in the cell, and (N 3 H/8 W/8): x and y from the cell's
            center to the region's, and the logarithm of the region's side, in cells.
        """
        maps = self.head(self.body(pictures)).float()
        return maps[:, 0], maps[:, 1:]


class Landmarker(nn.Module):
    """Locates the K points of a face, or of a part of it, as the means of K heatmaps (arXiv 1711.08229).

    It also tells whether the crop shows what it should show.
    """

    def __init__(self, points: int = NUM_LANDMARKS, widths: tuple[int, int, int, int] = (24, 48, 80, 128)):
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
        """Locate points.

        Args:
            crops: (N 3 S S) in [-1, 1].

        Returns:
            Points (N K 2) in the unit square of the crop, logits (N,) that the crop shows a face (of a part: that it is
            occluded), and the logarithms of the heatmaps (N K P) over the P places of `heatmap_grid`, S / 4 a side.
        """
        fine = self.stem(crops)  # (N b S/4 S/4)
        middle = self.middle(fine)  # (N c S/8 S/8)
        deep = self.deep(middle)  # (N d S/16 S/16)
        middle = self.refine(middle + interpolate(self.from_deep(deep), scale_factor=2))
        fine = self.sharpen(fine + interpolate(self.from_middle(middle), scale_factor=2, mode="bilinear"))
        maps = self.maps(fine).float().flatten(2).log_softmax(-1)  # (N K P)
        points = (maps.exp()[..., None] * heatmap_grid(maps)).sum(2)
        return points, self.face(deep.float().mean((2, 3))).float()[:, 0], maps


def heatmap_grid(maps: Tensor) -> Tensor:
    """Return the places (P 2), x and y in the unit square of the crop, of the cells of heatmaps (... P)."""
    length = round(maps.shape[-1] ** 0.5)
    places = ((torch.arange(length, device=maps.device) + 0.5) / length - 0.5) * MAP_SPAN + 0.5
    return torch.stack(torch.meshgrid(places, places, indexing="xy"), -1).reshape(-1, 2)


class FaceNet(nn.Module):
    """The proposal network and the landmarker, as they are trained and stored."""

    def __init__(self):
        super().__init__()
        self.finder, self.landmarker = FaceFinder(), Landmarker()

    def forward(self, pictures: Tensor, crops: Tensor) -> tuple[Tensor, ...]:
        """Run both networks.

        Args:
            pictures: (N 3 H W) as of `FaceFinder.forward`.
            crops: (N 3 S S) as of `Landmarker.forward`.

        Returns:
            The outputs of the finder, then those of the landmarker.
        """
        return *self.finder(pictures), *self.landmarker(crops)

    def save(self, path: Path) -> None:
        """Write the weights.

        Args:
            path: The .safetensors file.
        """
        save_half_precision(self, path)

    @classmethod
    def load(cls, path: Path) -> "FaceNet":
        """Load stored networks for inference. Raises RuntimeError for weights of other networks."""
        return load_half_precision(cls(), path)


def save_half_precision(model: nn.Module, path: Path) -> None:
    """Write the weights as safetensors in half precision.

    Args:
        model: The network.
        path: The .safetensors file.
    """
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)


def load_half_precision(model: Network, path: Path) -> Network:
    """Load weights of `save_half_precision` in float32 into a model, for inference.

    Args:
        model: The network, changed in place.
        path: The .safetensors file.

    Returns:
        The same network in evaluation mode, without gradients.

    Raises:
        RuntimeError: The weights are those of another model.
    """
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model.eval().requires_grad_(False)
