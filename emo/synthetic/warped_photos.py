"""Animate a photo of a face by the facial motion of a driving clip.

Identities come from many photos, motion from real speech: the displacements of the clip's face mesh are added to the
mesh of the photo, a smooth warp moves the pixels with it, and the interior of the mouth is copied from the clip.

Meshes are MediaPipe's, (468 2) in the unit square of the crop; images are (s s 3) uint8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
UPPER_INNER_LIP, LOWER_INNER_LIP = INNER_LIPS[1:10], INNER_LIPS[19:10:-1]  # opposite points have the same index
OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
EYES = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
EYES += [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466]
FACE_OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
FACE_OVAL += [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
BETWEEN_LIPS = {12, 16, 72, 76, 96, 180, 184, 268, 272, 292, 304, 316, 320, 404, 408}  # inside the red of the lips
SPREAD = {*range(0, 468, 4)} - BETWEEN_LIPS  # the red follows its edges
WARP_HANDLES = sorted({*INNER_LIPS, *OUTER_LIPS, *EYES, *FACE_OVAL, *SPREAD})  # points that the warp interpolates
CROP_RIM = np.array([(x, y) for x in (0, 0.25, 0.5, 0.75, 1) for y in (0, 0.25, 0.5, 0.75, 1) if {x, y} & {0, 1}])
RIGID_MESH_POINTS = [
    *FACE_OVAL[:6],
    *FACE_OVAL[-5:],
    33,
    133,
    362,
    263,
    168,
    6,
    197,
    195,
    5,
    4,
    98,
    327,
    127,
    356,
]  # not moved by speech
GRID = 32  # the warp is evaluated at GRID x GRID points


@dataclass
class DrivingClip:
    """The facial motion of a driving clip of T frames."""

    meshes: np.ndarray  # (T 468 2)
    frames: list[np.ndarray]  # T crops (s s 3) uint8, for the interior of the mouth
    neutral: np.ndarray  # (468 2), mean mesh of the frames with the most closed mouth


def measure_lip_gap(mesh: np.ndarray) -> np.ndarray:
    """Mean distance of the inner lips of meshes (... 468 2): (...), in sides of the crop."""
    return np.linalg.norm(mesh[..., UPPER_INNER_LIP, :] - mesh[..., LOWER_INNER_LIP, :], axis=-1).mean(-1)


def make_driving_clip(meshes: np.ndarray, frames: list[np.ndarray]) -> DrivingClip:
    """Make a driving clip; its neutral mesh is the mean of the frames whose lips are most closed.

    Args:
        meshes: (T 468 2) in the unit square.
        frames: T frames (s s 3) uint8.

    Returns:
        The clip.
    """
    closed = np.argsort(measure_lip_gap(meshes))[: max(3, len(meshes) // 8)]
    return DrivingClip(meshes, frames, meshes[closed].mean(0))


def remove_pose(mesh: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Align a mesh to the neutral one by an affine map of the rigid points; only the expression remains.

    Args:
        mesh: (468 2) points.
        neutral: (468 2) points.

    Returns:
        (468 2) points.
    """
    ones = np.ones((len(RIGID_MESH_POINTS), 1))
    affine, *_ = np.linalg.lstsq(np.hstack([mesh[RIGID_MESH_POINTS], ones]), neutral[RIGID_MESH_POINTS], rcond=None)
    return np.hstack([mesh, np.ones((len(mesh), 1))]) @ affine


def close_mouth(mesh: np.ndarray) -> np.ndarray:
    """Close the lips of a mesh (468 2); the outer lips follow the inner ones."""
    closed = mesh.copy()
    middle = (mesh[UPPER_INNER_LIP] + mesh[LOWER_INNER_LIP]) / 2
    for lips in (UPPER_INNER_LIP, LOWER_INNER_LIP):
        shift = middle - mesh[lips]
        outer = np.array(OUTER_LIPS)
        near = np.linalg.norm(mesh[outer][:, None] - mesh[lips][None], axis=-1)
        opposite = LOWER_INNER_LIP if lips is UPPER_INNER_LIP else UPPER_INNER_LIP
        is_own = near.min(1) < np.linalg.norm(mesh[outer][:, None] - mesh[opposite][None], axis=-1).min(1)
        closed[outer[is_own]] += shift[near[is_own].argmin(1)]
        closed[lips] += shift
    return closed


def separate_lips(mesh: np.ndarray, min_distance: float) -> np.ndarray:
    """Move the inner lips of a mesh apart where they are too close: pressed lips must not cross.

    Args:
        mesh: (468 2) points.
        min_distance: Smallest distance of the upper inner lip above the lower one.

    Returns:
        (468 2) points.
    """
    down = mesh[152] - mesh[10]
    down = down / np.linalg.norm(down)
    missing = (
        np.clip(min_distance - (mesh[LOWER_INNER_LIP] - mesh[UPPER_INNER_LIP]) @ down, 0, None)[:, None] / 2 * down
    )
    apart = mesh.copy()
    apart[UPPER_INNER_LIP] -= missing
    apart[LOWER_INNER_LIP] += missing
    return apart


