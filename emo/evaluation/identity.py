"""Whether it stays the same person: CSIM, the cosine between ArcFace's vectors of faces (Deng et al. 2019, arXiv
1801.07698), in the layout of insightface's arcface_torch (backbone.pth of r18, r34, r50 or r100).

insightface's own weights may be used for research only; others in this layout have their own licence. T frames.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from emo.errors import InputError
from emo.models.published import Published, load_published, read_weights

SIZE, DIM, BATCH = 112, 512, 16
PUBLISHED = Published(
    "ArcFace",
    "backbone.pth",
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch (non-commercial research only)",
)
# Where insightface has eyes, the nose's tip and the corners of the mouth in a square of 112 points
PLACES = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
BLOCKS = {2: (2, 2, 2, 2), 4: (3, 4, 6, 3), 14: (3, 4, 14, 3), 30: (3, 13, 30, 3)}  # by those of the third stage


class Block(nn.Module):
    def __init__(self, dim: int, out: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(dim), nn.Conv2d(dim, out, 3, 1, 1, bias=False)
        self.bn2, self.prelu = nn.BatchNorm2d(out), nn.PReLU(out)
        self.conv2, self.bn3 = nn.Conv2d(out, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        shortcut = (nn.Conv2d(dim, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.downsample = nn.Sequential(*shortcut) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


def stage(dim: int, out: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(out if k else dim, out, 1 if k else 2) for k in range(count)))


class IResNet(nn.Module):
    """The layers have the names of arcface_torch."""

    def __init__(self, blocks: tuple[int, int, int, int]):
        super().__init__()
        self.conv1, self.bn1, self.prelu = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        self.layer1, self.layer2 = stage(64, 64, blocks[0]), stage(64, 128, blocks[1])
        self.layer3, self.layer4 = stage(128, 256, blocks[2]), stage(256, 512, blocks[3])
        self.bn2, self.fc, self.features = nn.BatchNorm2d(512), nn.Linear(512 * 7 * 7, DIM), nn.BatchNorm1d(DIM)

    def forward(self, x: Tensor) -> Tensor:
        """x (B 3 112 112) RGB in [-1, 1] -> (B 512) of length 1."""
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return nn.functional.normalize(self.features(self.fc(x.flatten(1))))


def load_arcface(path: Path) -> IResNet:
    """r18, r34, r50 or r100, as the file has it. Raises InputError: see `load_published`."""
    try:
        held = {int(name.split(".")[1]) for name in read_weights(path) if name.startswith("layer3.")}
    except Exception:  # `load_published` says what is wrong with it
        held = set()
    return load_published(IResNet(BLOCKS.get(len(held), BLOCKS[14])), path, PUBLISHED)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 D) iBUG -> (T 5 D): the eyes, each between its corners, the nose's tip, the mouth's corners."""
    eyes = [landmarks[:, [36, 39]].mean(1), landmarks[:, [42, 45]].mean(1)]
    return np.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], axis=1)


def similarity_transform(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(2 3) that turns, scales and shifts points (N 2) as near to places (N 2) as can be, by least squares."""
    a, b = (xy @ np.array([1, 1j]) for xy in (points, places))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean()).real
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def aligned(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """frame (3 H W) uint8, its five points (5 2) -> (3 112 112) uint8."""
    picture = np.ascontiguousarray(frame.transpose(1, 2, 0))
    return cv2.warpAffine(picture, similarity_transform(points, PLACES), (SIZE, SIZE)).transpose(2, 0, 1)


@torch.no_grad()
def features(net: IResNet, frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """frames (T 3 H W) uint8, landmarks (T 68 2) pixels -> (T 512) float32 of length 1; NaN where landmarks are."""
    found, points = np.full((len(frames), DIM), np.nan, np.float32), five_points(landmarks)
    seen = np.flatnonzero(np.isfinite(points).all((1, 2)))
    device = next(net.parameters()).device
    for start in range(0, len(seen), BATCH):
        part = seen[start : start + BATCH]
        faces = np.stack([aligned(frames[k], points[k]) for k in part])
        found[part] = net(torch.from_numpy(faces).to(device).float() / 127.5 - 1).cpu().numpy()
    return found


@dataclass
class Identity:
    """How like a person the faces of a video are: cosines, 1 the same."""

    mean: float  # CSIM
    worst: float
    worst_frame: int


def identity(faces: np.ndarray, person: np.ndarray) -> Identity:
    """faces (T 512) of a video, person (N 512): the portrait, or frames of the true video.

    Raises InputError where no face was seen in either.
    """
    known = person[np.isfinite(person).all(1)]
    if not len(known) or not np.isfinite(faces).all(1).any():
        raise InputError("no face was seen: identity can't be measured")
    middle = known.mean(0)
    cosines = faces @ (middle / np.linalg.norm(middle))
    return Identity(float(np.nanmean(cosines)), float(np.nanmin(cosines)), int(np.nanargmin(cosines)))
