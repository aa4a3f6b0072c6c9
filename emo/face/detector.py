"""Detect the faces of a picture: two proposers suggest regions, the landmarker accepts or refuses each.

Images are (H W 3) uint8 RGB, boxes (x0, y0, x1, y1) and landmarks (68 2) iBUG points in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from emo.face.crop import Region, box_of_landmarks, crop_region, region_of_landmarks, transform_points
from emo.face.landmarks import MIRRORED_POINTS, NUM_LANDMARKS
from emo.face.networks import CELL_PIXELS, CROP_MARGIN, CROP_PIXELS, FaceNet
from emo.media.image import images_to_tensor

WEIGHTS = Path(__file__).parents[1] / "weights" / "face.safetensors"
DETECTION_PIXELS = 1024  # a larger picture is shrunk to this long side
FINDER_PIXELS = (96, 192, 384, 768)  # long sides at which regions are proposed; each finds faces of 1/8 to all of 128
MIN_HEAT, MAX_PROPOSALS = 0.15, 16  # the least score of a proposed region, and how many are verified
LANDMARKER_PASSES = 3  # times a region is verified, each time at the square of the landmarks before
HAAR_PIXELS, HAAR_SIDE = 480, 1.45  # long side for OpenCV's cascade; side of the region over that of its square


@dataclass(frozen=True)
class FaceThresholds:
    """What a region must show to count as a face.

    Where a face is searched for, entropy and mirror distance tell more than the score: without a face the landmarker
    hesitates. It hesitates at a face that turns away too, but there the score stays high.
    """

    min_score: float  # the landmarker's, 0..1
    max_entropy: float  # of its heatmaps, nats
    max_mirror_distance: float  # mean distance between the landmarks and those of the mirror image, sides of the crop


DETECTION_THRESHOLDS = FaceThresholds(0.98, 3.3, 0.022)
# Turned faces reach an entropy of 3.36 and a distance of 0.026; bottles, hands and profiles fall below the score.
TRACKING_THRESHOLDS = FaceThresholds(0.98, 3.45, 0.03)
# A face beside the one that is used is mentioned only where there is little doubt: hands, hair and stones that pass for
# faces have a distance of 0.019 or more, second faces 0.012 or less.
CERTAIN_MIRROR_DISTANCE = 0.015


@dataclass
class Face:
    """A face of a picture."""

    box: tuple[float, float, float, float]  # forehead to chin
    landmarks: np.ndarray  # (68 2) float32
    score: float  # 0..1
    mirror_distance: float = 0.0  # see FaceThresholds

    @property
    def region(self) -> Region:
        """The square of the face."""
        return region_of_landmarks(self.landmarks)

    @property
    def is_certain(self) -> bool:
        """Whether there is little doubt that it is a face."""
        return self.mirror_distance <= CERTAIN_MIRROR_DISTANCE


class LocatedLandmarks(NamedTuple):
    """What the landmarker found in N regions."""

    landmarks: np.ndarray  # (N 68 2) pixels
    scores: np.ndarray  # (N,) 0..1
    accepted: np.ndarray  # (N,) bool: whether it is a face by the thresholds
    mirror_distances: np.ndarray  # (N,)


class FaceDetector:
    """Detects faces with the packaged networks, or those of another file.

    Raises:
        RuntimeError: The file holds weights of other networks.
    """

    def __init__(self, weights: Path = WEIGHTS):
        self.net = FaceNet.load(weights)
        self.haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    @torch.no_grad()
    def detect(self, image: np.ndarray, exclude: Sequence[Region] = ()) -> list[Face]:
        """Detect the faces of a picture.

        Args:
            image: (H W 3) uint8.
            exclude: Regions of faces that are known already; they are not verified again.

        Returns:
            The faces, the largest first; empty where there is none.
        """
        small = resize_long_side(image, DETECTION_PIXELS, enlarge=False)
        scale = np.array(image.shape[1::-1]) / small.shape[1::-1]
        proposals = self._propose(small) + self._run_cascade(small)
        proposals.sort(key=lambda proposal: -proposal[0])
        known = [Region(tuple(np.divide(r.center, scale)), r.side / scale[0], r.angle_radians) for r in exclude]
        regions = suppress_duplicates([region for _, region in proposals if not overlaps_any(region, known)])
        faces = self._verify(small, regions[:MAX_PROPOSALS], scale)
        kept = suppress_duplicates([face.region for face in faces])
        faces = sorted((face for face in faces if face.region in kept), key=lambda face: -face.region.side)
        faces = [face for i, face in enumerate(faces) if not any(lies_on_face(face, larger) for larger in faces[:i])]
        return [face for face in faces if not overlaps_any(face.region, exclude)]

    def _propose(self, image: np.ndarray) -> list[tuple[float, Region]]:
        """Score and regions of the proposal network at all scales."""
        proposals = []
        for pixels in FINDER_PIXELS:
            if pixels <= max(FINDER_PIXELS[0], 1.5 * max(image.shape[:2])):
                scaled = resize_long_side(image, pixels)
                scale = image.shape[1] / scaled.shape[1]
                heat, geometry = self.net.finder(images_to_tensor(pad_to_cells(scaled)[None]))
                proposals += heatmap_peaks(heat[0].sigmoid(), geometry[0], CELL_PIXELS * scale)
        return proposals

    def _run_cascade(self, image: np.ndarray) -> list[tuple[float, Region]]:
        """Frontal faces of OpenCV's Haar cascade, with the least score that is verified."""
        scaled = resize_long_side(image, HAAR_PIXELS)
        scale = image.shape[1] / scaled.shape[1]
        squares = self.haar.detectMultiScale(cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY), 1.1, 3)
        return [
            (MIN_HEAT, Region(((x + side / 2) * scale, (y + side / 2) * scale), side * scale * HAAR_SIDE))
            for x, y, side, _ in np.array(squares, dtype=float).reshape(-1, 4).tolist()
        ]

    def _verify(self, image: np.ndarray, regions: list[Region], scale: np.ndarray) -> list[Face]:
        """The regions that show a face, the best first; coordinates are multiplied by `scale` (2,)."""
        found = self.locate_landmarks(image, regions, LANDMARKER_PASSES, DETECTION_THRESHOLDS)
        faces = []
        for i in np.flatnonzero(found.accepted):
            landmarks = found.landmarks[i] * scale
            box, score = box_of_landmarks(landmarks), float(found.scores[i])
            faces.append(Face(box, np.float32(landmarks), score, float(found.mirror_distances[i])))
        return sorted(faces, key=lambda face: -face.score)

    @torch.no_grad()
    def locate_landmarks(
        self, image: np.ndarray, regions: list[Region], passes: int, thresholds: FaceThresholds
    ) -> LocatedLandmarks:
        """Locate the landmarks in N regions.

        Args:
            image: (H W 3) uint8.
            regions: Where faces are expected.
            passes: Number of passes; each after the first uses the square of the landmarks before.
            thresholds: What the last pass must show.

        Returns:
            Landmarks of the N regions with their scores.
        """
        found = LocatedLandmarks(np.zeros((0, NUM_LANDMARKS, 2)), np.zeros(0), np.zeros(0, bool), np.zeros(0))
        for _ in range(passes if regions else 0):
            squares = [Region(r.center, r.side * CROP_MARGIN, r.angle_radians) for r in regions]
            crops = np.stack([crop_region(image, square, CROP_PIXELS) for square in squares])
            found = self._run_landmarker(crops, thresholds)
            pairs = zip(squares, found.landmarks, strict=True)
            found = found._replace(landmarks=np.stack([transform_points(s.matrix(1), points) for s, points in pairs]))
            regions = [region_of_landmarks(points) for points in found.landmarks]
        return found

    def _run_landmarker(self, crops: np.ndarray, thresholds: FaceThresholds) -> LocatedLandmarks:
        """Crops (N 96 96 3) uint8 and their mirror images -> the mean of both; landmarks in the unit square."""
        pictures = images_to_tensor(crops)
        points, logits, maps = self.net.landmarker(torch.cat([pictures, pictures.flip(-1)]))
        points, mirrored = points.numpy().astype(np.float64).reshape(2, -1, NUM_LANDMARKS, 2)
        mirrored = (mirrored * [-1, 1] + [1, 0])[:, MIRRORED_POINTS]
        distances = np.linalg.norm(points - mirrored, axis=-1).mean(1)
        scores = logits.sigmoid().reshape(2, -1).mean(0).numpy()
        entropies = -(maps.exp() * maps).sum(-1).mean(1).reshape(2, -1).mean(0).numpy()
        accepted = (scores >= thresholds.min_score) & (entropies <= thresholds.max_entropy)
        accepted &= distances <= thresholds.max_mirror_distance
        return LocatedLandmarks((points + mirrored) / 2, scores, accepted, distances)