def make_warp_map(target: np.ndarray, source: np.ndarray, size: int) -> np.ndarray:
    """Make the map of a warp that moves points `source` (N 2) to `target` (N 2); the rim of the crop does not move.

    The displacement is interpolated with the kernel r (the biharmonic spline of three dimensions).

    Args:
        target: (N 2) points in the unit square.
        source: (N 2) points in the unit square.
        size: Side of the image, pixels.

    Returns:
        (size size 2) float32: the pixel of the source image for each pixel of the warped one.
    """
    knots = np.concatenate([target, CROP_RIM]).astype(np.float32)
    shift = np.concatenate([source - target, np.zeros_like(CROP_RIM)]).astype(np.float32)
    distance = np.linalg.norm(knots[:, None] - knots[None], axis=-1)
    weights = np.linalg.solve(distance + 1e-4 * np.eye(len(knots), dtype=np.float32), shift)
    axis = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    flow = np.linalg.norm(points[:, None] - knots[None], axis=-1) @ weights
    flow = cv2.resize(flow.reshape(GRID, GRID, 2), (size, size), interpolation=cv2.INTER_CUBIC)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return ((np.stack(np.meshgrid(axis, axis), -1) + flow) * size - 0.5).astype(np.float32)


def warp_image(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Sample an image at the pixels of a warp map.

    Args:
        image: (H W C) image.
        where: (H W 2) float32 pixels.

    Returns:
        (H W C) warped image.
    """
    # The first map has both coordinates, so the second one is empty.
    return cv2.remap(image, where, np.empty(0, np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def recolor_lips(image: np.ndarray, mesh: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Recolor the lips of a photo in a random red, from subtle to lipstick, without changing their shading.

    Args:
        image: (s s 3) uint8.
        mesh: (468 2) points in the unit square.
        rng: Draws hue, saturation and strength.

    Returns:
        (s s 3) uint8.
    """
    size = len(image)
    lips = np.zeros((size, size), np.float32)
    cv2.fillPoly(lips, [np.asarray(np.round(mesh[OUTER_LIPS] * size * 16), np.int32)], 1.0, cv2.LINE_AA, shift=4)
    lips = cv2.GaussianBlur(lips, (0, 0), size / 150)[..., None] * (1 - make_mouth_mask(mesh, size))
    hue, saturation = rng.uniform(-35, 15) % 360, rng.uniform(0.3, 0.9)
    red = cv2.cvtColor(np.asarray([[[hue, saturation, 1]]], np.float32), cv2.COLOR_HSV2RGB)
    light = image.max(-1, keepdims=True) * np.asarray(rng.uniform(0.7, 1.2), np.float32)
    share = np.asarray(rng.uniform(0.2, 1), np.float32) * lips
    return np.clip(image * (1 - share) + red * light * share, 0, 255).astype(np.uint8)


def measure_skin_tone(image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Measure the mean color of the skin around the mouth.

    Args:
        image: (s s 3) uint8.
        mesh: (468 2) points in the unit square.

    Returns:
        (3,) color, 0 to 255.
    """
    size = len(image)
    lips = mesh[OUTER_LIPS]
    ring = np.zeros((size, size), np.uint8)
    cv2.fillPoly(ring, [np.asarray((lips.mean(0) + 1.6 * (lips - lips.mean(0))) * size, np.int32)], 255)
    cv2.fillPoly(ring, [np.asarray(lips * size, np.int32)], 0)
    return np.array(cv2.mean(image, ring)[:3])


def make_mouth_mask(mesh: np.ndarray, size: int) -> np.ndarray:
    """Make a mask of the area between the inner lips, with soft edges.

    Args:
        mesh: (468 2) points in the unit square.
        size: Side of the mask, pixels.

    Returns:
        (size size 1) float32, 0 to 1.
    """
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.asarray(np.round(mesh[INNER_LIPS] * size * 16), np.int32)], 1.0, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), size / 256)[..., None]


def animate_photo(image: np.ndarray, mesh: np.ndarray, driver: DrivingClip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Animate a photo by a driving clip.

    Args:
        image: (s s 3) uint8.
        mesh: (468 2) of its face.
        driver: The motion.

    Yields:
        The picture (s s 3) uint8 and its mesh (468 2) for each frame of the clip.
    """
    size = len(image)
    closed = close_mouth(mesh)
    width = np.linalg.norm(mesh[61] - mesh[291]) / np.linalg.norm(driver.neutral[61] - driver.neutral[291])
    height = np.linalg.norm(mesh[10] - mesh[152]) / np.linalg.norm(driver.neutral[10] - driver.neutral[152])
    tint = (
        np.clip(measure_skin_tone(image, mesh) / (measure_skin_tone(driver.frames[0], driver.neutral) + 1), 0.4, 1.6)
        ** 0.7
    )
    fixed = np.zeros((468, 1))
    fixed[EYES] = 1  # the eyes do not move: nothing in the audio predicts blinks
    for moved, frame in zip(driver.meshes, driver.frames, strict=True):
        shift = (remove_pose(moved, driver.neutral) - driver.neutral) * [width, height]
        target = separate_lips(closed + shift * (1 - fixed), 0.5 / size)
        picture = warp_image(image, make_warp_map(target[WARP_HANDLES], mesh[WARP_HANDLES], size))
        if measure_lip_gap(target) > 1 / size:
            interior = warp_image(frame, make_warp_map(target[INNER_LIPS], moved[INNER_LIPS], size)) * tint
            mask = make_mouth_mask(target, size)
            picture = picture * (1 - mask) + np.clip(interior, 0, 255) * mask
        yield picture.astype(np.uint8), target
