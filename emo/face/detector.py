"""Finds the faces of a picture: two proposers say where to look, the landmarker looks and has the last word.

Images are (H W 3) uint8 RGB, boxes (x0, y0, x1, y1) and landmarks (68 2) iBUG points in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from emo.face.crop import Region, box_of_landmarks, crop, region_of_landmarks, transform
from emo.face.networks import CELL, CROP_MARGIN, CROP_SIZE, MIRRORED, FaceNet

WEIGHTS = Path(__file__).parents[1] / "weights" / "face.safetensors"
LARGEST_PIXELS = 1024  # long side of the picture that is looked at
SCALES = (96, 192, 384, 768)  # long sides the finder sees; at each it knows faces of 1/8 to all of 128 pixels
LEAST_HEAT, MOST_PROPOSALS = 0.15, 16  # what is worth a look
LOOKS = 3  # times the landmarker looks, each time at the square its last look gave
HAAR_PIXELS, HAAR_SIDE = 480, 1.45  # long side for the cascade; the region's side over that of its square


@dataclass(frozen=True)
class Bar:
    """What a look must show to be a face's. Where a face is looked for the last two tell more than the first: on what
    is no face the landmarker wavers. It wavers on a face that turns away too, but there the score stays."""

    least_score: float
    most_entropy: float  # of its maps, nats
    most_doubt: float  # how far its mirror image's points lie from its own, in sides of the crop


FIND = Bar(0.98, 3.3, 0.022)
FOLLOW = Bar(0.98, 3.45, 0.03)  # turned faces reach 3.36 and 0.026; bottles, hands and profiles fall below the score


@dataclass
class Face:
    """A face of a picture."""

    box: tuple[float, float, float, float]  # forehead to chin
    landmarks: np.ndarray  # (68 2) float32
    score: float  # 0..1

    @property
    def region(self) -> Region:
        return region_of_landmarks(self.landmarks)


class FaceDetector:
    """The packaged networks, or those of another file."""

    def __init__(self, weights: Path = WEIGHTS):
        self.net = FaceNet.load(weights)
        self.haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    @torch.no_grad()
    def detect(self, image: np.ndarray, known: Sequence[Region] = ()) -> list[Face]:
        """The faces of (H W 3) uint8, the largest first; an empty list where there is none. known: of faces that are
        known already, and not looked at again."""
        small = fitted(image, LARGEST_PIXELS, enlarge=False)
        scale = np.array(image.shape[1::-1]) / small.shape[1::-1]
        proposals = self._find(small) + self._cascade(small)
        proposals.sort(key=lambda proposal: -proposal[0])
        here = [Region(tuple(np.divide(r.center, scale)), r.side / scale[0], r.angle_radians) for r in known]
        regions = apart([region for _, region in proposals if not taken(region, here)])[:MOST_PROPOSALS]
        faces = self._verify(small, regions, scale)
        kept = apart([face.region for face in faces])
        largest_first = sorted((face for face in faces if face.region in kept), key=lambda face: -face.region.side)
        new = [face for i, face in enumerate(largest_first) if not any(within(face, f) for f in largest_first[:i])]
        return [face for face in new if not taken(face.region, known)]

    def _find(self, image: np.ndarray) -> list[tuple[float, Region]]:
        """The finder's scores and regions at all scales."""
        proposals = []
        for pixels in SCALES:
            if pixels <= max(SCALES[0], 1.5 * max(image.shape[:2])):
                scaled = fitted(image, pixels)
                back = image.shape[1] / scaled.shape[1]
                heat, geometry = self.net.finder(to_tensor([padded(scaled)]))
                proposals += peaks(heat[0].sigmoid(), geometry[0], CELL * back)
        return proposals

    def _cascade(self, image: np.ndarray) -> list[tuple[float, Region]]:
        """OpenCV's frontal faces, scored as the least worth a look."""
        scaled = fitted(image, HAAR_PIXELS)
        back = image.shape[1] / scaled.shape[1]
        squares = self.haar.detectMultiScale(cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY), 1.1, 3)
        return [
            (LEAST_HEAT, Region(((x + side / 2) * back, (y + side / 2) * back), side * back * HAAR_SIDE))
            for x, y, side, _ in np.array(squares, dtype=float).reshape(-1, 4).tolist()
        ]

    def _verify(self, image: np.ndarray, regions: list[Region], scale: np.ndarray) -> list[Face]:
        """The regions that hold a face after LOOKS looks, best first; landmarks times `scale`."""
        landmarks, scores, sure = self.settle(image, regions, LOOKS, FIND)
        faces = [
            Face(box_of_landmarks(landmarks[i] * scale), np.float32(landmarks[i] * scale), float(scores[i]))
            for i in np.flatnonzero(sure)
        ]
        return sorted(faces, key=lambda face: -face.score)

    @torch.no_grad()
    def settle(
        self, image: np.ndarray, regions: list[Region], looks: int, bar: Bar
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What lies in N regions of (H W 3) uint8, each look at the square that the last one gave: landmarks
        (N 68 2) in pixels, scores (N,) in 0..1, and (N,) bool, whether it is a face."""
        landmarks, scores, sure = np.zeros((0, 68, 2)), np.zeros(0), np.zeros(0, bool)
        for _ in range(looks if regions else 0):
            squares = [Region(r.center, r.side * CROP_MARGIN, r.angle_radians) for r in regions]
            points, scores, sure = self._look([crop(image, square, CROP_SIZE) for square in squares], bar)
            landmarks = np.stack([transform(square.matrix(1), p) for square, p in zip(squares, points, strict=True)])
            regions = [region_of_landmarks(p) for p in landmarks]
        return landmarks, scores, sure

    def _look(self, crops: list[np.ndarray], bar: Bar) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (N 68 2) in the unit square, scores (N,), and (N,) bool, whether it is a face: of each crop and
        its mirror image together."""
        pictures = to_tensor(crops)
        points, logits, maps = self.net.landmarker(torch.cat([pictures, pictures.flip(-1)]))
        points, mirrored = points.numpy().astype(np.float64).reshape(2, -1, 68, 2)
        mirrored = (mirrored * [-1, 1] + [1, 0])[:, MIRRORED]
        doubt = np.linalg.norm(points - mirrored, axis=-1).mean(1)
        scores = logits.sigmoid().reshape(2, -1).mean(0).numpy()
        entropy = -(maps.exp() * maps).sum(-1).mean(1).reshape(2, -1).mean(0).numpy()
        sure = (scores >= bar.least_score) & (entropy <= bar.most_entropy) & (doubt <= bar.most_doubt)
        return (points + mirrored) / 2, scores, sure


def peaks(heat: Tensor, geometry: Tensor, cell_pixels: float) -> list[tuple[float, Region]]:
    """Local maxima of heat (G G) with their geometry (3 G G) -> scores and regions in pixels."""
    highest = max_pool2d(heat[None], 3, stride=1, padding=1)[0]
    rows, columns = torch.nonzero((heat == highest) & (heat >= LEAST_HEAT), as_tuple=True)
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        dx, dy, log_side = geometry[:, row, column].tolist()
        center = (column + 0.5 + dx) * cell_pixels, (row + 0.5 + dy) * cell_pixels
        found.append((heat[row, column].item(), Region(center, float(np.exp(log_side)) * cell_pixels)))
    return found


def apart(regions: list[Region]) -> list[Region]:
    """The regions without those that lie on an earlier one and are about as large."""
    kept: list[Region] = []
    for region in regions:
        if not any(same(region, other) for other in kept):
            kept.append(region)
    return kept


def same(one: Region, other: Region) -> bool:
    small, large = sorted([one.side, other.side])
    return small > 0.6 * large and np.hypot(*np.subtract(one.center, other.center)) < 0.4 * large


def taken(region: Region, known: Sequence[Region]) -> bool:
    """Whether a region is one of these, or lies in the middle of a larger one: an eye, or a part of the face."""
    return any(same(region, other) or inside(region, other) for other in known)


def inside(region: Region, larger: Region) -> bool:
    away = np.hypot(*np.subtract(region.center, larger.center))
    return region.side < larger.side and away < 0.4 * larger.side


def within(face: Face, larger: Face) -> bool:
    """Whether a face lies on another: an eye or an ear taken for one."""
    x, y = face.region.center
    x0, y0, x1, y1 = larger.box
    return x0 < x < x1 and y0 < y < y1


def fitted(image: np.ndarray, pixels: int, enlarge: bool = True) -> np.ndarray:
    """The image scaled to this long side."""
    scale = pixels / max(image.shape[:2])
    if scale > 1 and not enlarge:
        return image
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def padded(image: np.ndarray) -> np.ndarray:
    """The image with its right and lower border drawn out to whole cells."""
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, -height % CELL, 0, -width % CELL, cv2.BORDER_REPLICATE)


def to_tensor(images: list[np.ndarray]) -> Tensor:
    """uint8 (H W 3) each -> (N 3 H W) float in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
