"""The training of the networks that find faces and their landmarks.

The training of the networks that find faces and their landmarks.

The training of a network that looks closely at a part of a face: `model.part` names it.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from emo.core.config import Config
from emo.core.errors import InputError
from emo.data.face_samples import FaceBatch, load_faces, load_looks, sample_batch, sample_parts
from emo.face.networks import FaceNet, grid, save_half
from emo.face.refinement import PARTS
from emo.training.distributed import Generators
from emo.training.task import Task, chance

GEOMETRY_WEIGHT, POINTS_WEIGHT, MAPS_WEIGHT, IS_FACE_WEIGHT = 0.5, 10.0, 0.5, 1.0
MAP_SIGMA = 0.05  # of the landmarker's maps, in sides of the crop


class FaceTask(Task):
    """Labelled faces of pictures and videos on made-up canvases."""

    splittable = False

    def __init__(self, config: Config):
        self.config = config
        self.faces = load_faces(config.data.pictures, config.data.labels, config.data.hold_out)
        self.model = FaceNet()

    def batch(self, numbers: range, device: torch.device) -> dict[str, Tensor]:
        """A FaceBatch as tensors, its pictures (N 3 H W) in [-1, 1]."""
        rng = chance(self.config.seed, numbers)
        return tensors(sample_batch(self.faces, len(numbers), rng, self.look), device)

    @torch.no_grad()
    def look(self, crops: np.ndarray) -> np.ndarray:
        """Points (N 68 2) as the landmarker sees them now in crops (N H W 3) uint8."""
        device = next(self.model.parameters()).device
        return self.model.landmarker(pictures(crops).to(device))[0].double().cpu().numpy()

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generators: Generators) -> tuple[Tensor, dict]:
        """What finder and landmarker get wrong."""
        logits, geometry, points, is_face, maps = model(batch["canvases"], batch["crops"])
        near, real = batch["near"], batch["is_face"]
        way = mean_over(near, (geometry - batch["geometry"]).abs().sum(1))
        off = mean_over(real, wing(points - batch["points"]).mean((1, 2)))
        spread = mean_over(real, -(target_maps(batch["points"], grid(maps)) * maps).sum(2).mean(1))
        doubt = binary_cross_entropy_with_logits(is_face, real.float())
        landmarks = POINTS_WEIGHT * off + MAPS_WEIGHT * spread + IS_FACE_WEIGHT * doubt
        return focal_loss(logits, batch["heat"]) + GEOMETRY_WEIGHT * way + landmarks, {}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A PNG: crops with the points that were found; prints their mean error in per cent of the crop."""
        batch = self.batch(range(self.config.batch_size), next(model.parameters()).device)
        _, _, points, _, _ = model(batch["canvases"], batch["crops"])
        real = batch["is_face"]
        error = (points - batch["points"]).norm(dim=-1)[real].mean().item()
        print(f"landmarks off by {100 * error:.2f} % of the crop")
        crops = ((batch["crops"][real].permute(0, 2, 3, 1) + 1) * 127.5).byte().cpu().numpy()
        sheet = [dotted(crop, where) for crop, where in zip(crops, points[real].cpu().numpy(), strict=True)]
        Image.fromarray(np.concatenate(sheet[:8], axis=1)).save(path.with_suffix(".png"))

    def save(self, model: nn.Module, folder: Path) -> None:
        """face.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "face.safetensors")


def tensors(batch: FaceBatch, device: torch.device) -> dict[str, Tensor]:
    """The fields of a batch as tensors; pictures become (N 3 H W) in [-1, 1]."""
    found = {name: torch.from_numpy(value).to(device) for name, value in vars(batch).items()}
    return found | {name: pictures(getattr(batch, name)).to(device) for name in ("canvases", "crops")}


def pictures(images: np.ndarray) -> Tensor:
    """(N H W 3) uint8 -> (N 3 H W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """CenterNet, eq. 1, per face: cells with heat 1 are centres, the cells around count less as misses."""
    share = logits.sigmoid()
    hits = (heat == 1) * (1 - share) ** 2 * -logsigmoid(logits)
    misses = (heat < 1) * (1 - heat) ** 4 * share**2 * -logsigmoid(-logits)
    return (hits.sum() + misses.sum()) / (heat == 1).sum().clamp(min=1)


def mean_over(mask: Tensor, values: Tensor) -> Tensor:
    """The mean where the mask (...) is set, 0 where it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def target_maps(points: Tensor, places: Tensor) -> Tensor:
    """(N 68 P): Gaussians around the points (N 68 2) over the places (P 2), each summing to 1."""
    distance = (points[:, :, None] - places).square().sum(-1)
    return (-0.5 * distance / MAP_SIGMA**2).softmax(-1)


def wing(error: Tensor, width: float = 0.1, curve: float = 0.02) -> Tensor:
    """The wing loss (arXiv 1711.06753): small errors still pull."""
    size = error.abs()
    step = width - width * np.log(1 + width / curve)
    return torch.where(size < width, width * torch.log1p(size / curve), size - step)


def dotted(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The crop at twice its size with its points drawn in."""
    large = cv2.resize(crop, None, fx=2, fy=2)
    for x, y in points * len(large):
        cv2.circle(large, (round(float(x)), round(float(y))), 1, (0, 255, 0), -1)
    return large


PART_POINTS_WEIGHT, PART_MAPS_WEIGHT, COVERED_WEIGHT = 10.0, 0.5, 0.5


class PartTask(Task):
    """Mouths or eyes of labelled faces, some of them covered."""

    splittable = False

    def __init__(self, config: Config):
        self.config, self.name = config, config.model.get("part")
        if self.name not in PARTS:
            raise InputError(f"model.part={self.name}: choose {' or '.join(PARTS)}")
        self.part = PARTS[self.name]
        self.faces = load_looks(config.data)
        self.model = self.part.net()

    def batch(self, numbers: range, device: torch.device) -> dict[str, Tensor]:
        """A PartBatch as tensors, its crops (N 3 S S) in [-1, 1]."""
        batch = sample_parts(self.faces, self.part, len(numbers), chance(self.config.seed, numbers))
        tensors = {name: torch.from_numpy(value).to(device) for name, value in vars(batch).items()}
        return tensors | {"crops": pictures(batch.crops).to(device)}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generators: Generators) -> tuple[Tensor, dict]:
        """How far the points are off, how wide their maps spread, and whether the part is covered."""
        points, covered, maps = model(batch["crops"])
        known = batch["known"]
        error = points - batch["points"]
        shift = (error * known[..., None]).sum(1, keepdim=True) / known[..., None].sum(1, keepdim=True)
        off = mean_over(known, (wing(error) + wing(error - shift)).mean(2))  # the shape counts beside the place
        spread = mean_over(known, -(target_maps(batch["points"], grid(maps)) * maps).sum(2))
        doubt = binary_cross_entropy_with_logits(covered, batch["covered"].float())
        return PART_POINTS_WEIGHT * off + PART_MAPS_WEIGHT * spread + COVERED_WEIGHT * doubt, {}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A PNG: crops with the points that were found; prints their mean error in per cent of the crop, and how often
        the model knows whether the part is covered."""
        batch = self.batch(range(self.config.batch_size), next(model.parameters()).device)
        points, covered, _ = model(batch["crops"])
        error = mean_over(batch["known"], (points - batch["points"]).norm(dim=-1)).item()
        right = ((covered > 0) == batch["covered"]).float().mean().item()
        print(f"points off by {100 * error:.2f} % of the crop, covered told in {right:.0%}")
        crops = ((batch["crops"].permute(0, 2, 3, 1) + 1) * 127.5).byte().cpu().numpy()
        sheet = [dotted(crop, where) for crop, where in zip(crops, points.cpu().numpy(), strict=True)]
        Image.fromarray(np.concatenate(sheet[:8], axis=1)).save(path.with_suffix(".png"))

    def save(self, model: nn.Module, folder: Path) -> None:
        """mouth.safetensors or eye.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_half(model, folder / f"{self.name}.safetensors")
