"""The training of a network that looks closely at a part of a face: `model.part` names it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from emo.config import Config
from emo.data.parts import load_looks, sample_parts
from emo.errors import InputError
from emo.face.network import grid, save_half
from emo.face.parts import PARTS
from emo.training.face import dotted, mean_over, pictures, target_maps, wing
from emo.training.generators import Generators
from emo.training.task import Task, chance

POINTS_WEIGHT, MAPS_WEIGHT, COVERED_WEIGHT = 10.0, 0.5, 0.5


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
        return POINTS_WEIGHT * off + MAPS_WEIGHT * spread + COVERED_WEIGHT * doubt, {}

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
