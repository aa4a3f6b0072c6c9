"""The 68 facial landmarks in iBUG order: named slices, openings of mouth and eyes, gaze, alignment.

Landmarks are (68 2) or (T 68 2) float, x and y in pixels of the picture; coordinates are continuous, so the center of
the first pixel is 0.5. Left and right are those of the picture.
"""

import cv2
import numpy as np

NUM_LANDMARKS = 68
JAW_POINTS = slice(0, 17)
LEFT_BROW_POINTS, RIGHT_BROW_POINTS, BROW_POINTS = slice(17, 22), slice(22, 27), slice(17, 27)
NOSE_BRIDGE_POINTS, NOSTRIL_POINTS, NOSE_POINTS = slice(27, 31), slice(31, 36), slice(27, 36)
LEFT_EYE_POINTS, RIGHT_EYE_POINTS = slice(36, 42), slice(42, 48)  # corner, two above, corner, two below
EYE_POINTS = slice(36, 48)
OUTER_LIP_POINTS, INNER_LIP_POINTS, LIP_POINTS = slice(48, 60), slice(60, 68), slice(48, 68)
CHIN_POINT, NOSE_TIP_POINT, LEFT_LIP_CORNER, RIGHT_LIP_CORNER = 8, 30, 48, 54
# Points that neither speech nor a smile moves: eye corners and nose.
RIGID_POINTS = [36, 39, 42, 45, 27, 30, 33, 31, 35]
MIRRORED_POINTS = (  # each point's index in the mirror image
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
)
# The points of MediaPipe's face mesh that lie where the 68 are: jaw, brows, nose, eyes, outer and inner lips
MEDIAPIPE_TO_IBUG = (
    [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 6, 195, 4, 98, 97, 2, 326, 327]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)
# Of the iris, in widths of the eye (28.5 mm): how far it moves for a radian (10.3 mm: the eye turns about a point
# 13.5 mm behind the cornea, and the pupil is seen 3.2 mm behind it), and how far above the corners' line it rests
IRIS_TRAVEL, IRIS_REST = 0.36, 0.053
ARCFACE_PIXELS = 112  # side of the square that ArcFace takes
ARCFACE_TEMPLATE = np.array(  # where insightface has the eyes, the tip of the nose and the corners of the mouth in it
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """Measure how far a mouth is open.

    Args:
        landmarks: (T 68 2).

    Returns:
        (T,) the mean gap of the inner lips over the height of the face (brows to chin, the median of all frames).
    """
    gap = np.linalg.norm(landmarks[:, 61:64] - landmarks[:, [67, 66, 65]], axis=-1).mean(-1)
    brow = landmarks[:, BROW_POINTS].mean(1)
    return gap / np.median(np.linalg.norm(landmarks[:, CHIN_POINT] - brow, axis=-1))


def eye_opening(landmarks: np.ndarray) -> np.ndarray:
    """Measure how far the eyes are open: the mean eye aspect ratio.

    See Soukupova and Cech, "Real-Time Eye Blink Detection using Facial Landmarks", 2016.

    Args:
        landmarks: (T 68 2).

    Returns:
        (T,) height over width of both eyes, about 0.3 open and near 0 in a blink.
    """
    ratios = []
    for eye in (LEFT_EYE_POINTS, RIGHT_EYE_POINTS):
        points = landmarks[:, eye]
        height = np.linalg.norm(points[:, [1, 2]] - points[:, [5, 4]], axis=-1).mean(-1)
        ratios.append(height / np.linalg.norm(points[:, 0] - points[:, 3], axis=-1))
    return np.mean(ratios, axis=0)


def estimate_gaze(eyes: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Estimate where the eyes look, relative to the head.

    Args:
        eyes: (T 2 7 2) outer corner, two above, inner corner, two below and iris of each eye.
        rotations: (T 3 3) of the head, of `emo.face.pose.head_rotations`.

    Returns:
        (T 2) radians to the picture's left and up, as `head_angles`; the mean of both eyes.
    """
    outer, inner, iris = (eyes[:, :, k] for k in (0, 3, 6))
    frontal = np.linalg.inv(rotations[:, None, :2, :2])  # the plane of the face as it is seen -> from the front
    across, shift = (np.einsum("tkij,tkj->tki", frontal, way) for way in (inner - outer, iris - (inner + outer) / 2))
    width = np.linalg.norm(across, axis=-1, keepdims=True)
    angles = -np.arcsin(((shift / width + [0, IRIS_REST]) / IRIS_TRAVEL).clip(-1, 1))
    return angles.mean(1)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Compute the middle of each eye, tip of the nose and corners of the mouth: landmarks (T 68 D) -> (T 5 D)."""
    eyes = [landmarks[:, [36, 39]].mean(1), landmarks[:, [42, 45]].mean(1)]
    corners = landmarks[:, LEFT_LIP_CORNER], landmarks[:, RIGHT_LIP_CORNER]
    return np.stack([*eyes, landmarks[:, NOSE_TIP_POINT], *corners], axis=1)


def similarity_transform(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find the rotation, scale and shift that bring points closest to targets by least squares.

    Args:
        points: (N 2).
        targets: (N 2).

    Returns:
        (2 3) affine map from points to targets.
    """
    a, b = (xy @ np.array([1, 1j]) for xy in (points, targets))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean()).real
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_face(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Cut a face out as ArcFace and its relatives expect it.

    Args:
        frame: (3 H W) uint8.
        points: (5 2) of `five_points`, pixels.

    Returns:
        (3 112 112) uint8.
    """
    picture = np.ascontiguousarray(frame.transpose(1, 2, 0))
    matrix = similarity_transform(points, ARCFACE_TEMPLATE)
    return cv2.warpAffine(picture, matrix, (ARCFACE_PIXELS, ARCFACE_PIXELS)).transpose(2, 0, 1)
