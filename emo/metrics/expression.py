"""E-FID, how far made expressions lie from true ones: the Frechet distance of the 64 expression coefficients that
Deep3DFaceRecon reads from each frame (Deng et al. 2019, arXiv 1903.08527; the measure: EMO, arXiv 2402.17485).

Papers differ by what they read coefficients with, and by a factor of ten in what comes of it: compare within one table.
Weights in the layout of Deep3DFaceRecon_pytorch's epoch_20.pth; its standard face is similarity_Lm3D_all.mat. T frames.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from emo.core.errors import InputError
from emo.face.landmarks import five_points
from emo.models.loading import Published, load_published

SIZE, DIM, BATCH = 224, 64, 16
FACE_PIXELS = 102.0  # of the crop for a unit of the standard face
SOURCE = "https://github.com/sicxu/Deep3DFaceRecon_pytorch (MIT; the Basel Face Model behind it is for research only)"
PUBLISHED = Published("Deep3DFaceRecon", "epoch_20.pth", SOURCE)
HEADS = (80, DIM, 80, 3, 27, 2, 1)  # identity, expression, texture, angles, light, shift, distance


class Bottleneck(nn.Module):
    def __init__(self, dim: int, inner: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(dim, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, 4 * inner, 1, bias=False), nn.BatchNorm2d(4 * inner)
        shortcut = (nn.Conv2d(dim, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
        self.downsample = nn.Sequential(*shortcut) if dim != 4 * inner else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


def stage(dim: int, inner: int, count: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*(Bottleneck(4 * inner if k else dim, inner, 1 if k else stride) for k in range(count)))


class ResNet50(nn.Module):
    """The layers have torchvision's names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.layer1, self.layer2 = stage(64, 64, 3, 1), stage(256, 128, 4, 2)
        self.layer3, self.layer4 = stage(512, 256, 6, 2), stage(1024, 512, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B 3 H W) -> (B 2048 1 1)."""
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3), keepdim=True)


class FaceRegressor(nn.Module):
    """The layers have the names of Deep3DFaceRecon_pytorch's net_recon."""

    def __init__(self):
        super().__init__()
        self.backbone = ResNet50()
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, out, 1) for out in HEADS)

    def forward(self, x: Tensor) -> Tensor:
        """x (B 3 224 224) RGB in 0..1 -> (B 64), the expression alone."""
        return self.final_layers[1](self.backbone(x)).flatten(1)


def load_regressor(path: Path) -> FaceRegressor:
    """Raises InputError: see `load_published`."""
    return load_published(FaceRegressor(), path, PUBLISHED, lambda held: held["net_recon"])


def load_standard_face(path: Path) -> np.ndarray:
    """(5 3): eyes, nose and corners of the mouth of the standard face, y up. Raises InputError for another file."""
    from scipy.io import loadmat

    try:
        return five_points(loadmat(path)["lm"][None])[0].astype(np.float64)
    except Exception as error:  # scipy raises what it likes on a broken file
        mend = f"get BFM/similarity_Lm3D_all.mat from {SOURCE}"
        raise InputError(f"{path} holds no standard face ({type(error).__name__}): {mend}") from error


def aligned(frame: np.ndarray, points: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """frame (3 H W) uint8, its five points (5 2) pixels, the standard face's (5 3) -> (3 224 224) uint8: moved and made
    as large as the affine camera that sees the standard face there, by least squares; black beyond the picture."""
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
def features(net: FaceRegressor, frames: np.ndarray, landmarks: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """frames (T 3 H W) uint8, landmarks (T 68 2) pixels, of `load_standard_face` -> (N 64) float32, of the N frames in
    which the face was seen: what E-FID compares."""
    points, found = five_points(landmarks), [np.zeros((0, DIM), np.float32)]
    seen = np.flatnonzero(np.isfinite(points).all((1, 2)))
    device = next(net.parameters()).device
    for start in range(0, len(seen), BATCH):
        faces = np.stack([aligned(frames[k], points[k], standard) for k in seen[start : start + BATCH]])
        found.append(net(torch.from_numpy(faces).to(device).float() / 255).cpu().numpy())
    return np.concatenate(found)
