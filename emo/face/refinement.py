"""Refine the landmarks of mouth and eyes in closer crops; tell gaze and whether the mouth is occluded."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch

from emo.face.crop import Region, region_of_landmarks, transform_points, warp_square
from emo.face.landmarks import LIP_POINTS, NUM_LANDMARKS, estimate_gaze
from emo.face.networks import Landmarker, load_half_precision
from emo.face.pose import head_rotations
from emo.media.image import images_to_tensor

PART_PIXELS = 64  # side of a part's crop
WEIGHTS = Path(__file__).parents[1] / "weights"
WIDTHS = (16, 32, 40, 56)  # channels of the networks
LID_POINTS = ((37, 38, 40, 41), (44, 43, 47, 46))  # of the left and the right eye, without the corners, which stay


@dataclass(frozen=True)
class FacePart:
    """A part of the face that has a landmark network of its own: the mouth, or the eyes.

    Where a face has the part twice, the second is mirrored, so that one network fits both.
    """

    points: tuple[tuple[int, ...], ...]  # for each place in the face: its landmarks
    side: float  # of the crop, in sides of the face's square
    has_iris: bool  # whether the network locates an iris after these points

    def build_network(self) -> Landmarker:
        """Return the part's network without weights: points, the logit that something occludes the part, heatmaps."""
        return Landmarker(len(self.points[0]) + self.has_iris, WIDTHS)

    def squares(self, landmarks: np.ndarray) -> list[np.ndarray]:
        """Place the crop of each part: landmarks (68 2) pixels -> maps (2 3) of the crop's unit square into the
        picture.
        """
        face, found = region_of_landmarks(landmarks), []
        for place, points in enumerate(self.points):
            center = landmarks[list(points)].mean(0).tolist()
            matrix = Region(tuple(center), face.side * self.side, face.angle_radians).matrix(1)
            found.append(mirror_square(matrix) if place else matrix)
        return found


MOUTH = FacePart((tuple(range(NUM_LANDMARKS)[LIP_POINTS]),), 0.6, False)
EYE = FacePart(((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46)), 0.28, True)
FACE_PARTS = {"mouth": MOUTH, "eye": EYE}


def mirror_square(matrix: np.ndarray) -> np.ndarray:
    """Return the map (2 3) of the same square with left and right exchanged."""
    return np.column_stack([-matrix[:, 0], matrix[:, 1], matrix[:, 2] + matrix[:, 0]])


@dataclass
class FaceDetails:
    """A face's refined landmarks and what its closer crops show."""

    landmarks: np.ndarray  # (68 2) pixels
    gaze: np.ndarray  # (2,) radians, of emo.face.landmarks.estimate_gaze
    mouth_occlusion: float  # 0..1, the probability that something occludes the mouth
    irises: np.ndarray = field(default_factory=lambda: np.full((2, 2), np.nan))  # pixels, the picture's left eye first


class LandmarkRefiner:
    """Refines landmarks with the packaged networks, or those of another folder (mouth.safetensors, eye.safetensors).

    Raises:
        RuntimeError: The files hold weights of other networks.
    """

    def __init__(self, folder: Path = WEIGHTS):
        self.nets = {
            name: load_half_precision(part.build_network(), folder / f"{name}.safetensors")
            for name, part in FACE_PARTS.items()
        }

    def refine(self, image: np.ndarray, landmarks: np.ndarray) -> list[FaceDetails]:
        """Refine the landmarks of N faces.

        Args:
            image: (H W 3) uint8 RGB.
            landmarks: (N 68 2) pixels, of the detector.

        Returns:
            Refined landmarks, gaze, mouth occlusion and irises of each face.
        """
        if len(landmarks) == 0:
            return []
        lips, occlusion = self._locate("mouth", image, landmarks)
        eyes, _ = self._locate("eye", image, landmarks)
        angles = estimate_gaze(eyes, head_rotations(landmarks))
        refined = landmarks.copy()
        refined[:, LIP_POINTS] = lips[:, 0]
        refined[:, LID_POINTS] = eyes[:, :, [1, 2, 4, 5]]
        values = zip(refined, angles, occlusion[:, 0].tolist(), eyes[:, :, 6], strict=True)
        return [FaceDetails(*one) for one in values]

    @torch.no_grad()
    def _locate(self, name: str, image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A part's points (N places K 2) in pixels, and the probability (N places) that it is occluded."""
        squares = [square for points in landmarks for square in FACE_PARTS[name].squares(points)]
        crops = np.stack([warp_square(image, square, PART_PIXELS) for square in squares])
        points, logits, _ = self.nets[name](images_to_tensor(crops))
        placed = [transform_points(square, p) for square, p in zip(squares, points.double().numpy(), strict=True)]
        shape = len(landmarks), len(squares) // len(landmarks)
        return np.stack(placed).reshape(*shape, -1, 2), logits.sigmoid().numpy().reshape(shape)


@cache
def load_landmark_refiner() -> LandmarkRefiner:
    """Return the packaged networks, loaded once a process."""
    return LandmarkRefiner()
