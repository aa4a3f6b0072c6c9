"""FID's Inception v3 (Heusel et al. 2017), for the weights pt_inception-2015-12-05-6726825d.pth that pytorch-fid,
torch-fidelity and torchmetrics share. Pictures are resized as clean-fid does (Parmar et al. 2022, arXiv 2104.11222).

It differs from torchvision's Inception: average pooling does not count the padding, and the last block pools by the
maximum. Layers have the published names.

Shapes: T pictures.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from emo.models.loading import PublishedWeights, load_published_weights

SIZE, DIM, BATCH = 299, 2048, 16
PUBLISHED = PublishedWeights(
    "FID's Inception",
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights (Apache-2.0)",
)


def make_conv(
    dim: int, out: int, kernel: int | tuple[int, int], stride: int = 1, padding: bool = True
) -> nn.Sequential:
    """Build a convolution with batch norm and ReLU.

    Args:
        dim: Channels of the input.
        out: Channels of the output.
        kernel: Side of the kernel in pixels, or (height, width).
        stride: Stride in pixels.
        padding: Whether a convolution of stride 1 pads its input and leaves the size unchanged.

    Returns:
        The layers, under their published names.
    """
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    border = tuple(side // 2 for side in kernel) if padding and stride == 1 else 0
    layers = [("conv", nn.Conv2d(dim, out, kernel, stride, border, bias=False)), ("bn", nn.BatchNorm2d(out, eps=1e-3))]
    return nn.Sequential(OrderedDict([*layers, ("relu", nn.ReLU())]))


def average_pool(x: Tensor) -> Tensor:
    """Return the mean of each pixel's 3 x 3 neighbors (N C H W), without the padding."""
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class MixedA(nn.Module):
    """35 x 35: 1x1, 5x5, twice 3x3, and an average."""

    def __init__(self, dim: int, pooled: int):
        super().__init__()
        self.branch1x1 = make_conv(dim, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = make_conv(dim, 48, 1), make_conv(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = make_conv(dim, 64, 1), make_conv(64, 96, 3)
        self.branch3x3dbl_3 = make_conv(96, 96, 3)
        self.branch_pool = make_conv(dim, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B C 35 35) for x (B dim 35 35)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        five = self.branch5x5_2(self.branch5x5_1(x))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(average_pool(x))], 1)


class MixedB(nn.Module):
    """35 x 35 -> 17 x 17."""

    def __init__(self, dim: int):
        super().__init__()
        self.branch3x3 = make_conv(dim, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = make_conv(dim, 64, 1), make_conv(64, 96, 3)
        self.branch3x3dbl_3 = make_conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B C 17 17) for x (B dim 35 35)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, max_pool2d(x, 3, 2)], 1)


class MixedC(nn.Module):
    """17 x 17: 1x1, 7x7 once and twice, each as a row and a column, and an average."""

    def __init__(self, dim: int, inner: int):
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = make_conv(dim, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = make_conv(dim, inner, 1), make_conv(inner, inner, row)
        self.branch7x7_3 = make_conv(inner, 192, column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = make_conv(dim, inner, 1), make_conv(inner, inner, column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = make_conv(inner, inner, row), make_conv(inner, inner, column)
        self.branch7x7dbl_5 = make_conv(inner, 192, row)
        self.branch_pool = make_conv(dim, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B 768 17 17) for x (B dim 17 17)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(average_pool(x))], 1)


class MixedD(nn.Module):
    """17 x 17 -> 8 x 8."""

    def __init__(self, dim: int):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = make_conv(dim, 192, 1), make_conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = make_conv(dim, 192, 1), make_conv(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = make_conv(192, 192, (7, 1)), make_conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B C 8 8) for x (B dim 17 17)."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, max_pool2d(x, 3, 2)], 1)


class MixedE(nn.Module):
    """8 x 8: 1x1, 3x3 once and twice, each as a row beside a column, and an average or, in the last, a maximum."""

    def __init__(self, dim: int, last: bool):
        super().__init__()
        self.last, row, column = last, (1, 3), (3, 1)
        self.branch1x1 = make_conv(dim, 320, 1)
        self.branch3x3_1 = make_conv(dim, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = make_conv(384, 384, row), make_conv(384, 384, column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = make_conv(dim, 448, 1), make_conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = make_conv(384, 384, row), make_conv(384, 384, column)
        self.branch_pool = make_conv(dim, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B 2048 8 8) for x (B dim 8 8)."""
        three, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool2d(x, 3, 1, 1) if self.last else average_pool(x)
        branches = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        branches += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(branches, 1)


class Inception(nn.Module):
    """Inception v3 of FID."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = make_conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = make_conv(32, 32, 3, padding=False)
        self.Conv2d_2b_3x3 = make_conv(32, 64, 3)
        self.Conv2d_3b_1x1 = make_conv(64, 80, 1)
        self.Conv2d_4a_3x3 = make_conv(80, 192, 3, padding=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = MixedA(192, 32), MixedA(256, 64), MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b, self.Mixed_6c = MixedC(768, 128), MixedC(768, 160)
        self.Mixed_6d, self.Mixed_6e = MixedC(768, 160), MixedC(768, 192)
        self.Mixed_7a = MixedD(768)
        self.Mixed_7b, self.Mixed_7c = MixedE(1280, last=False), MixedE(DIM, last=True)
        self.fc = nn.Linear(DIM, 1008)  # its weights are published with the others; not used

    def forward(self, x: Tensor) -> Tensor:
        """Return (B 2048) features of x (B 3 299 299), pixels of 0..255 as (pixel - 128) / 128."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def load_inception(path: Path) -> Inception:
    """Load the published weights. Raises InputError: see `load_published_weights`."""
    return load_published_weights(Inception(), path, PUBLISHED)


def clean_resize(picture: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Resize a picture as clean-fid does: bicubic with antialiasing, not rounded.

    Args:
        picture: (3 H W) uint8.
        size: New side in pixels.

    Returns:
        (3 size size) float32 in about 0..255.
    """
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in picture]
    return np.stack([np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC)) for plane in planes])


@torch.no_grad()
def extract_features(net: Inception, frames: np.ndarray) -> np.ndarray:
    """Compute the features that FID compares.

    Args:
        net: Inception v3 with the published weights.
        frames: (T 3 H W) uint8.

    Returns:
        (T 2048) float32.
    """
    device, features = next(net.parameters()).device, [np.zeros((0, DIM), np.float32)]
    for start in range(0, len(frames), BATCH):
        small = np.stack([clean_resize(frame) for frame in frames[start : start + BATCH]])
        features.append(net((torch.from_numpy(small).to(device) - 128) / 128).cpu().numpy())
    return np.concatenate(features)
