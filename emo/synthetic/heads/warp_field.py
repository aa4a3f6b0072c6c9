"""The smooth part of a head's motion: skin, hair, neck and what is around them, as one backward warp of the photograph.

The mesh is sampled once per photograph on a coarse grid over the canvas; for a frame, the grid's points are moved and
the displacement field is inverted by fixed-point iteration (Chen et al., "A simple fixed-point approach to invert a
deformation field", 2008).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.synthetic.heads.head_shape import HeadShape, MotionFrame, VertexSet, smoothstep
from emo.synthetic.heads.photo_texture import MARGIN, sample_pixels
from emo.synthetic.heads.rasterizer import rasterize

CELLS = 120  # of the canvas's grid
FRAME_CELLS = 128  # of the frame's grid, on which the field is inverted
INVERSION_STEPS = 9
BLUR_CELLS = 3.0  # sigma of the blur outside the face
MAX_DEPTH_SLOPE = 2.6  # of depth over width: where it is steeper, a rotated head would fold over itself


@dataclass(frozen=True)
class WarpField:
    """A grid of points on the canvas that move with the head.

    Attributes:
        shape: The head.
        points: The (CELLS * CELLS) grid points as vertices.
        follow: (CELLS CELLS 1) float32 share of the head's motion that each point follows.
        smoothing: (CELLS CELLS 1) float32 share of each point's motion that is blurred: outside the face, where jaw and
            cheeks would fold over what is behind them.
    """

    shape: HeadShape
    points: VertexSet
    follow: np.ndarray
    smoothing: np.ndarray

    @classmethod
    def build(cls, shape: HeadShape) -> "WarpField":
        """Sample the mesh on the grid; points outside it follow the nearest one, less with growing distance."""
        model, height = shape.model, shape.fit.face_height
        triangles = model.triangles_of(*[part for part in ("skin", "head") if part in model.parts])
        chosen = np.unique(triangles)
        local = np.searchsorted(chosen, triangles)
        vertices = shape.vertex_set(chosen)
        placed = shape.fit.pose.project(vertices.base)
        placed[:, :2] += vertices.residual
        cell = (1 + 2 * MARGIN) / CELLS
        grid_points = np.column_stack([(placed[:, :2] + MARGIN) / cell, placed[:, 2]])
        fragments = rasterize(grid_points, local, CELLS, CELLS)
        covered = np.zeros(CELLS * CELLS, bool)
        covered[fragments.pixels] = True
        distance, labels = cv2.distanceTransformWithLabels(
            (~covered.reshape(CELLS, CELLS)).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        cell_labels: np.ndarray = np.asarray(labels).reshape(-1).astype(np.int64)
        rank = np.zeros(int(cell_labels.max()) + 1, np.int64)
        rank[cell_labels[fragments.pixels]] = np.arange(len(fragments.pixels))
        nearest = rank[cell_labels]
        distance_ratio = distance.reshape(-1) * cell / height  # distance from the mesh over the face's height
        base = fragments.interpolate(vertices.base, local)
        basis = np.stack([fragments.interpolate(row.reshape(-1, 3), local) for row in vertices.basis])
        grid = grid_centers(CELLS) * (1 + 2 * MARGIN) - MARGIN
        fade = np.exp(-((distance_ratio / 0.12) ** 2)).astype(np.float32)
        rotation, scale = shape.fit.pose.rotation.astype(np.float32), np.float32(shape.fit.pose.scale)
        base = base[nearest]
        offset = grid.reshape(-1, 2) - shape.fit.pose.project(base)[:, :2]
        offset[covered] = 0  # residuals are no part of the vertices
        base = base + offset @ rotation[:2] / scale
        depth_change = (
            limit_slope((base @ rotation[2]).reshape(CELLS, CELLS), cell / scale).reshape(-1) - base @ rotation[2]
        )
        base = base + depth_change[:, None] * rotation[2]
        basis = basis[:, nearest] * fade[None, :, None]
        follow = cls._follow(shape, base, distance_ratio)
        points = VertexSet(base, basis.reshape(len(basis), -1), np.zeros((len(base), 2), np.float32))
        outline = np.round((shape.landmarks[[*range(17), *range(26, 16, -1)]] + MARGIN) / cell * 16 - 8).astype(
            np.int32
        )
        face = np.zeros((CELLS, CELLS), np.uint8)
        cv2.fillPoly(face, [cv2.convexHull(outline)], 255, cv2.LINE_AA, 4)
        face_distance = cv2.distanceTransform((face < 128).astype(np.uint8), cv2.DIST_L2, 5) * cell / height
        smoothing = np.asarray(smoothstep(face_distance, -0.02, 0.08), np.float32)
        return cls(shape, points, follow.reshape(CELLS, CELLS, 1), smoothing[..., None])

    @staticmethod
    def _follow(shape: HeadShape, base: np.ndarray, distance_ratio: np.ndarray) -> np.ndarray:
        """Share (N,) float32 of the head's motion: 1 on head and hair, less down the neck and far from the head.

        Args:
            shape: The head.
            base: (N 3) vertices of the grid.
            distance_ratio: (N,) distance from the mesh over the face's height.
        """
        points = shape.model.vertices(shape.fit.identity, np.zeros(len(shape.model.names)), shape.model.landmarks)
        chin, brow = points[8, 1], points[27, 1]
        down = (base[:, 1] - chin) / (chin - brow)  # heights of the face below the chin
        neck = 1 - smoothstep(down, 0.0, 1.15)
        far = 1 - smoothstep(distance_ratio, 0.25, 0.9)
        return np.asarray(neck * far, np.float32)

    def backward(self, points: np.ndarray, motion: MotionFrame, size: int) -> np.ndarray:
        """Compute where in the portrait each pixel of a frame comes from.

        Args:
            points: (N 3) the grid's deformed vertices.
            motion: The frame's motion.
            size: Side of the frame, pixels.

        Returns:
            (size size 2) float32 positions in the portrait, in sides.
        """
        neutral = self.shape.fit.pose.project(self.points.base)[:, :2]
        moved = self.shape.place(points, motion)[:, :2] - neutral
        field = np.float32(moved.reshape(CELLS, CELLS, 2)) * self.follow
        blurred = cv2.GaussianBlur(field, (0, 0), BLUR_CELLS)
        field += (blurred - field) * self.smoothing
        targets = self.shape.unzoom(grid_centers(FRAME_CELLS), motion.scale)
        source = targets
        to_grid = np.float32(CELLS / (1 + 2 * MARGIN))
        for _ in range(INVERSION_STEPS):
            at = (source + np.float32(MARGIN)) * to_grid - np.float32(0.5)
            source = targets - sample_pixels(field, at, cv2.INTER_LINEAR)
        return resize_grid(source, size)


def limit_slope(depth: np.ndarray, cell: float) -> np.ndarray:
    """Limit the slope of a depth map to MAX_DEPTH_SLOPE by bringing far points nearer.

    Args:
        depth: (N N), larger farther away.
        cell: Width of a cell, in the unit of depth.

    Returns:
        (N N) depth.
    """
    depth = depth.copy()
    straight, diagonal = MAX_DEPTH_SLOPE * cell, MAX_DEPTH_SLOPE * cell * 2**0.5
    for _ in range(len(depth)):
        before = depth.copy()
        for axis in (0, 1):
            first, rest = [slice(None)] * 2, [slice(None)] * 2
            first[axis], rest[axis] = slice(0, -1), slice(1, None)
            near, far = tuple(first), tuple(rest)
            depth[far] = np.minimum(depth[far], depth[near] + straight)
            depth[near] = np.minimum(depth[near], depth[far] + straight)
        depth[1:, 1:] = np.minimum(depth[1:, 1:], depth[:-1, :-1] + diagonal)
        depth[:-1, :-1] = np.minimum(depth[:-1, :-1], depth[1:, 1:] + diagonal)
        depth[1:, :-1] = np.minimum(depth[1:, :-1], depth[:-1, 1:] + diagonal)
        depth[:-1, 1:] = np.minimum(depth[:-1, 1:], depth[1:, :-1] + diagonal)
        if np.array_equal(before, depth):
            break
    return depth


def grid_centers(cells: int) -> np.ndarray:
    """Centers (cells cells 2) float32, x and y, of the cells of a unit square."""
    axis = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(cells)
    return np.ascontiguousarray(np.stack(np.meshgrid(axis, axis), -1))


def resize_grid(grid: np.ndarray, size: int) -> np.ndarray:
    """Resize a grid of positions, linearly also beyond the centers of the outermost cells.

    Args:
        grid: (n n 2) positions in the unit square.
        size: Number of cells on a side of the result.

    Returns:
        (size size 2) positions.
    """
    displacement = grid - grid_centers(grid.shape[0])
    return cv2.resize(displacement, (size, size), interpolation=cv2.INTER_LINEAR) + grid_centers(size)
