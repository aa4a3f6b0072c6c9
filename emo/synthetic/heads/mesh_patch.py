"""Mesh patches around lips and eyelids, where one smooth warp is not enough: triangles with a depth buffer.

A patch draws skin, the photograph by projection, over whatever is behind it, teeth or an eyeball. Skin that the
photograph does not show, the inside of the lips and the rims of the lids, has the color of the nearest skin that it
shows.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.head_shape import HeadShape, VertexSet, smoothstep
from emo.synthetic.heads.rasterizer import Fragments, rasterize

SAMPLES_PER_AXIS = 2  # of a pixel


@dataclass(frozen=True)
class MeshPatch:
    """Vertices and triangles around the lips or an eye.

    Attributes:
        indices: (N,) their numbers among the model's vertices.
        vertices: The vertices and how they deform.
        triangles: (T 3) of these vertices, skin first.
        skin_triangles: Number of skin triangles.
        source: (N 2) float32 sides: position in the portrait of each vertex's color.
        window: (N 1) float32: opacity of the patch, 0 at its border.
        hidden: (N 1) float32: 0 where the photograph shows the vertex, up to 1 with the distance from what it shows.
    """

    indices: np.ndarray
    vertices: VertexSet
    triangles: np.ndarray
    skin_triangles: int
    source: np.ndarray
    window: np.ndarray
    hidden: np.ndarray

    @cached_property
    def is_skin(self) -> np.ndarray:
        """Which vertices belong to skin triangles, (N,) bool."""
        rows = np.zeros(len(self.indices), bool)
        rows[np.unique(self.triangles[: self.skin_triangles])] = True
        return rows

    def is_part(self, model: FaceModel, part: str) -> np.ndarray:
        """Return which vertices belong to a part of the model.

        Args:
            model: The face model.
            part: Name of the part, such as teeth.

        Returns:
            (N,) bool.
        """
        first, end = model.parts.get(part, (0, 0))
        return (self.indices >= first) & (self.indices < end)


@dataclass(frozen=True)
class PatchBox:
    """A drawn patch in a box (h w) of the frame.

    Attributes:
        left: First column of the box.
        top: First row of the box.
        skin: (h w) share of each pixel that skin covers.
        behind: (h w) share of each pixel that something behind the skin covers.
        source: (h w 2) position of the skin's color in the portrait, sides.
        hidden: (h w) share of the skin that the photograph does not show.
        window: (h w) opacity of the patch.
        fragments: Fragments of all samples, for what is behind the skin.
        shape: Height and width of the picture of samples.
    """

    left: int
    top: int
    skin: np.ndarray
    behind: np.ndarray
    source: np.ndarray
    hidden: np.ndarray
    window: np.ndarray
    fragments: Fragments
    shape: tuple[int, int]

    @property
    def rows(self) -> slice:
        """Rows of the frame that the box covers."""
        return slice(self.top, self.top + self.skin.shape[0])

    @property
    def columns(self) -> slice:
        """Columns of the frame that the box covers."""
        return slice(self.left, self.left + self.skin.shape[1])

    def reduce(self, pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Average samples over pixels; a pixel without a sample is 0.

        Args:
            pixels: (N,) flat indices of the samples.
            values: (N C) values of the samples.

        Returns:
            (h w C) means.
        """
        full = np.zeros((self.shape[0] * self.shape[1], values.shape[1]), np.float32)
        full[pixels] = values
        reduced = cv2.resize(full.reshape(*self.shape, -1), self.skin.shape[::-1], interpolation=cv2.INTER_AREA)
        return reduced.reshape(*self.skin.shape, -1)


def build_patch(
    shape: HeadShape,
    center: np.ndarray,
    radii: np.ndarray,
    angle: float,
    parts: dict[str, np.ndarray],
    inner: float,
    outer: float,
) -> MeshPatch:
    """Build a patch of the skin in an ellipse, and of triangles behind it.

    Args:
        shape: The head.
        center: (2,) of the ellipse in the portrait, sides.
        radii: (2,) of the ellipse, sides.
        angle: Angle of the ellipse's first axis, radians clockwise.
        parts: Triangles (T 3) of the model behind the skin, by part.
        inner: Radii within which the patch is opaque.
        outer: Radii beyond which it is transparent.

    Returns:
        The patch.
    """
    model = shape.model
    skin = model.triangles_of("skin")
    used = np.unique(skin)
    base = model.vertices(shape.fit.identity, shape.fit.expression, used)
    projected = shape.fit.pose.project(base)
    projected[:, :2] += shape.correction(projected[:, :2])
    cos, sin = np.cos(angle), np.sin(angle)
    local_position = (projected[:, :2] - center) @ np.float32([[cos, -sin], [sin, cos]]) / np.float32(radii)
    radius = np.linalg.norm(local_position, axis=1)
    near = np.zeros(len(model.neutral), bool)
    near[used[(radius < outer) & (projected[:, 2] < np.median(projected[:, 2]) + 0.5 * shape.fit.face_height)]] = True
    skin = skin[near[skin].any(1)]
    behind = np.concatenate(list(parts.values())) if parts else np.zeros((0, 3), np.int32)
    chosen = np.unique(np.concatenate([skin, behind]))
    local = np.searchsorted(chosen, np.concatenate([skin, behind]))
    vertices = shape.vertex_set(chosen)
    window = np.ones(len(chosen), np.float32)
    position = np.minimum(np.searchsorted(used, chosen), len(used) - 1)
    is_skin = used[position] == chosen
    window[is_skin] = 1 - smoothstep(radius[position[is_skin]], inner, outer)
    source = shape.fit.pose.project(vertices.base)
    source[:, :2] += vertices.residual
    source, hidden = find_source_positions(source, local[: len(skin)], shape.fit.face_height)
    return MeshPatch(chosen, vertices, local, len(skin), source, window[:, None], hidden[:, None])


