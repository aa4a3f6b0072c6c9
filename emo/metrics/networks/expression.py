"""E-FID: the Frechet distance of facial expressions (EMO, arXiv 2402.17485), as 64 coefficients of each frame by
Deep3DFaceRecon (Deng et al. 2019, arXiv 1903.08527).

Papers differ in the network that estimates the coefficients, and by a factor of ten in the result: compare within one
table only. Weights are Deep3DFaceRecon_pytorch's epoch_20.pth, the standard face is its similarity_Lm3D_all.mat.

Shapes: T frames.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from emo.core.errors import InputError
from emo.face.landmarks import five_points
from emo.models.loading import PublishedWeights, load_published_weights

SIZE, DIM, BATCH = 224, 64, 16
FACE_PIXELS = 102.0  # of the crop for a unit of the standard face
SOURCE = "https://github.com/sicxu/Deep3DFaceRecon_pytorch (MIT; the Basel Face Model behind it is for research only)"
PUBLISHED = PublishedWeights("Deep3DFaceRecon", "epoch_20.pth", SOURCE)
HEADS = (80, DIM, 80, 3, 27, 2, 1)  # identity, expression, texture, angles, light, shift, distance


class Bottleneck(nn.Module):
    """The block of ResNet-50."""

    def __init__(self, dim: int, inner: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(dim, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, 4 * inner, 1, bias=False), nn.BatchNorm2d(4 * inner)
        shortcut = (nn.Conv2d(dim, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
        self.downsample = nn.Sequential(*shortcut) if dim != 4 * inner else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, 4 * inner, H / stride, W / stride) for x (B dim H W)."""
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


def make_stage(dim: int, inner: int, count: int, stride: int) -> nn.Sequential:
    """Build a stage of ResNet-50.

    Args:
        dim: Channels of the input.
        inner: Channels inside the blocks; the output has 4 * inner.
        count: Number of blocks.
        stride: Stride of the first block in pixels.

    Returns:
        The blocks in sequence.
    """
    return nn.Sequential(*(Bottleneck(4 * inner if k else dim, inner, 1 if k else stride) for k in range(count)))


class ResNet50(nn.Module):
    """ResNet-50; layers have torchvision's names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.layer1, self.layer2 = make_stage(64, 64, 3, 1), make_stage(256, 128, 4, 2)
        self.layer3, self.layer4 = make_stage(512, 256, 6, 2), make_stage(1024, 512, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B 2048 1 1) features of x (B 3 H W)."""
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3), keepdim=True)


class FaceRegressor(nn.Module):
    """The coefficients of a face; layers have the names of Deep3DFaceRecon_pytorch's net_recon."""

    def __init__(self):
        super().__init__()
        self.backbone = ResNet50()
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, out, 1) for out in HEADS)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B 64) expression coefficients of x (B 3 224 224) RGB in 0..1."""
        return self.final_layers[1](self.backbone(x)).flatten(1)


def load_regressor(path: Path) -> FaceRegressor:
    """Load the published weights. Raises InputError: see `load_published_weights`."""
    return load_published_weights(FaceRegressor(), path, PUBLISHED, lambda content: content["net_recon"])


def load_standard_face(path: Path) -> np.ndarray:
    """Return (5 3) eyes, nose and corners of the mouth of the standard face, y up. Raises InputError for another
    file."""
    from scipy.io import loadmat

    try:
        return five_points(loadmat(path)["lm"][None])[0].astype(np.float64)
    except Exception as error:  # scipy raises what it likes on a broken file
        fix = f"download BFM/similarity_Lm3D_all.mat from {SOURCE}"
        raise InputError(f"{path} does not contain the mean face ({type(error).__name__}): {fix}") from error


def align_to_standard_face(frame: np.ndarray, points: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Move and scale a face to where the network expects it, by an affine camera fitted with least squares.

    Args:
        frame: (3 H W) uint8.
        points: (5 2) of the face, pixels.
        standard: (5 3) of the standard face.

    Returns:
        (3 224 224) uint8, black beyond the picture.
    """
    height, width = frame.shape[1:]
    upward = np.stack([points[:, 0], height - 1 - points[:, 1]], axis=1)
    camera = np.linalg.lstsq(np.c_[standard, np.ones(5)], upward, rcond=None)[0]  # (4 2)
    scale = FACE_PIXELS / np.linalg.norm(camera[:3], axis=0).mean()
    size = int(width * scale), int(height * scale)
    left = int(size[0] / 2 - SIZE / 2 + (camera[3, 0] - width / 2) * scale)
    top = int(size[1] / 2 - SIZE / 2 + (height / 2 - camera[3, 1]) * scale)
    picture = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(picture.crop((left, top, left + SIZE, top + SIZE))).transpose(2, 0, 1)


@torch.no_grad()
def extract_features(net: FaceRegressor, frames: np.ndarray, landmarks: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Expression coefficients of the frames in which the face is visible: what E-FID compares.

    Args:
        net: The network.
        frames: (T 3 H W) uint8 RGB.
        landmarks: (T 68 2) pixels, NaN where the face is not visible.
        standard: (5 3) of `load_standard_face`.

    Returns:
        (N 64) float32.
    """
    points, features = five_points(landmarks), [np.zeros((0, DIM), np.float32)]
    visible = np.flatnonzero(np.isfinite(points).all((1, 2)))
    device = next(net.parameters()).device
    for start in range(0, len(visible), BATCH):
        faces = np.stack(
            [align_to_standard_face(frames[k], points[k], standard) for k in visible[start : start + BATCH]]
        )
        features.append(net(torch.from_numpy(faces).to(device).float() / 255).cpu().numpy())
    return np.concatenate(features)
