"""Rasterize triangles in numpy: which triangle covers each pixel, and where in it the pixel lies.

The bounding boxes of all triangles are enumerated at once, in groups of about the same size; the nearest fragment of
each pixel wins (a depth buffer by `np.maximum.at`). Made for small pictures and many triangles of a few pixels each.
"""

from dataclasses import dataclass

import numpy as np

GROUPS = (2, 3, 4, 6, 9, 14, 24, 48, 96, 1024)  # largest side in pixels of the boxes that are enumerated together


@dataclass(frozen=True)
class Fragments:
    """The pixels that triangles cover.

    Attributes:
        pixels: (N,) int64 flat indices of covered pixels, ascending, each once.
        triangles: (N,) int64 the nearest triangle of each.
        weights: (N 3) float32 barycentric weights of its corners.
    """

    pixels: np.ndarray
    triangles: np.ndarray
    weights: np.ndarray

    def interpolate(self, values: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """Interpolate values of vertices at the pixels.

        Args:
            values: (V C) values of the vertices.
            corners: (T 3) vertices of the triangles.

        Returns:
            (N C) float32 values of the pixels.
        """
        chosen = corners[self.triangles]
        weights = self.weights
        result = values[chosen[:, 0]] * weights[:, :1]
        result += values[chosen[:, 1]] * weights[:, 1:2]
        result += values[chosen[:, 2]] * weights[:, 2:]
        return result


def rasterize(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> Fragments:
    """Rasterize triangles at the centers of pixels.

    Args:
        points: (V 3) float x, y in pixels (the first pixel covers 0 to 1) and depth, larger farther away.
        triangles: (T 3) vertices.
        height: Height of the picture, pixels.
        width: Width of the picture, pixels.

    Returns:
        The nearest triangle of every covered pixel.
    """
    points = points.astype(np.float32, copy=False)
    columns, rows, depths = (np.ascontiguousarray(points[:, k]) for k in range(3))
    a, b, c = (np.ascontiguousarray(triangles[:, k]) for k in range(3))
    x, y, z = ([values[corner] for corner in (a, b, c)] for values in (columns, rows, depths))
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    left, top = first_pixel(np.minimum(np.minimum(*x[:2]), x[2])), first_pixel(np.minimum(np.minimum(*y[:2]), y[2]))
    right, bottom = last_pixel(np.maximum(np.maximum(*x[:2]), x[2])), last_pixel(np.maximum(np.maximum(*y[:2]), y[2]))
    left, top = np.maximum(left, 0), np.maximum(top, 0)
    right, bottom = np.minimum(right, width - 1), np.minimum(bottom, height - 1)
    sides = np.maximum(right - left, bottom - top) + 1
    drawn = (right >= left) & (bottom >= top) & (np.abs(area) > 1e-9)
    parts: list[tuple[np.ndarray, ...]] = []
    smallest = 0
    for side in GROUPS:
        group = np.flatnonzero(drawn & (sides > smallest) & (sides <= side))
        smallest = side
        if len(group):
            side = int(sides[group].max())
            parts.append(enumerate_boxes(group, side, x, y, area, left, top, right, bottom, width))
    if not parts:
        return Fragments(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    pixels, owners, first, second = (np.concatenate(part) for part in zip(*parts, strict=True))
    third = 1 - first - second
    depth = first * z[0][owners] + second * z[1][owners] + third * z[2][owners]
    nearest = np.full(height * width, -np.inf, np.float32)
    np.maximum.at(nearest, pixels, -depth)
    winners = np.full(height * width, -1, np.int64)
    won = np.flatnonzero(-depth == nearest[pixels])
    winners[pixels[won]] = won
    covered = np.flatnonzero(winners >= 0)
    chosen = winners[covered]
    weights = np.stack([first[chosen], second[chosen], third[chosen]], 1)
    return Fragments(covered, owners[chosen], weights)


def first_pixel(coordinate: np.ndarray) -> np.ndarray:
    """Return the first pixel whose center is not below a coordinate.

    Args:
        coordinate: (...) pixels, integers at the pixels' borders.

    Returns:
        (...) int32.
    """
    return np.ceil(coordinate - 0.5).astype(np.int32)


def last_pixel(coordinate: np.ndarray) -> np.ndarray:
    """Return the last pixel whose center is not above a coordinate.

    Args:
        coordinate: (...) pixels, integers at the pixels' borders.

    Returns:
        (...) int32.
    """
    return np.floor(coordinate - 0.5).astype(np.int32)


def enumerate_boxes(
    group: np.ndarray,
    side: int,
    x: list[np.ndarray],
    y: list[np.ndarray],
    area: np.ndarray,
    left: np.ndarray,
    top: np.ndarray,
    right: np.ndarray,
    bottom: np.ndarray,
    width: int,
) -> tuple[np.ndarray, ...]:
    """Enumerate the fragments of a group of triangles whose boxes are at most `side` pixels wide and high.

    Args:
        group: (G,) triangles.
        side: Pixels.
        x, y: Coordinates (T,) of the three corners.
        area: (T,) twice the signed areas.
        left, top, right, bottom: (T,) first and last pixels of the boxes.
        width: Width of the picture, pixels.

    Returns:
        Flat pixel indices, triangles, and the weights of their first and second corners.
    """
    steps = np.arange(side, dtype=np.int32)
    columns, rows = left[group, None] + steps, top[group, None] + steps  # (G side)
    px, py = (columns + 0.5).astype(np.float32), (rows + 0.5).astype(np.float32)
    gx, gy, scale = [v[group] for v in x], [v[group] for v in y], (1 / area[group])[:, None]
    # Weights are linear in x and y: w = a (px - x2) + b (py - y2)
    first = edge_weights(px, py, gx, gy, scale, (1, 2))
    second = edge_weights(px, py, gx, gy, scale, (2, 0))
    third = 1 - first - second
    inside = (first >= -1e-5) & (second >= -1e-5) & (third >= -1e-5)
    inside &= (columns <= right[group, None])[:, None, :] & (rows <= bottom[group, None])[:, :, None]
    which, row, column = np.nonzero(inside)
    owners = group[which]
    return (top[owners] + row) * width + left[owners] + column, owners, first[inside], second[inside]


def edge_weights(
    px: np.ndarray, py: np.ndarray, x: list[np.ndarray], y: list[np.ndarray], scale: np.ndarray, edge: tuple[int, int]
) -> np.ndarray:
    """Compute the barycentric weight of the corner opposite an edge.

    Args:
        px: (G side) columns of the pixels.
        py: (G side) rows of the pixels.
        x: Columns (G,) of the three corners.
        y: Rows (G,) of the three corners.
        scale: (G 1) one over twice the signed area of each triangle.
        edge: Indices of the edge's two corners.

    Returns:
        (G side side) weights.
    """
    i, j = edge
    dx, dy = (x[j] - x[i])[:, None] * scale, (y[j] - y[i])[:, None] * scale
    along_rows = dx * (py - y[i][:, None])
    along_columns = dy * (px - x[i][:, None])
    return along_rows[:, :, None] - along_columns[:, None, :]