def heatmap_peaks(heat: Tensor, geometry: Tensor, cell_pixels: float) -> list[tuple[float, Region]]:
    """Local maxima of the proposal network's map.

    Args:
        heat: (G K) probabilities.
        geometry: (3 G K) of `FaceFinder.forward`.
        cell_pixels: Side of a cell in pixels of the picture.

    Returns:
        Score and region of each maximum of MIN_HEAT or more.
    """
    highest = max_pool2d(heat[None], 3, stride=1, padding=1)[0]
    rows, columns = torch.nonzero((heat == highest) & (heat >= MIN_HEAT), as_tuple=True)
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        dx, dy, log_side = geometry[:, row, column].tolist()
        center = (column + 0.5 + dx) * cell_pixels, (row + 0.5 + dy) * cell_pixels
        found.append((heat[row, column].item(), Region(center, float(np.exp(log_side)) * cell_pixels)))
    return found


def suppress_duplicates(regions: list[Region]) -> list[Region]:
    """Drop the regions that match an earlier one (non-maximum suppression)."""
    kept: list[Region] = []
    for region in regions:
        if not any(regions_match(region, other) for other in kept):
            kept.append(region)
    return kept


def regions_match(one: Region, other: Region) -> bool:
    """Check whether two regions lie at about the same place and are about as large.

    Args:
        one: A region, pixels.
        other: Another region, pixels.

    Returns:
        True where they match.
    """
    small, large = sorted([one.side, other.side])
    return small > 0.6 * large and np.hypot(*np.subtract(one.center, other.center)) < 0.4 * large


