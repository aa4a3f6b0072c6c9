"""A still face made to talk like a clip: its picture is warped by the clip's facial motion.

Identity comes from many stills, motion from true speech: the displacements of the clip's face mesh move the
still's mesh, a smooth warp moves the pixels with it, and the inside of the mouth is painted from the clip.
Meshes are MediaPipe's, (468 2) in the unit square of the crop; images (s s 3) uint8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
UPPER, LOWER = INNER_LIPS[1:10], INNER_LIPS[19:10:-1]  # facing each other
OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
EYES = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
EYES += [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466]
OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
OVAL += [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
BETWEEN_LIPS = {12, 16, 72, 76, 96, 180, 184, 268, 272, 292, 304, 316, 320, 404, 408}  # of the red, on no edge of it
SPREAD = {*range(0, 468, 4)} - BETWEEN_LIPS  # the red goes where its edges go
HANDLES = sorted({*INNER_LIPS, *OUTER_LIPS, *EYES, *OVAL, *SPREAD})  # what the warp is solved on
RIM = np.array([(x, y) for x in (0, 0.25, 0.5, 0.75, 1) for y in (0, 0.25, 0.5, 0.75, 1) if {x, y} & {0, 1}])
RIGID = [
    *OVAL[:6],
    *OVAL[-5:],
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
GRID = 32  # the warp is computed on GRID x GRID points


@dataclass
class Driver:
    """The motion of a clip: T frames."""

    meshes: np.ndarray  # (T 468 2)
    frames: list[np.ndarray]  # T crops, for the inside of the mouth
    neutral: np.ndarray  # (468 2), the mean of the frames with the mouth closed


def gap(mesh: np.ndarray) -> np.ndarray:
    """Mouth opening: (... 468 2) -> (...), in sides of the crop."""
    return np.linalg.norm(mesh[..., UPPER, :] - mesh[..., LOWER, :], axis=-1).mean(-1)


def make_driver(meshes: np.ndarray, frames: list[np.ndarray]) -> Driver:
    """meshes (T 468 2) in the unit square of the frames."""
    closed = np.argsort(gap(meshes))[: max(3, len(meshes) // 8)]
    return Driver(meshes, frames, meshes[closed].mean(0))


def without_pose(mesh: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """The mesh (468 2) brought to the neutral one by the affine map of their rigid points: expression alone."""
    ones = np.ones((len(RIGID), 1))
    affine, *_ = np.linalg.lstsq(np.hstack([mesh[RIGID], ones]), neutral[RIGID], rcond=None)
    return np.hstack([mesh, np.ones((len(mesh), 1))]) @ affine


def close_mouth(mesh: np.ndarray) -> np.ndarray:
    """The mesh (468 2) with its lips brought together; the outer lips follow the inner."""
    closed = mesh.copy()
    middle = (mesh[UPPER] + mesh[LOWER]) / 2
    for lips in (UPPER, LOWER):
        shift = middle - mesh[lips]
        outer = np.array(OUTER_LIPS)
        near = np.linalg.norm(mesh[outer][:, None] - mesh[lips][None], axis=-1)
        opposite = LOWER if lips is UPPER else UPPER
        mine = near.min(1) < np.linalg.norm(mesh[outer][:, None] - mesh[opposite][None], axis=-1).min(1)
        closed[outer[mine]] += shift[near[mine].argmin(1)]
        closed[lips] += shift
    return closed


def uncrossed(mesh: np.ndarray, least: float) -> np.ndarray:
    """The mesh (468 2) with each point of the upper inner lip at least `least` above its opposite: lips press, they
    don't pass through each other."""
    down = mesh[152] - mesh[10]
    down = down / np.linalg.norm(down)
    missing = np.clip(least - (mesh[LOWER] - mesh[UPPER]) @ down, 0, None)[:, None] / 2 * down
    apart = mesh.copy()
    apart[UPPER] -= missing
    apart[LOWER] += missing
    return apart


