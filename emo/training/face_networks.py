"""The training of the face detector with its landmark network, and of the landmark refiners of mouth and eyes."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from emo.core.config import Config
from emo.core.errors import InputError
from emo.data.face_samples import FaceBatch, draw_face_batch
from emo.data.labeled_faces import load_faces
from emo.data.part_samples import PartBatch, draw_part_batch, load_part_faces
from emo.face.networks import FaceNet, heatmap_grid, save_half_precision
from emo.face.refinement import FACE_PARTS, FacePart
from emo.media.image import images_to_tensor, tensor_to_images
from emo.training.distributed import SampleGenerators
from emo.training.task import Task, make_batch_rng

GEOMETRY_WEIGHT, IS_FACE_WEIGHT, OCCLUDED_WEIGHT = 0.5, 1.0, 0.5
POINTS_WEIGHT, MAPS_WEIGHT = 10.0, 0.5
MAP_SIGMA = 0.05  # of the Gaussians in target maps, in sides of the crop
WING_WIDTH, WING_CURVATURE = 0.1, 0.02  # of the wing loss, in sides of the crop
SHOWN_CROPS = 8


class FaceDetectorTask(Task):
    """Trains FaceNet on labeled faces of images and videos, pasted on synthetic backgrounds."""

    model_class = FaceNet
    model: FaceNet
    splittable_batch = False

    def __init__(self, config: Config):
        """Load the labeled faces.

        Raises:
            InputError: There are none.
        """
        self.config = config
        self.faces = load_faces(config.data.images, config.data.labels, config.data.hold_out)
        self.model = FaceNet()

    def make_batch(self, numbers: range, device: torch.device) -> dict[str, Tensor]:
        """Make a batch of canvases and crops of faces.

        Args:
            numbers: Sample numbers of the run; the first one seeds the draw.
            device: Where the tensors go.

        Returns:
            The fields of a FaceBatch by name, images (N 3 H W) in [-1, 1].
        """
        rng = make_batch_rng(self.config.seed, numbers)
        batch = draw_face_batch(self.faces, len(numbers), rng, self.predict_landmarks)
        return batch_to_tensors(batch, ("canvases", "crops"), device)

    @torch.no_grad()
    def predict_landmarks(self, crops: np.ndarray) -> np.ndarray:
        """Crops (N H W 3) uint8 -> landmarks (N 68 2) by the network as it is now."""
        device = next(self.model.parameters()).device
        return self.model.landmarker(images_to_tensor(crops).to(device))[0].double().cpu().numpy()

    def compute_loss(
        self, model: nn.Module, batch: dict[str, Tensor], generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of face centers, their geometry, landmarks, heatmaps, and of whether a crop shows a face.

        Args:
            model: The face network.
            batch: What `make_batch` returns.
            generators: Not used.

        Returns:
            The loss () and no values to log.
        """
        logits, geometry, points, is_face, maps = model(batch["canvases"], batch["crops"])
        real = batch["is_face"]
        geometry_error = (geometry - batch["geometry"]).abs().sum(1)
        geometry_loss = compute_masked_mean(batch["geometry_mask"], geometry_error)
        points_loss = compute_masked_mean(real, compute_wing_loss(points - batch["points"]).mean((1, 2)))
        targets = make_target_maps(batch["points"], heatmap_grid(maps))
        maps_loss = compute_masked_mean(real, -(targets * maps).sum(2).mean(1))
        is_face_loss = binary_cross_entropy_with_logits(is_face, real.float())
        landmark_loss = POINTS_WEIGHT * points_loss + MAPS_WEIGHT * maps_loss + IS_FACE_WEIGHT * is_face_loss
        return compute_focal_loss(logits, batch["heat"]) + GEOMETRY_WEIGHT * geometry_loss + landmark_loss, {}

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write a PNG of crops with predicted landmarks, and print their mean error in percent of the crop's side.

        Args:
            model: The face network, in evaluation mode.
            path: The file without its suffix.
        """
        batch = self.make_batch(range(self.config.batch_size), next(model.parameters()).device)
        _, _, points, _, _ = model(batch["canvases"], batch["crops"])
        real = batch["is_face"]
        error = (points - batch["points"]).norm(dim=-1)[real].mean().item()
        print(f"landmark error {100 * error:.2f} % of the crop")
        save_point_sheet(batch["crops"][real], points[real], path.with_suffix(".png"))

    def save_model(self, model: FaceNet, folder: Path) -> None:
        """Write face.safetensors.

        Args:
            model: The trained network.
            folder: Where the file is written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "face.safetensors")


def choose_part(part: str) -> FacePart:
    """Return the face part of a name.

    Raises:
        InputError: For an unknown one.
    """
    if part not in FACE_PARTS:
        raise InputError(f"model.part={part}: choose {' or '.join(FACE_PARTS)}")
    return FACE_PARTS[part]


