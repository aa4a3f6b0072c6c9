"""Refine landmarks of the mouth and the eyes in a second, closer crop."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from emo.face.crop import Region, cut, region_of_landmarks, transform
from emo.face.detector import to_tensor
from emo.face.landmarks import gaze
from emo.face.networks import Landmarker, load_half
from emo.face.pose import head_rotations

PART_SIZE = 64  # pixels of a part's crop
WEIGHTS = Path(__file__).parents[1] / "weights"
WIDTHS = (16, 32, 40, 56)
LIPS = tuple(range(48, 68))
LIDS = ((37, 38, 40, 41), (44, 43, 47, 46))  # without the corners: the square hangs on them


@dataclass(frozen=True)
class Part:
    """What one of the two networks looks at; all its places in a face are seen as the first, others mirrored."""

    points: tuple[tuple[int, ...], ...]  # which of the 68 they are, for each place
    side: float  # of its crop, in sides of the face's square
    iris: bool  # whether its last point is one

    def net(self) -> Landmarker:
        """Its network: points, the logit that something covers it, maps."""
        return Landmarker(len(self.points[0]) + self.iris, WIDTHS)

    def squares(self, landmarks: np.ndarray) -> list[np.ndarray]:
        """landmarks (68 2) pixels -> (2 3) the unit square of each place's crop -> the picture."""
        face, found = region_of_landmarks(landmarks), []
        for place, chosen in enumerate(self.points):
            center = landmarks[list(chosen)].mean(0).tolist()
            matrix = Region(tuple(center), face.side * self.side, face.angle_radians).matrix(1)
            found.append(mirrored(matrix) if place else matrix)
        return found


MOUTH = Part((LIPS,), 0.6, False)
EYE = Part(((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46)), 0.28, True)
PARTS = {"mouth": MOUTH, "eye": EYE}


def mirrored(matrix: np.ndarray) -> np.ndarray:
    """The same square (2 3) seen from behind."""
    return np.column_stack([-matrix[:, 0], matrix[:, 1], matrix[:, 2] + matrix[:, 0]])


@dataclass
class Look:
    """What was seen of a face."""

    landmarks: np.ndarray  # (68 2) pixels
    gaze: np.ndarray  # (2,) of emo.face.landmarks
    covered: float  # 0..1, how surely something covers the mouth


class PartReader:
    """The packaged networks, or those of another folder."""

    def __init__(self, folder: Path = WEIGHTS):
        self.nets = {name: load_half(part.net(), folder / f"{name}.safetensors") for name, part in PARTS.items()}

    def look(self, image: np.ndarray, landmarks: np.ndarray) -> list[Look]:
        """landmarks (N 68 2) of the faces in (H W 3) uint8 -> with these for a start, what a close look shows."""
        if len(landmarks) == 0:
            return []
        (lips, covered), (eyes, _) = self._points("mouth", image, landmarks), self._points("eye", image, landmarks)
        angles = gaze(eyes, head_rotations(landmarks))
        refined = landmarks.copy()
        refined[:, LIPS] = lips[:, 0]
        refined[:, LIDS] = eyes[:, :, [1, 2, 4, 5]]
        return [Look(*seen) for seen in zip(refined, angles, covered[:, 0].tolist(), strict=True)]

    @torch.no_grad()
    def _points(self, name: str, image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N places K 2) in pixels, and (N places) in 0..1, how surely they are covered."""
        squares = [square for points in landmarks for square in PARTS[name].squares(points)]
        points, logits, _ = self.nets[name](to_tensor([cut(image, square, PART_SIZE) for square in squares]))
        placed = [transform(square, p) for square, p in zip(squares, points.double().numpy(), strict=True)]
        shape = len(landmarks), len(squares) // len(landmarks)
        return np.stack(placed).reshape(*shape, -1, 2), logits.sigmoid().numpy().reshape(shape)


@cache
def packaged_parts() -> PartReader:
    return PartReader()