def find_source_positions(projected: np.ndarray, skin: np.ndarray, face_height: float) -> tuple[np.ndarray, np.ndarray]:
    """Find colors for the skin that the photograph does not show.

    Args:
        projected: (N 3) of the portrait: sides and depth.
        skin: (T 3) triangles.
        face_height: Sides.

    Returns:
        (N 2) float32 source: the own position of a visible vertex, that of the nearest visible one along the mesh for
        a hidden one; and (N,) float32 hidden, 0 to 1 with the number of edges between them.
    """
    low, high = projected[np.unique(skin), :2].min(0), projected[np.unique(skin), :2].max(0)
    density = 640 / float((high - low).max())
    points = np.column_stack([(projected[:, :2] - low) * density, projected[:, 2]])
    height, width = np.ceil((high - low)[::-1] * density).astype(int) + 1
    visible = np.zeros(len(projected), bool)
    visible[skin[np.unique(rasterize(points, skin, height, width).triangles)]] = True
    source, steps = projected[:, :2].astype(np.float32).copy(), np.where(visible, 0, -1)
    edges = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    step = 0
    while True:
        step += 1
        frontier = edges[(steps[edges[:, 0]] == step - 1) & (steps[edges[:, 1]] < 0)]
        if len(frontier) == 0:
            break
        source[frontier[:, 1]] = source[frontier[:, 0]]
        steps[frontier[:, 1]] = step
    return source, np.asarray(np.clip(steps, 0, 3) / 3, np.float32)


def draw_patch(patch: MeshPatch, points: np.ndarray, opening: np.ndarray, size: int) -> PatchBox | None:
    """Rasterize a patch.

    Args:
        patch: The patch.
        points: (N 3) its vertices in the frame: sides and depth.
        opening: (K 2) a polygon in sides; what is behind the skin is visible only inside it.
        size: Size of the frame, pixels.

    Returns:
        The drawn patch; None outside the frame.
    """
    skin_points = points[patch.is_skin]
    low = np.maximum(np.floor(skin_points[:, :2].min(0) * size).astype(int), 0)
    high = np.minimum(np.ceil(skin_points[:, :2].max(0) * size).astype(int), size)
    if (high - low < 2).any():
        return None
    (width, height), k = (high - low).tolist(), SAMPLES_PER_AXIS
    pixels = np.column_stack([(points[:, :2] * size - low) * k, points[:, 2]])
    fragments = rasterize(pixels, patch.triangles, height * k, width * k)
    is_skin = fragments.triangles < patch.skin_triangles
    mask = np.zeros((height * k, width * k), np.uint8)
    cv2.fillPoly(mask, [np.round((opening * size - low) * k * 16 - 8).astype(np.int32)], 1, shift=4)
    is_visible = is_skin | (mask.reshape(-1)[fragments.pixels] > 0)
    fragments = Fragments(fragments.pixels[is_visible], fragments.triangles[is_visible], fragments.weights[is_visible])
    is_skin = is_skin[is_visible]
    skin = Fragments(fragments.pixels[is_skin], fragments.triangles[is_skin], fragments.weights[is_skin])
    values = skin.interpolate(np.concatenate([patch.source, patch.hidden, patch.window], 1), patch.triangles)
    full = np.zeros((height * k * width * k, 4), np.float32)
    full[skin.pixels] = values
    cover = np.zeros((height * k * width * k, 2), np.float32)
    cover[skin.pixels, 0] = 1
    cover[fragments.pixels[~is_skin], 1] = 1
    full, cover = (
        cv2.resize(a.reshape(height * k, width * k, -1), (width, height), interpolation=cv2.INTER_AREA)
        for a in (full, cover)
    )
    coverage = cover[..., 0]
    mean = full[..., :3] / np.maximum(coverage, 1e-6)[..., None]
    window = full[..., 3] + cover[..., 1]
    return PatchBox(
        int(low[0]),
        int(low[1]),
        coverage,
        cover[..., 1],
        mean[..., :2],
        mean[..., 2],
        np.minimum(window, 1),
        fragments,
        (height * k, width * k),
    )
