"""Fit a face model's pose, identity and expression to the 68 landmarks of a photograph or of a clip's frames.

Scaled orthographic camera; pose, then identity and expression by ridge regression, alternately, as in Bas et al.,
"Fitting a 3D Morphable Model to Edges", 2016, with Huber weights against wrong landmarks. B basis vectors, N points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from emo.core.errors import InputError
from emo.face.landmarks import eye_opening
from emo.synthetic.heads.face_model import FaceModel

CONTOUR = slice(0, 17)  # the outline of the jaw, which slides along the skin as the head turns
POSE_POINTS = [*range(17, 48)]  # brows, nose and eyes: not moved by speech
FITTED_EXPRESSIONS = (
    "mouth",
    "jaw",
    "brow",
    "eyeBlink",
    "eyeSquint",
    "eyeWide",
)  # prefixes of the expressions that landmarks determine
MIN_UNDER_EYE_RATIO = 0.5  # brightness under the eyes over that of the cheeks
MIN_EYE_RATIO = 0.335  # brightness of the eyes' white (90th percentile between the lids) over that of the cheeks
MAX_CLOSED_OPENING = 0.02  # over the face's height: lips that look wider open may show teeth
MAX_TEETH_RATIO = (
    1.225  # green over red of the brightest pixels between the lips, over that of the lips: teeth are white
)
MIN_WEIGHT, MAX_WEIGHT = -0.3, 1.0


class FitRejected(InputError):
    """A photograph can't be used.

    Attributes:
        reason: no_face, small, turned, bad_fit, open_mouth, closed_eyes or hidden_eyes.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class FitLimits:
    """Limits of usable photographs.

    Attributes:
        min_face_pixels: Height of the face, forehead to chin.
        max_yaw_radians: Rotation to either side.
        max_pitch_radians: Rotation up or down.
        max_error: Mean distance of the landmarks from the fit, over the face's height.
        max_opening: Gap between the inner lips, over the face's height; that of full closed lips is up to 0.03.
        min_eye_opening: Height over width of the eyes, as `emo.face.landmarks.eye_opening` measures it; the package's
            landmarks have 0.16 to 0.25 for closed eyes, 0.22 and more for narrow open ones.
    """

    min_face_pixels: float = 110.0
    max_yaw_radians: float = 0.44
    max_pitch_radians: float = 0.5
    max_error: float = 0.025
    max_opening: float = 0.032
    min_eye_opening: float = 0.222


@dataclass(frozen=True)
class Pose:
    """A scaled orthographic camera: picture = scale x rotation[:2] x vertex + translation.

    Attributes:
        scale: Picture units per model unit.
        rotation: (3 3) of the head.
        translation: (2,) picture units.
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """Vertices (V 3) -> (V 3): x and y in the picture, and depth at the same scale, larger farther away."""
        turned = self.scale * (vertices @ self.rotation.T.astype(vertices.dtype))
        turned[..., :2] += self.translation.astype(vertices.dtype)
        return turned


@dataclass(frozen=True)
class PhotoFit:
    """The fit of a photograph, in the landmarks' units.

    Attributes:
        identity: (I,) weights.
        expression: (E,) weights.
        pose: Camera and head.
        error: Mean distance between landmarks and projected vertices, contour left out, over the face's height.
        face_height: Forehead to chin.
    """

    identity: np.ndarray
    expression: np.ndarray
    pose: Pose
    error: float
    face_height: float

    @property
    def head_radians(self) -> np.ndarray:
        """(3,) yaw to the picture's left, pitch up, roll clockwise."""
        return angles_of_rotation(self.pose.rotation)


@dataclass(frozen=True)
class PhotoLandmarks:
    """Points of a face in pixels.

    Attributes:
        landmarks: (68 2) iBUG.
        irises: (2 2) centers, the picture's left one first.
    """

    landmarks: np.ndarray
    irises: np.ndarray


