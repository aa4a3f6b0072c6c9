"""Select the face of a picture that is animated, and the square around it."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from emo.core.errors import InputError
from emo.face.crop import Region, full_region, region_of_box
from emo.face.detector import Face, FaceDetector
from emo.face.refinement import load_landmark_refiner

Box = tuple[float, float, float, float]
MIN_BOX_PIXELS = 8  # side of a box that the user gives
OCCLUDED_PROBABILITY = 0.8  # from here on something lies over the mouth; see emo.preparation.filters
# An upright face has a mirror distance of 0.008 (median) to 0.012; of a face on its side or head, where one is found at
# all, 0.0145 or more. Above this, turned pictures are tried, and one whose face has less than half is taken.
DOUBTFUL_MIRROR_DISTANCE, TURN_RATIO = 0.012, 0.5
FIX = "give face=x0,y0,x1,y1 (forehead to chin, pixels) or face=full"


@dataclass
class SelectedFace:
    """A face to animate."""

    region: Region  # the square that is animated
    box: Box  # where the face may be, (x0, y0, x1, y1) pixels of the picture
    other_faces: int = 0  # number of further faces of the picture
    landmarks: np.ndarray | None = field(default=None, compare=False)  # (68 2) pixels; None: unknown


@cache
def load_face_detector() -> FaceDetector:
    """Return the packaged face detector, loaded once a process."""
    return FaceDetector()


def select_face(image: np.ndarray, face: Box | str | None, name: str = "image") -> SelectedFace:
    """Select the face to animate in an upright picture.

    Args:
        image: (H W 3) uint8 RGB.
        face: A box (x0, y0, x1, y1) in pixels from forehead to chin, "full" if the picture is a face crop, or None: the
            largest face that is detected.
        name: Name of the picture, for messages.

    Returns:
        The face and the square that is animated.

    Raises:
        InputError: No face is found, the face is turned, or the box lies outside of the picture.
    """
    height, width = image.shape[:2]
    if face == "full":
        return SelectedFace(full_region(height, width), (0.0, 0.0, float(width), float(height)))
    if face is not None:
        return _select_box(image, tuple(face), name)
    faces = load_face_detector().detect(image)
    if faces:
        return _select_largest(faces)
    turned = _find_turned_face(image, faces)
    if turned is not None:
        raise InputError(f"{name} shows its face turned: turn it by {turned[0]} degrees clockwise")
    raise InputError(f"no face found in {name}: {FIX}")


def select_upright_face(
    image: np.ndarray, face: Box | str | None, name: str = "image"
) -> tuple[np.ndarray, SelectedFace, int]:
    """Select the face to animate as `select_face` does; a picture on its side or head is turned.

    Args:
        image: (H W 3) uint8 RGB.
        face: As of `select_face`. Only for None the picture is turned.
        name: Name of the picture, for messages.

    Returns:
        The picture, upright; the face in it; by how many degrees the picture was turned clockwise: 0, 90, 180 or 270.

    Raises:
        InputError: As `select_face`.
    """
    if face is not None:
        return image, select_face(image, face, name), 0
    faces = load_face_detector().detect(image)
    if not faces or faces[0].mirror_distance > DOUBTFUL_MIRROR_DISTANCE:
        turned = _find_turned_face(image, faces)
        if turned is not None:
            degrees, image, selected = turned
            return image, selected, degrees
    if not faces:
        raise InputError(f"no face found in {name}: {FIX}")
    return image, _select_largest(faces), 0


def is_mouth_occluded(image: np.ndarray, face: SelectedFace) -> bool:
    """Check whether a mask, a hand or a microphone covers the mouth.

    Args:
        image: (H W 3) uint8 RGB.
        face: The selected face.

    Returns:
        True where the mouth is covered; False for a face without landmarks.
    """
    if face.landmarks is None:
        return False
    (details,) = load_landmark_refiner().refine(image, np.asarray(face.landmarks)[None])
    return details.mouth_occlusion >= OCCLUDED_PROBABILITY


def find_face_in_box(image: np.ndarray, box: Box) -> Face | None:
    """Find the detected face that fills a box, as its landmarks give roll and scale more exactly than the box.

    Args:
        image: (H W 3) uint8 RGB.
        box: (x0, y0, x1, y1), pixels.

    Returns:
        The face; None where no detected face fits the box.
    """
    center, side = np.array([box[0] + box[2], box[1] + box[3]]) / 2, max(box[2] - box[0], box[3] - box[1])

    def fits(face: Face) -> bool:
        middle = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
        size = max(face.box[2] - face.box[0], face.box[3] - face.box[1])
        return bool(np.hypot(*(middle - center)) < 0.2 * side and 0.75 < size / side < 1.33)

    return next((face for face in load_face_detector().detect(image) if fits(face)), None)


def _select_box(image: np.ndarray, box: Box, name: str) -> SelectedFace:
    """The face in a box of the user. Raises InputError for a box that is none of the picture."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    large = x1 - x0 >= MIN_BOX_PIXELS and y1 - y0 >= MIN_BOX_PIXELS
    if not (large and x0 < width and y0 < height and x1 > 0 and y1 > 0):
        raise InputError(f"face={x0:g},{y0:g},{x1:g},{y1:g} is not a box of {name} ({width} x {height} pixels)")
    found = find_face_in_box(image, box)
    if found is None:
        return SelectedFace(region_of_box(box), box)
    return SelectedFace(found.region, box, landmarks=found.landmarks)


def _select_largest(faces: list[Face]) -> SelectedFace:
    """The first of the faces, which are sorted by size; of the others only those that are certain are counted."""
    others = sum(face.is_certain for face in faces[1:])
    return SelectedFace(faces[0].region, faces[0].box, others, faces[0].landmarks)


def _find_turned_face(image: np.ndarray, upright: list[Face]) -> tuple[int, np.ndarray, SelectedFace] | None:
    """The turn after which a certain face is found, more certain than those of the upright picture.

    Returns:
        Degrees clockwise, the turned picture, its face; None where there is no such turn.
    """
    limit = TURN_RATIO * upright[0].mirror_distance if upright else np.inf
    found = []
    for turns in (1, 3, 2):
        turned = np.ascontiguousarray(np.rot90(image, -turns))
        faces = load_face_detector().detect(turned)
        if faces and faces[0].is_certain and faces[0].mirror_distance < limit:
            found.append((faces[0].mirror_distance, 90 * turns, turned, _select_largest(faces)))
    return min(found, key=lambda item: item[0])[1:] if found else None