def warp_map(target: np.ndarray, source: np.ndarray, size: int) -> np.ndarray:
    """Where each pixel of the warped image comes from, (size size 2) pixels: target (N 2) -> source (N 2).

    Interpolates the displacement with the kernel r (the 3D biharmonic spline), the crop's rim held fast.
    """
    knots = np.concatenate([target, RIM]).astype(np.float32)
    shift = np.concatenate([source - target, np.zeros_like(RIM)]).astype(np.float32)
    distance = np.linalg.norm(knots[:, None] - knots[None], axis=-1)
    weights = np.linalg.solve(distance + 1e-4 * np.eye(len(knots), dtype=np.float32), shift)
    axis = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    flow = np.linalg.norm(points[:, None] - knots[None], axis=-1) @ weights
    flow = cv2.resize(flow.reshape(GRID, GRID, 2), (size, size), interpolation=cv2.INTER_CUBIC)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return ((np.stack(np.meshgrid(axis, axis), -1) + flow) * size - 0.5).astype(np.float32)


def sample(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    return cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def make_up(image: np.ndarray, mesh: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A still (s s 3) with its lips in another red, from a breath of it to lipstick; their light and shade stay."""
    size = len(image)
    lips = np.zeros((size, size), np.float32)
    cv2.fillPoly(lips, [np.int32(np.round(mesh[OUTER_LIPS] * size * 16))], 1.0, cv2.LINE_AA, shift=4)
    lips = cv2.GaussianBlur(lips, (0, 0), size / 150)[..., None] * (1 - mouth_mask(mesh, size))
    hue, saturation = rng.uniform(-35, 15) % 360, rng.uniform(0.3, 0.9)
    red = cv2.cvtColor(np.float32([[[hue, saturation, 1]]]), cv2.COLOR_HSV2RGB)
    light = image.max(-1, keepdims=True) * np.float32(rng.uniform(0.7, 1.2))
    share = np.float32(rng.uniform(0.2, 1)) * lips
    return np.clip(image * (1 - share) + red * light * share, 0, 255).astype(np.uint8)


def skin_tone(image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(3,) mean colour around the mouth: between the outer lips and a ring twice their size."""
    size = len(image)
    lips = mesh[OUTER_LIPS]
    ring = np.zeros((size, size), np.uint8)
    cv2.fillPoly(ring, [np.int32((lips.mean(0) + 1.6 * (lips - lips.mean(0))) * size)], 255)
    cv2.fillPoly(ring, [np.int32(lips * size)], 0)
    return np.array(cv2.mean(image, ring)[:3])


def mouth_mask(mesh: np.ndarray, size: int) -> np.ndarray:
    """(size size 1) float32, 1 inside the inner lips, edges a pixel soft."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.int32(np.round(mesh[INNER_LIPS] * size * 16))], 1.0, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), size / 256)[..., None]


def animate(image: np.ndarray, mesh: np.ndarray, driver: Driver) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A still (s s 3) and its mesh (468 2) -> per frame of the driver the picture and the mesh."""
    size = len(image)
    closed = close_mouth(mesh)
    width = np.linalg.norm(mesh[61] - mesh[291]) / np.linalg.norm(driver.neutral[61] - driver.neutral[291])
    height = np.linalg.norm(mesh[10] - mesh[152]) / np.linalg.norm(driver.neutral[10] - driver.neutral[152])
    tint = np.clip(skin_tone(image, mesh) / (skin_tone(driver.frames[0], driver.neutral) + 1), 0.4, 1.6) ** 0.7
    still_eyes = np.zeros((468, 1))
    still_eyes[EYES] = 1  # nothing in the sound tells when to blink
    for moved, frame in zip(driver.meshes, driver.frames, strict=True):
        shift = (without_pose(moved, driver.neutral) - driver.neutral) * [width, height]
        target = uncrossed(closed + shift * (1 - still_eyes), 0.5 / size)
        picture = sample(image, warp_map(target[HANDLES], mesh[HANDLES], size))
        if gap(target) > 1 / size:
            inside = sample(frame, warp_map(target[INNER_LIPS], moved[INNER_LIPS], size)) * tint
            mask = mouth_mask(target, size)
            picture = picture * (1 - mask) + np.clip(inside, 0, 255) * mask
        yield picture.astype(np.uint8), target