def overlaps_any(region: Region, others: Sequence[Region]) -> bool:
    """Check whether a region matches one of the others or lies in the middle of a larger one, as an eye does.

    Args:
        region: A region, pixels.
        others: Other regions, pixels.

    Returns:
        True where it does.
    """
    return any(regions_match(region, other) or lies_inside(region, other) for other in others)


def lies_inside(region: Region, larger: Region) -> bool:
    """Check whether the center of a region lies in the middle of a larger one.

    Args:
        region: A region, pixels.
        larger: Another region, pixels.

    Returns:
        True where it does; False where `larger` is not larger.
    """
    distance = np.hypot(*np.subtract(region.center, larger.center))
    return region.side < larger.side and distance < 0.4 * larger.side


def lies_on_face(face: Face, larger: Face) -> bool:
    """Check whether the center of a face lies in the box of another: an eye or an ear taken for a face.

    Args:
        face: A detected face.
        larger: Another detected face.

    Returns:
        True where it does.
    """
    x, y = face.region.center
    x0, y0, x1, y1 = larger.box
    return x0 < x < x1 and y0 < y < y1


def resize_long_side(image: np.ndarray, pixels: int, enlarge: bool = True) -> np.ndarray:
    """Scale an image to a given long side.

    Args:
        image: (H W 3) uint8.
        pixels: Length of the longer side of the result.
        enlarge: Enlarge smaller images too; otherwise they are returned unchanged.

    Returns:
        The scaled image, uint8.
    """
    scale = pixels / max(image.shape[:2])
    if scale > 1 and not enlarge:
        return image
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def pad_to_cells(image: np.ndarray) -> np.ndarray:
    """Extend the right and lower border, so that both sides are multiples of CELL_PIXELS.

    Args:
        image: (H W 3) uint8.

    Returns:
        (H' W' 3) uint8.
    """
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, -height % CELL_PIXELS, 0, -width % CELL_PIXELS, cv2.BORDER_REPLICATE)