class LandmarkRefinerTask(Task):
    """Trains the refiner of `model.part` on mouths or eyes of labeled faces, some of them occluded."""

    model_class = staticmethod(choose_part)
    splittable_batch = False

    def __init__(self, config: Config):
        """Load the labeled faces.

        Raises:
            InputError: For an unknown part, and if there are no faces.
        """
        self.config, self.name = config, config.model.get("part")
        self.part = choose_part(self.name)
        self.faces = load_part_faces(config.data)
        self.model = self.part.build_network()

    def make_batch(self, numbers: range, device: torch.device) -> dict[str, Tensor]:
        """Make a batch of crops of a mouth or an eye.

        Args:
            numbers: Sample numbers of the run; the first one seeds the draw.
            device: Where the tensors go.

        Returns:
            The fields of a PartBatch by name, crops (N 3 S S) in [-1, 1].
        """
        batch = draw_part_batch(self.faces, self.part, len(numbers), make_batch_rng(self.config.seed, numbers))
        return batch_to_tensors(batch, ("crops",), device)

    def compute_loss(
        self, model: nn.Module, batch: dict[str, Tensor], generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of the points, by place and by shape, of their heatmaps, and of the occlusion flag.

        Args:
            model: The refiner.
            batch: What `make_batch` returns.
            generators: Not used.

        Returns:
            The loss () and no values to log.
        """
        points, occluded, maps = model(batch["crops"])
        valid = batch["valid"]
        error = points - batch["points"]
        shift = (error * valid[..., None]).sum(1, keepdim=True) / valid[..., None].sum(1, keepdim=True)
        wing = compute_wing_loss(error) + compute_wing_loss(error - shift)  # of the place, and of the shape alone
        points_loss = compute_masked_mean(valid, wing.mean(2))
        targets = make_target_maps(batch["points"], heatmap_grid(maps))
        maps_loss = compute_masked_mean(valid, -(targets * maps).sum(2))
        occluded_loss = binary_cross_entropy_with_logits(occluded, batch["occluded"].float())
        return POINTS_WEIGHT * points_loss + MAPS_WEIGHT * maps_loss + OCCLUDED_WEIGHT * occluded_loss, {}

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write a PNG of crops with predicted points, and print their error and the accuracy of the occlusion flag.

        Args:
            model: The refiner, in evaluation mode.
            path: The file without its suffix.
        """
        batch = self.make_batch(range(self.config.batch_size), next(model.parameters()).device)
        points, occluded, _ = model(batch["crops"])
        error = compute_masked_mean(batch["valid"], (points - batch["points"]).norm(dim=-1)).item()
        accuracy = ((occluded > 0) == batch["occluded"]).float().mean().item()
        print(f"landmark error {100 * error:.2f} % of the crop, occlusion accuracy {accuracy:.0%}")
        save_point_sheet(batch["crops"], points, path.with_suffix(".png"))

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write mouth.safetensors or eye.safetensors.

        Args:
            model: The trained refiner.
            folder: Where the file is written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        save_half_precision(model, folder / f"{self.name}.safetensors")


def batch_to_tensors(batch: FaceBatch | PartBatch, images: tuple[str, ...], device: torch.device) -> dict[str, Tensor]:
    """Convert the fields of a batch to tensors.

    Args:
        batch: The batch, of arrays.
        images: Fields (N H W 3) uint8 that become (N 3 H W) in [-1, 1].
        device: Where the tensors go.

    Returns:
        Tensors by the fields' names.
    """
    tensors = {name: torch.from_numpy(value).to(device) for name, value in vars(batch).items()}
    return tensors | {name: images_to_tensor(getattr(batch, name)).to(device) for name in images}


def compute_focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Compute the focal loss of CenterNet (arXiv 1904.07850, eq. 1), per face.

    Args:
        logits: Logit of each cell, high where it is the center of a face.
        heat: 1 at centers, falling to 0 around them; misses count less where it is high.

    Returns:
        The loss ().
    """
    probability = logits.sigmoid()
    hits = (heat == 1) * (1 - probability) ** 2 * -logsigmoid(logits)
    misses = (heat < 1) * (1 - heat) ** 4 * probability**2 * -logsigmoid(-logits)
    return (hits.sum() + misses.sum()) / (heat == 1).sum().clamp(min=1)


def compute_wing_loss(error: Tensor) -> Tensor:
    """Compute the wing loss (arXiv 1711.06753): its gradient stays strong at small errors.

    Args:
        error: (...) of any shape.

    Returns:
        (...) loss of each element.
    """
    size = error.abs()
    offset = WING_WIDTH - WING_WIDTH * np.log(1 + WING_WIDTH / WING_CURVATURE)
    return torch.where(size < WING_WIDTH, WING_WIDTH * torch.log1p(size / WING_CURVATURE), size - offset)


def compute_masked_mean(mask: Tensor, values: Tensor) -> Tensor:
    """Return the mean of the values where the mask is set.

    Args:
        mask: Boolean tensor.
        values: Values, of the mask's shape.

    Returns:
        The mean (), 0 if the mask is set nowhere.
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)


def make_target_maps(points: Tensor, grid: Tensor) -> Tensor:
    """Make Gaussian heatmaps around points.

    Args:
        points: (N K 2) positions in the unit square.
        grid: (P 2) positions of the heatmap's cells.

    Returns:
        (N K P) heatmaps, each summing to 1.
    """
    distance = (points[:, :, None] - grid).square().sum(-1)
    return (-0.5 * distance / MAP_SIGMA**2).softmax(-1)


def save_point_sheet(crops: Tensor, points: Tensor, path: Path) -> None:
    """Write the first crops with their points as one PNG.

    Args:
        crops: (N 3 H W) in [-1, 1].
        points: (N K 2) positions in the unit square.
        path: The PNG.
    """
    pairs = zip(tensor_to_images(crops), points.cpu().numpy(), strict=True)
    sheet = [draw_points(crop, where) for crop, where in pairs]
    Image.fromarray(np.concatenate(sheet[:SHOWN_CROPS], axis=1)).save(path)


def draw_points(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw points in green on a crop of twice the size.

    Args:
        crop: (H H 3) uint8.
        points: (K 2) positions in the unit square.

    Returns:
        (2H 2H 3) uint8.
    """
    large = cv2.resize(crop, None, fx=2, fy=2)
    for x, y in points * len(large):
        cv2.circle(large, (round(float(x)), round(float(y))), 1, (0, 255, 0), -1)
    return large
