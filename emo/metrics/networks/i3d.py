"""FVD's I3D (Carreira and Zisserman 2017, Kinetics-400; FVD: Unterthiner et al. 2018, arXiv 1812.01717).

Weights are i3d_pretrained_400.pt of pytorch-i3d, which TATS and content-debiased-fvd use: a state dict, so no code is
run, as it would be from i3d_torchscript.pt. The features are the 400 logits before the softmax.

A video is cut into consecutive clips of L frames; frames that are left over at the end are not used.

Shapes: B clips, T frames, L frames of a clip.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate, max_pool3d, pad

from emo.models.loading import PublishedWeights, load_published_weights

SIZE, DIM = 224, 400
FRAMES = 16  # of a clip; tables of talking heads use 16 or 25
PUBLISHED = PublishedWeights(
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


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Pad with zeros as TensorFlow's SAME does: where the number is odd, one more at the end.

    Args:
        x: (B C T H W).
        kernel: Size of the window over T, H and W.
        stride: Step of the window over T, H and W.

    Returns:
        The padded tensor.
    """
    padding = []
    for size, side, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(0, side - (step if size % step == 0 else size % step))
        padding += [total // 2, total - total // 2]
    return pad(x, padding)


def max_pool_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Return the maximum over windows, padded as `pad_same` does.

    Args:
        x: (B C T H W).
        kernel: Size of the window over T, H and W.
        stride: Step of the window over T, H and W.

    Returns:
        (B, C, T / stride, H / stride, W / stride), rounded up.
    """
    return max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, dim: int, out: int, side: int, step: int = 1):
        super().__init__()
        self.kernel, self.stride = (side,) * 3, (step,) * 3
        self.conv3d = nn.Conv3d(dim, out, self.kernel, self.stride, bias=False)
        self.bn = nn.BatchNorm3d(out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, T / step, H / step, W / step), rounded up, for x (B dim T H W)."""
        return self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))).relu()


class Mixed(nn.Module):
    """An Inception block: 1x1x1, two branches to 3x3x3, and a pooled one."""

    def __init__(self, dim: int, one: int, to_three: int, three: int, to_other: int, other: int, pooled: int):
        super().__init__()
        self.b0 = Unit(dim, one, 1)
        self.b1a, self.b1b = Unit(dim, to_three, 1), Unit(to_three, three, 3)
        self.b2a, self.b2b = Unit(dim, to_other, 1), Unit(to_other, other, 3)
        self.b3b = Unit(dim, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated branches (B C T H W) for x (B dim T H W)."""
        around = self.b3b(max_pool_same(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), around], 1)


class Logits(nn.Module):
    """The classifier under its published name."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv3d = nn.Conv3d(dim, DIM, 1)


class I3D(nn.Module):
    """I3D; layers have the names of pytorch-i3d."""

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1, self.Conv3d_2c_3x3 = Unit(64, 64, 1), Unit(64, 192, 3)
        for name, channels in MIXED.items():
            self.add_module(name, Mixed(*channels))
        self.logits = Logits(1024)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B 400) logits of clips x (B 3 L 224 224) in [-1, 1]; L is 9 or more."""
        x = max_pool_same(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = max_pool_same(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            x = self.get_submodule(name)(max_pool_same(x, *POOLED[name]) if name in POOLED else x)
        return self.logits.conv3d(avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))


def load_i3d(path: Path) -> I3D:
    """Load the published weights. Raises InputError: see `load_published_weights`."""
    return load_published_weights(I3D(), path, PUBLISHED)


def split_clips(frames: np.ndarray, length: int = FRAMES, size: int = SIZE) -> Tensor:
    """Split a video into clips and resize them bilinearly as FVD's code does.

    Args:
        frames: (T 3 H W) uint8.
        length: Frames of a clip; the rest of the video is left out.
        size: Side of the resized frames in pixels.

    Returns:
        (T // length, 3, length, size, size) float32 in 0..1.
    """
    count = len(frames) // length
    small = [interpolate(torch.from_numpy(frame[None]).float(), (size, size), mode="bilinear") for frame in frames]
    whole = torch.cat(small[: count * length]) if count else torch.zeros(0, 3, size, size)
    return whole.div(255).view(count, length, 3, size, size).transpose(1, 2)


@torch.no_grad()
def extract_features(net: I3D, frames: np.ndarray, length: int = FRAMES) -> np.ndarray:
    """Compute the features that FVD compares.

    Args:
        net: I3D with the published weights.
        frames: (T 3 H W) uint8.
        length: Frames of a clip.

    Returns:
        (T // length, 400) float32.
    """
    device = next(net.parameters()).device
    features = [net(clip[None].to(device) * 2 - 1).cpu().numpy() for clip in split_clips(frames, length)]
    return np.concatenate([np.zeros((0, DIM), np.float32), *features])
