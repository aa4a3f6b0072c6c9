"""Select the face of a picture that is animated, and the square around it."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from emo.core.errors import InputError
from emo.face.crop import Region, full_region, region_of_box
from emo.face.detector import Face, FaceDetector

HINT = "give --face x0,y0,x1,y1 (forehead to chin, pixels) or --face full"


@dataclass
class Located:
    """A face to animate."""

    region: Region  # the square
    box: tuple[float, float, float, float]  # where the face may be, pixels of the picture
    others: int = 0  # faces that were passed over
    landmarks: np.ndarray | None = field(default=None, compare=False)  # (68 2) pixels; None: unknown


@cache
def packaged_detector() -> FaceDetector:
    return FaceDetector()


def locate(image: np.ndarray, face: tuple[float, float, float, float] | str | None, name: str = "portrait") -> Located:
    """image (H W 3) uint8; face: a box, "full" or None: the largest that is found.

    Raises InputError, with `name` in it, for no face or a box that is none.
    """
    height, width = image.shape[:2]
    if face == "full":
        return Located(full_region(height, width), (0.0, 0.0, float(width), float(height)))
    if face is not None:
        x0, y0, x1, y1 = face
        if not (x1 - x0 >= 8 and y1 - y0 >= 8 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
            raise InputError(f"--face {x0:g},{y0:g},{x1:g},{y1:g} is no box of {name} ({width} x {height} pixels)")
        known = near(image, face)
        return Located(region_of_box(face), face) if known is None else Located(known.region, face, 0, known.landmarks)
    faces = packaged_detector().detect(image)
    if not faces:
        raise InputError(f"no face found in {name}: {HINT}")
    return Located(faces[0].region, faces[0].box, len(faces) - 1, faces[0].landmarks)


def near(image: np.ndarray, box: tuple[float, float, float, float]) -> Face | None:
    """A found face that fills about this box: its landmarks know the roll and the scale better."""
    center, side = np.array([box[0] + box[2], box[1] + box[3]]) / 2, max(box[2] - box[0], box[3] - box[1])

    def fits(face: Face) -> bool:
        middle = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
        size = max(face.box[2] - face.box[0], face.box[3] - face.box[1])
        return np.hypot(*(middle - center)) < 0.2 * side and 0.75 < size / side < 1.33

    return next((face for face in packaged_detector().detect(image) if fits(face)), None)
