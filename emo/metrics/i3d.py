"""FVD's I3D (Carreira and Zisserman 2017, Kinetics-400; FVD: Unterthiner et al. 2018, arXiv 1812.01717).

In the layout of i3d_pretrained_400.pt, pytorch-i3d's, which TATS and content-debiased-fvd use: a state dict, so that no
code is run as it would be from i3d_torchscript.pt. Its features are the 400 logits before the softmax.

A video is cut into clips of L frames that follow one another; a rest is left out. B clips, T frames.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate, max_pool3d, pad

from emo.models.loading import Published, load_published

SIZE, DIM = 224, 400
FRAMES = 16  # of a clip; tables of talking heads say 16 or 25
PUBLISHED = Published(
    "I3D", "i3d_pretrained_400.pt", "https://github.com/songweige/TATS/tree/main/tats/fvd (weights of pytorch-i3d)"
)
MIXED = {  # channels in; out of 1x1x1, into and out of 3x3x3, into and out of another 3x3x3, after the pool
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
POOLED = {"Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}  # before these: kernel, stride


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """x (B C T H W) with zeros around it as TensorFlow's SAME padding puts them: the odd one at the end."""
    wanted = []
    for size, side, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(0, side - (step if size % step == 0 else size % step))
        wanted += [total // 2, total - total // 2]
    return pad(x, wanted)


def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    return max_pool3d(same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """A convolution, its norm and its ReLU."""

    def __init__(self, dim: int, out: int, side: int, step: int = 1):
        super().__init__()
        self.kernel, self.stride = (side,) * 3, (step,) * 3
        self.conv3d = nn.Conv3d(dim, out, self.kernel, self.stride, bias=False)
        self.bn = nn.BatchNorm3d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv3d(same(x, self.kernel, self.stride))).relu()


class Mixed(nn.Module):
    def __init__(self, dim: int, one: int, to_three: int, three: int, to_other: int, other: int, pooled: int):
        super().__init__()
        self.b0 = Unit(dim, one, 1)
        self.b1a, self.b1b = Unit(dim, to_three, 1), Unit(to_three, three, 3)
        self.b2a, self.b2b = Unit(dim, to_other, 1), Unit(to_other, other, 3)
        self.b3b = Unit(dim, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        around = self.b3b(pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), around], 1)


class Logits(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.conv3d = nn.Conv3d(dim, DIM, 1)


class I3D(nn.Module):
    """The layers have the names of pytorch-i3d."""

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = Unit(64, 64, 1), Unit(64, 192, 3)
        for name, channels in MIXED.items():
            self.add_module(name, Mixed(*channels))
        self.logits = Logits(1024)

    def forward(self, x: Tensor) -> Tensor:
        """x (B 3 L 224 224) in [-1, 1], L of 9 frames or more -> (B 400)."""
        x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            x = self.get_submodule(name)(pool(x, *POOLED[name]) if name in POOLED else x)
        return self.logits.conv3d(avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))


def load_i3d(path: Path) -> I3D:
    """Raises InputError: see `load_published`."""
    return load_published(I3D(), path, PUBLISHED)


def clips_of(frames: np.ndarray, length: int = FRAMES, size: int = SIZE) -> Tensor:
    """frames (T 3 H W) uint8 -> (T // length 3 length size size) float32 in 0..1, bilinear, as FVD's code does it."""
    count = len(frames) // length
    small = [interpolate(torch.from_numpy(frame[None]).float(), (size, size), mode="bilinear") for frame in frames]
    whole = torch.cat(small[: count * length]) if count else torch.zeros(0, 3, size, size)
    return whole.div(255).view(count, length, 3, size, size).transpose(1, 2)


@torch.no_grad()
def features(net: I3D, frames: np.ndarray, length: int = FRAMES) -> np.ndarray:
    """frames (T 3 H W) uint8 -> (T // length 400) float32: what FVD compares."""
    device = next(net.parameters()).device
    found = [net(clip[None].to(device) * 2 - 1).cpu().numpy() for clip in clips_of(frames, length)]
    return np.concatenate([np.zeros((0, DIM), np.float32), *found])