def rotation_of_angles(radians: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the rotation of a head.

    Args:
        radians: (3,) yaw to the picture's left, pitch up, roll clockwise.

    Returns:
        (3 3): roll x pitch x yaw; axes x right, y down, z away.
    """
    (sy, sp, sr), (cy, cp, cr) = np.sin(radians), np.cos(radians)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ pitch @ yaw


def angles_of_rotation(rotation: np.ndarray) -> np.ndarray:
    """Return the inverse of `rotation_of_angles`: (... 3 3) -> (... 3) radians."""
    yaw = np.arctan2(-rotation[..., 2, 0], rotation[..., 2, 2])
    pitch = np.arcsin((-rotation[..., 2, 1]).clip(-1, 1))
    roll = np.arctan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    return np.stack([yaw, pitch, roll], -1)


def fit_pose(vertices: np.ndarray, landmarks: np.ndarray, weights: np.ndarray) -> Pose:
    """Fit the camera: the affine one by weighted least squares, then the nearest rotation.

    Args:
        vertices: (N 3).
        landmarks: (N 2).
        weights: (N,)

    Returns:
        The pose: scale, rotation and translation.
    """
    center, middle = np.average(vertices, 0, weights), np.average(landmarks, 0, weights)
    root = np.sqrt(weights)[:, None]
    affine = np.linalg.lstsq((vertices - center) * root, (landmarks - middle) * root, rcond=None)[0].T
    left, sizes, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.concatenate([rows, np.cross(rows[0], rows[1])[None]])
    scale = float(sizes.mean())
    return Pose(scale, rotation, middle - scale * rows @ center)


def fit_landmarks(landmarks: np.ndarray, model: FaceModel, rounds: int = 12) -> PhotoFit:
    """Fit one face.

    Args:
        landmarks: (68 2) pixels.
        model: The face model.
        rounds: Alternations of pose and shape.

    Returns:
        The fit, in pixels.
    """
    landmarks = landmarks.astype(np.float64)
    height = face_height(landmarks)
    free = free_expressions(model)
    identities = model.identity[:, model.landmarks].astype(np.float64)
    expressions = model.expression[free][:, model.landmarks].astype(np.float64)
    basis, neutral = np.concatenate([identities, expressions]), model.neutral[model.landmarks].astype(np.float64)
    prior = np.concatenate([np.full(len(identities), 0.6), np.full(len(free), 0.6)]) * 2 / 512 * 1.0
    base_weights, weights = landmark_weights(), landmark_weights()
    unit = model_unit(model)
    lower, upper = np.full(len(basis), -3.0), np.full(len(basis), 3.0)
    lower[len(identities) :], upper[len(identities) :] = MIN_WEIGHT, MAX_WEIGHT
    coefficients = np.zeros(len(basis))
    pose = fit_pose(neutral, landmarks, weights)
    for _ in range(rounds):
        shape = neutral + np.tensordot(coefficients, basis, 1)
        pose = fit_pose(shape, landmarks, weights)
        coefficients = solve_shape(neutral, basis, pose, landmarks, weights, prior * 512 * unit**2, lower, upper)
        distances = np.linalg.norm(
            pose.project(neutral + np.tensordot(coefficients, basis, 1))[:, :2] - landmarks, axis=1
        )
        bound = 1.5 * max(float(np.median(distances[17:])), 0.004 * height)
        weights = base_weights * np.minimum(1, bound / np.maximum(distances, 1e-9))
    shape = neutral + np.tensordot(coefficients, basis, 1)
    error = float(np.linalg.norm(pose.project(shape)[:, :2] - landmarks, axis=1)[17:].mean() / height)
    expression = np.zeros(len(model.names), np.float32)
    expression[free] = coefficients[len(identities) :]
    return PhotoFit(coefficients[: len(identities)].astype(np.float32), expression, pose, error, height)


def solve_shape(
    neutral: np.ndarray,
    basis: np.ndarray,
    pose: Pose,
    landmarks: np.ndarray,
    weights: np.ndarray,
    prior: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    center: np.ndarray | None = None,
) -> np.ndarray:
    """Solve identity and expression weights by ridge regression within bounds.

    A weight beyond its bounds is set to the bound, and the others are solved once more.

    Args:
        neutral: (N 3) vertices.
        basis: (B N 3) offsets per weight.
        pose: The camera.
        landmarks: (N 2).
        weights: (N,) of the landmarks.
        prior: (B,) strength of the ridge.
        lower: (B,) bounds.
        upper: (B,) bounds.
        center: (B,) weights that the ridge pulls to; None: 0.

    Returns:
        (B,) weights.
    """
    rows = pose.rotation[:2]
    design = np.einsum("ij,bnj->nib", rows, basis).reshape(-1, len(basis))
    target = ((landmarks - pose.translation) / pose.scale - neutral @ rows.T).reshape(-1)
    center = np.zeros(len(basis)) if center is None else center
    weight = np.repeat(weights, 2)
    normal = (design * weight[:, None]).T @ design + np.diag(prior)
    right = (design * weight[:, None]).T @ target + prior * center
    solution = np.linalg.solve(normal, right)
    fixed = (solution < lower) | (solution > upper)
    solution = solution.clip(lower, upper)
    if fixed.any() and not fixed.all():
        rest = right[~fixed] - normal[np.ix_(~fixed, fixed)] @ solution[fixed]
        solution[~fixed] = np.linalg.solve(normal[np.ix_(~fixed, ~fixed)], rest)
    return solution.clip(lower, upper)


def fit_expressions(landmarks: np.ndarray, model: FaceModel, smoothness: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Fit the expressions of one person to every frame of a clip.

    Args:
        landmarks: (T 68 2) pixels; NaN in frames without a face.
        model: The face model.
        smoothness: How strongly the ridge pulls a frame's weights to the last frame's.

    Returns:
        (T E) float32 expression weights and (T 3) head angles in radians; NaN where the landmarks are NaN.
    """
    is_valid = np.isfinite(landmarks).all((1, 2))
    weights_of_frames = np.full((len(landmarks), len(model.names)), np.nan, np.float32)
    angles = np.full((len(landmarks), 3), np.nan, np.float32)
    if not is_valid.any():
        return weights_of_frames, angles
    gaps = np.where(is_valid, mouth_opening(np.nan_to_num(landmarks)), np.inf)
    person = fit_landmarks(landmarks[int(np.argmin(gaps))], model)
    free = free_expressions(model)
    neutral = model.vertices(person.identity, np.zeros(len(model.names)), model.landmarks).astype(np.float64)
    basis = model.expression[free][:, model.landmarks].astype(np.float64)
    weights = landmark_weights()
    pose_weights = np.zeros(68)
    pose_weights[POSE_POINTS] = 1
    weights[48:] *= 3
    unit = model_unit(model)
    prior = np.full(len(free), 0.5 + smoothness) * unit**2
    lower, upper = np.full(len(free), -0.2), np.full(len(free), 1.0)
    last = person.expression[free].astype(np.float64)
    for t in np.flatnonzero(is_valid):
        row = last
        for _ in range(3):
            pose = fit_pose(neutral + np.tensordot(row, basis, 1), landmarks[t], pose_weights)
            center = last * smoothness / (0.5 + smoothness)
            row = solve_shape(neutral, basis, pose, landmarks[t], weights, prior, lower, upper, center)
        weights_of_frames[t, :] = 0
        weights_of_frames[t, free], last = row, row
        angles[t] = angles_of_rotation(pose.rotation)
    return weights_of_frames, angles


def check_fit(fit: PhotoFit, landmarks: np.ndarray, limits: FitLimits) -> None:
    """Check that a fit can be used: size and pose of the face, error of the fit, mouth and eyes.

    Args:
        fit: Fit of the photograph.
        landmarks: (68 2) pixels.
        limits: Limits of usable photographs.

    Raises:
        FitRejected: A value is outside of the limits.
    """
    yaw, pitch, _ = fit.head_radians
    if fit.face_height < limits.min_face_pixels:
        raise FitRejected(
            "small", f"the face is {fit.face_height:.0f} pixels high, {limits.min_face_pixels:.0f} are needed"
        )
    if abs(yaw) > limits.max_yaw_radians or abs(pitch) > limits.max_pitch_radians:
        raise FitRejected(
            "turned", f"the head is rotated by {np.degrees(yaw):.0f} degrees (yaw) and {np.degrees(pitch):.0f} (pitch)"
        )
    if fit.error > limits.max_error:
        raise FitRejected(
            "bad_fit",
            f"the landmarks are {fit.error:.3f} of the face's height off, at most {limits.max_error} is allowed",
        )
    opening = float(mouth_opening(landmarks[None])[0])
    if opening > limits.max_opening:
        raise FitRejected("open_mouth", f"the mouth is open by {opening:.3f} of the face's height")
    eyes = float(eye_opening(landmarks[None])[0])
    if eyes < limits.min_eye_opening:
        raise FitRejected(
            "closed_eyes", f"the eyes' height is {eyes:.2f} of their width, {limits.min_eye_opening:g} is needed"
        )


def check_eyes(image: np.ndarray, landmarks: np.ndarray) -> None:
    """Check that neither dark glasses nor shadow hide both eyes: the skin under them and their white are then dark.

    Args:
        image: (H W 3) uint8.
        landmarks: (68 2) pixels.

    Raises:
        FitRejected: The eyes are hidden.
    """
    down = landmarks[33] - landmarks[27]
    reach = max(1, round(0.03 * float(np.linalg.norm(down))))

    def brightness(point: np.ndarray) -> float:
        x, y = np.clip(np.floor(point).astype(int), reach, np.array(image.shape[1::-1]) - reach - 1)
        return float(image[y - reach : y + reach + 1, x - reach : x + reach + 1].mean())

    cheeks = [max(brightness(landmarks[list(cheek)].mean(0)), 1.0) for cheek in ((31, 2), (35, 14))]
    under = [brightness(landmarks[list(lid)].mean(0) + 0.18 * down) for lid in ((40, 41), (46, 47))]
    ratio = max(u / cheek for u, cheek in zip(under, cheeks, strict=True))
    whites = []
    for lids in (landmarks[36:42], landmarks[42:48]):
        eye = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(eye, [np.round(lids).astype(np.int32)], 1)
        whites.append(float(np.percentile(image[eye > 0].mean(-1), 90)) if eye.any() else 255.0)
    white = max(whites) / max(cheeks)
    if ratio < MIN_UNDER_EYE_RATIO or white < MIN_EYE_RATIO:
        raise FitRejected(
            "hidden_eyes",
            f"dark glasses or shadow: the brightness under the eyes is {ratio:.2f} of the cheeks', in them {white:.2f}",
        )


def check_lips(image: np.ndarray, landmarks: np.ndarray) -> None:
    """Check that no teeth are visible between slightly open lips: they would stay when others are drawn below them.

    Args:
        image: (H W 3) uint8.
        landmarks: (68 2) pixels.

    Raises:
        FitRejected: There are pixels between the lips that are whiter than lips.
    """
    if float(mouth_opening(landmarks[None])[0]) <= MAX_CLOSED_OPENING:
        return
    lips = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(lips, [np.round(landmarks[48:60]).astype(np.int32)], 1)
    cv2.fillPoly(lips, [np.round(landmarks[60:68]).astype(np.int32)], 2)
    inside, around = image[lips == 2].astype(np.float64), image[lips == 1].astype(np.float64)
    if len(inside) == 0 or len(around) == 0:
        return
    bright = inside.mean(1)
    teeth, lip = inside[bright >= np.percentile(bright, 80)].mean(0), np.median(around, 0)
    ratio = teeth[1] / max(teeth[0], 1.0) / max(lip[1] / max(lip[0], 1.0), 1e-3)
    if ratio > MAX_TEETH_RATIO:
        raise FitRejected("open_mouth", "teeth show between the lips")


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (T 68 2) -> (T,) mean gap of the inner lips over `face_height`, which an open jaw does not change."""
    gap = np.linalg.norm(landmarks[:, [61, 62, 63]] - landmarks[:, [67, 66, 65]], axis=-1).mean(-1)
    return gap / np.maximum([face_height(points) for points in landmarks], 1e-6)


def face_height(landmarks: np.ndarray) -> float:
    """Height of a face (68 2), forehead to chin, estimated from eyes and nose: mouth and jaw do not change it."""
    eyes, nose = landmarks[36:48].mean(0), landmarks[33]
    between = np.linalg.norm(landmarks[36:42].mean(0) - landmarks[42:48].mean(0))
    return float(max(np.linalg.norm(eyes - nose) / 0.29, between / 0.40))


def landmark_weights() -> np.ndarray:
    """Weights (68,) of the landmarks in a fit."""
    weights = np.ones(68)
    weights[CONTOUR] = 0.3
    return weights


def free_expressions(model: FaceModel) -> list[int]:
    """Numbers of the expressions that are fitted."""
    return [i for i, name in enumerate(model.names) if name.startswith(FITTED_EXPRESSIONS)]


def model_unit(model: FaceModel) -> float:
    """Return the length of one unit of ICT-FaceKit (about a centimeter) in the model: the eye distance over 6.3."""
    eyes = model.neutral[model.landmarks]
    return float(np.linalg.norm(eyes[36:42].mean(0) - eyes[42:48].mean(0)) / 6.3)
