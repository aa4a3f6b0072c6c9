"""Eyeballs that turn behind lids that close: the iris is cut out of the photograph and the sclera behind it filled in.

The turned iris is the texture of the eyeball's front, moved as a sphere turns (Wood et al., "GazeDirector", 2018). A
closing lid is the skin that covers the eye, and the line of the lashes. Canvas (C C), boxes (h w).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.synthetic.heads.head_shape import HeadShape, smoothstep
from emo.synthetic.heads.mesh_patch import MeshPatch, PatchBox, build_patch
from emo.synthetic.heads.photo_texture import PhotoTexture
from emo.synthetic.heads.rasterizer import Fragments

EYES = {
    "R": (slice(36, 42), "eyeball_right"),
    "L": (slice(42, 48), "eyeball_left"),
}  # side of the person (R is at the picture's left) -> landmarks, part of the face model
IRIS_RADIUS = 0.205  # over the eye's width: half of 11.7 mm, over 28.5 mm
IRIS_EDGE = (0.96, 1.14)  # radii between which the iris fades out
LID_SHARE, LASH_SHARE = 0.92, 0.9  # opacity of a closed lid's skin and lashes over the photograph
LASH_WIDTH = 0.065  # over the eye's width
LASH_BRIGHTNESS = 0.28  # over that of the lid
MIN_TURN, FULL_TURN = 0.003, 0.03  # radians of gaze change over which the drawn eyeball replaces the photograph's
COVER_MARGIN = 0.10  # over the eye's width: lashes and eye shadow around the opening, which are no skin
COVER_BLUR = 0.2  # over the eye's width, sigma
SKIN_PERCENTILES = (30, 60)  # of the brightness around the eye: darker pixels are lashes, brows and frames of glasses


@dataclass(frozen=True)
class Eye:
    """One eye.

    Attributes:
        patch: Lids, and the eyeball behind them.
        plate: (C C 3) uint8 canvas without the iris.
        iris: (C C 4) float32 canvas of the iris alone: colors times alpha, alpha.
        lid: (N 2) float32: shares of unfolding lid skin and of the lids' rims at the patch's vertices.
        cover: (C C 3) uint8 canvas on which skin covers the eye.
        lid_color: (3,) float32 of the lid skin.
    """

    patch: MeshPatch
    plate: np.ndarray
    iris: np.ndarray
    lid: np.ndarray
    cover: np.ndarray
    lid_color: np.ndarray

    @classmethod
    def build(cls, shape: HeadShape, texture: PhotoTexture, side: str, iris: np.ndarray) -> "Eye":
        """Build an eye.

        Args:
            shape: The head.
            texture: The photograph.
            side: L or R, of the person.
            iris: (2,) center of the iris, sides.

        Returns:
            The eye.
        """
        rows, eyeball = EYES[side]
        lids = shape.landmarks[rows]
        across = lids[3] - lids[0]
        yaw = shape.fit.head_radians[0]
        width = float(np.linalg.norm(across)) / max(float(np.cos(yaw)), 0.5)
        parts = {}
        if eyeball in shape.model.parts:
            triangles = shape.model.triangles_of(eyeball)
            depth = shape.model.neutral[:, 2]
            first, end = shape.model.parts[eyeball]
            parts = {eyeball: triangles[depth[triangles].mean(1) < np.median(depth[first:end])]}
        radii, angle = np.array([0.62, 0.5]) * width, float(np.arctan2(across[1], across[0]))
        patch = build_patch(shape, lids.mean(0), radii, angle, parts, 1.0, 1.6)
        patch.vertices.residual[~patch.is_skin] = shape.correction(lids).mean(0)
        patch.source[~patch.is_skin] = (shape.fit.pose.project(patch.vertices.base)[:, :2] + patch.vertices.residual)[
            ~patch.is_skin
        ]
        plate, disc = split_iris(texture, lids, iris, IRIS_RADIUS * width)
        cover = cover_eye(texture, lids)
        row, column = np.round(texture.pixels(lids.mean(0))[::-1]).astype(int)
        lid_color = np.asarray(cover[row, column], np.float32)
        return cls(patch, plate, disc, find_lid(shape, patch, side), cover, lid_color)

    def skin_colors(
        self, box: PatchBox, texture: PhotoTexture, rest: np.ndarray, closed: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colors the lids: the photograph's pixels, and lid skin with dark rims where a closing eye unfolds it.

        Args:
            box: The drawn patch.
            texture: The photograph.
            rest: (N 2) sides: where the patch's vertices would be in the portrait if the head did not move.
            closed: 0 open to 1 closed.

        Returns:
            (h w 3) colors, and (h w) the share of them that the portrait does not show.
        """
        colors = texture.sample(box.source).astype(np.float32)
        colors *= 1 - 0.25 * box.hidden[..., None]
        if closed <= 0:
            return colors, np.zeros(box.skin.shape, np.float32)
        fragments = box.fragments
        skin = fragments.triangles < self.patch.skin_triangles
        outer = Fragments(fragments.pixels[skin], fragments.triangles[skin], fragments.weights[skin])
        values = np.concatenate([self.lid, np.float32(rest)], 1)
        means = box.reduce(outer.pixels, outer.interpolate(values, self.patch.triangles))
        means /= np.maximum(box.skin, 1e-6)[..., None]
        unfolded, rim = np.clip(means[..., :2].sum(-1, keepdims=True), 0, 1), means[..., 1:2] * closed**2
        lid = unfolded * (LID_SHARE * min(1.0, 1.5 * closed))
        cover = texture.sample(np.ascontiguousarray(means[..., 2:]), self.cover).astype(np.float32)
        colors += (cover - colors) * lid
        colors += (LASH_BRIGHTNESS * cover - colors) * (LASH_SHARE * rim)
        return colors, np.maximum(lid, rim)[..., 0]

    def draw_lashes(self, image: np.ndarray, lids: np.ndarray, closed: float) -> np.ndarray:
        """Draw the lash line of a closing eye along its upper lid, in place.

        Args:
            image: (S S 3) uint8 frame.
            lids: (6 2) landmarks of the eye in the frame, sides.
            closed: 0 open to 1 closed.

        Returns:
            (S S) uint8 opacity of the lashes.
        """
        size, scale = len(image), 3
        width = float(np.linalg.norm(lids[3] - lids[0])) * size
        line = lash_line(lids) * size
        low = np.maximum(np.floor(line.min(0)).astype(int) - 3, 0)
        high = np.minimum(np.ceil(line.max(0)).astype(int) + 4, size)
        cover = np.zeros((size, size), np.uint8)
        if (high - low < 2).any():
            return cover
        extent = (high - low) * scale
        drawn = np.zeros(extent[::-1], np.uint8)
        points = np.round(((line - low) * scale - 0.5) * 16).astype(np.int32)
        thickness = max(1, round(LASH_WIDTH * width * scale))
        cv2.polylines(drawn, [points], False, round(255 * LASH_SHARE * float(closed) ** 2), thickness, cv2.LINE_AA, 4)
        small = cv2.resize(drawn, tuple((high - low).tolist()), interpolation=cv2.INTER_AREA)
        cover[low[1] : high[1], low[0] : high[0]] = small
        alpha = small[..., None].astype(np.float32) / 255
        part = image[low[1] : high[1], low[0] : high[0]]
        part[:] = np.uint8(part * (1 - alpha) + LASH_BRIGHTNESS * self.lid_color * alpha + 0.5)
        return cover

    def paint(
        self, box: PatchBox, texture: PhotoTexture, shift: np.ndarray, gaze_change: float, closed: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colors the eyeball in a drawn patch.

        Args:
            box: The drawn patch.
            texture: The photograph.
            shift: (2,) sides: displacement of the iris in the portrait's plane.
            gaze_change: Radians between this gaze and the portrait's.
            closed: 0 open to 1 closed; the lids shade the eyeball.

        Returns:
            (h w 3) colors where `box.behind` is above 0, (h w 2) their positions in the portrait, and (h w) the share
            of them that the portrait does not show.
        """
        fragments = box.fragments
        behind = fragments.triangles >= self.patch.skin_triangles
        inner = Fragments(fragments.pixels[behind], fragments.triangles[behind], fragments.weights[behind])
        source = box.reduce(inner.pixels, inner.interpolate(self.patch.source, self.patch.triangles))
        source /= np.maximum(box.behind, 1e-6)[..., None]
        shade = np.float32(1 - 0.8 * smoothstep(np.array(closed), 0.6, 1.0))
        fixed = texture.sample(source).astype(np.float32) * shade
        mix = float(smoothstep(np.array(gaze_change), MIN_TURN, FULL_TURN))
        if mix == 0:
            return fixed, source, np.zeros(box.skin.shape, np.float32)
        moved = source - np.float32(shift)
        iris, plate = texture.sample(moved, self.iris), texture.sample(source, self.plate).astype(np.float32) * shade
        alpha = iris[..., 3]
        drawn = plate * (1 - alpha[..., None]) + iris[..., :3] * shade
        was_iris = texture.sample(source, self.iris)[..., 3]
        unsourced = (1 - alpha) * was_iris * mix
        return fixed * (1 - mix) + drawn * mix, np.where(alpha[..., None] > 0.5, moved, source), unsourced


def find_lid(shape: HeadShape, patch: MeshPatch, side: str) -> np.ndarray:
    """Find the lid of an eye among a patch's vertices.

    Args:
        shape: The head.
        patch: Patch of the eye.
        side: L or R, of the person.

    Returns:
        (N 2) float32: skin of the lid, 1 where a blink moves most; and the lids' rims.
    """
    down = patch.vertices.basis[shape.model.names.index(f"eyeBlink_{side}")].reshape(-1, 3)[:, 1]
    lid = smoothstep(down / max(float(down.max()), 1e-6), 0.2, 0.6) * patch.is_skin
    skin = patch.triangles[: patch.skin_triangles]
    rim = patch.hidden[:, 0] > 0
    near = np.zeros(len(lid))
    near[np.unique(skin[rim[skin].any(1)])] = 1
    second = np.zeros(len(lid), bool)
    second[np.unique(skin[(near[skin] == 1).any(1)])] = True
    near[second & (near == 0) & (lid > 0.3)] = 0.6  # the upper lid's lashes are the thicker line
    return np.stack([lid * (1 - near), near], 1).astype(np.float32)


def split_iris(
    texture: PhotoTexture, lids: np.ndarray, iris: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Separate the iris from the eye.

    Args:
        texture: The photograph.
        lids: (6 2) sides.
        iris: (2,) center of the iris, sides.
        radius: Expected radius, sides.

    Returns:
        The canvas (C C 3) uint8 with sclera in place of the iris; and the iris (C C 4) float32, of which
        a part behind a lid is its mirror image, or the mean at that radius.
    """
    canvas = texture.canvas
    shape = canvas.shape[:2]
    center = texture.pixels(np.float32(iris))
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    opening = np.zeros(shape, np.uint8)
    scale = np.round(texture.pixels(smooth_lids(lids)) * 16).astype(np.int32)
    cv2.fillPoly(opening, [scale], 255, lineType=cv2.LINE_AA, shift=4)
    is_visible = opening > 200
    colors = canvas.astype(np.float32)
    size = measure_iris(colors.mean(-1), is_visible, xs - center[0], ys - center[1], radius * texture.size)
    distance = np.hypot(xs - center[0], ys - center[1]) / size
    sclera = is_visible & (distance > 1.25)
    fill = sclera_color(colors, sclera, is_visible, xs, ys)
    soft = 1 - smoothstep(distance, IRIS_EDGE[0] + 0.15, IRIS_EDGE[1] + 0.25)
    plate = colors * (1 - soft[..., None]) + fill * soft[..., None]
    disc = np.zeros((*shape, 4), np.float32)
    near = np.flatnonzero((distance < IRIS_EDGE[1] + 0.3).ravel())
    x, y = xs.ravel()[near], ys.ravel()[near]
    choices = [(x, y), (x, 2 * center[1] - y), (2 * center[0] - x, 2 * center[1] - y), (2 * center[0] - x, y)]
    chosen = np.zeros((len(near), 3), np.float32)
    is_filled = np.zeros(len(near), bool)
    mask = is_visible.astype(np.float32)
    for cx, cy in choices:
        color = cv2.remap(colors, cx[None], cy[None], cv2.INTER_LINEAR)[0]
        is_new = (cv2.remap(mask, cx[None], cy[None], cv2.INTER_LINEAR)[0] > 0.9) & ~is_filled
        chosen[is_new], is_filled[is_new] = color[is_new], True
    ring = np.clip((distance.ravel()[near] * 6).astype(int), 0, 8)
    overall = chosen[is_filled].mean(0) if is_filled.any() else np.array([60, 50, 45], np.float32)
    for k in range(9):
        rows = ring == k
        filled_rows = rows & is_filled
        chosen[rows & ~is_filled] = chosen[filled_rows].mean(0) if filled_rows.any() else overall
    alpha = 1 - smoothstep(distance.ravel()[near], *IRIS_EDGE)
    disc.reshape(-1, 4)[near] = np.column_stack([chosen * alpha[:, None], alpha])
    return (np.clip(plate, 0, 255) + 0.5).astype(np.uint8), disc


def measure_iris(bright: np.ndarray, is_visible: np.ndarray, dx: np.ndarray, dy: np.ndarray, expected: float) -> float:
    """Measure the radius of an iris: where the picture, to both sides, grows brightest outwards (Daugman 1993).

    Args:
        bright: (C C) brightness.
        is_visible: (C C) bool, between the lids.
        dx, dy: (C C) pixels from the iris's center.
        expected: Expected radius, pixels.

    Returns:
        Pixels, within 0.8 to 1.3 of the expected radius.
    """
    distance = np.hypot(dx, dy)
    aside = is_visible & (np.abs(dy) < 0.75 * np.abs(dx)) & (distance < 2 * expected)
    if aside.sum() < 8:
        return expected
    d, values = distance[aside], bright[aside]
    band = max(0.22 * expected, 0.8)
    best, radius = 0.0, expected
    for candidate in expected * np.linspace(0.8, 1.3, 26):
        inside, outside = np.abs(d - candidate + band / 2) <= band / 2, np.abs(d - candidate - band / 2) < band / 2
        if inside.sum() >= 2 and outside.sum() >= 2:
            step = float(values[outside].mean() - values[inside].mean())
            if step > best:
                best, radius = step, float(candidate)
    return radius


def sclera_color(
    colors: np.ndarray, sclera: np.ndarray, is_visible: np.ndarray, xs: np.ndarray, ys: np.ndarray
) -> np.ndarray:
    """Color of the sclera everywhere: linear across the eye, fitted to its visible part.

    Args:
        colors: (C C 3) float32 canvas.
        sclera: (C C) bool, visible sclera.
        is_visible: (C C) bool, between the lids.
        xs, ys: (C C) pixel coordinates.

    Returns:
        (C C 3); with hardly any visible sclera, the color of the eye's brightest part.
    """
    bright = colors.mean(-1)
    if is_visible.sum() < 4:
        return colors
    if sclera.sum() >= 8:
        level = np.percentile(bright[sclera], 60)  # the darker half is in the shadow of lashes
        sclera = sclera & (bright >= level)
    if sclera.sum() < 6:
        best = is_visible & (bright >= np.percentile(bright[is_visible], 85))
        return np.broadcast_to(colors[best].mean(0), colors.shape)
    x0, scale = float(xs[sclera].mean()), max(float(np.ptp(xs[is_visible])) / 2, 1.0)
    design = np.column_stack([np.ones(int(sclera.sum())), (xs[sclera] - x0) / scale])
    normal = design.T @ design + np.diag([0.0, 3.0 * len(design)])
    coefficients = np.linalg.solve(normal, design.T @ colors[sclera])
    across = np.clip((xs - x0) / scale, -1, 1)
    y0, half = float(ys[is_visible].mean()), max(float(np.ptp(ys[is_visible])) / 2, 1.0)
    lid_shadow = 1 - 0.22 * np.clip((y0 - ys) / half, 0, 1)
    return np.asarray((coefficients[0] + across[..., None] * coefficients[1]) * lid_shadow[..., None], np.float32)


def cover_eye(texture: PhotoTexture, lids: np.ndarray) -> np.ndarray:
    """Cover an eye with the skin around it.

    The lid of an open eye is folded away, so that the photograph does not show it. Its colors are a normalized
    convolution (Knutsson and Westin, 1993) of the bright skin around the opening, so that they have its light.

    Args:
        texture: The photograph.
        lids: (6 2) landmarks of the eye, sides.

    Returns:
        (C C 3) uint8 canvas.
    """
    canvas = texture.canvas
    width = float(np.linalg.norm(lids[3] - lids[0])) * texture.size
    outline = texture.pixels(smooth_lids(lids))
    low = np.maximum(np.floor(outline.min(0) - 0.9 * width).astype(int), 0)
    high = np.minimum(np.ceil(outline.max(0) + 0.9 * width).astype(int), canvas.shape[0])
    part = canvas[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    opening = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(opening, [np.round((outline - low) * 16).astype(np.int32)], 1, shift=4)
    distance = cv2.distanceTransform(1 - opening, cv2.DIST_L2, 5) / width
    around = (distance > COVER_MARGIN) & (distance < 0.45)
    bright = part.mean(-1)
    dark, light = np.percentile(bright[around], SKIN_PERCENTILES) if around.any() else (0.0, 1.0)
    weight = around * (0.02 + np.clip((bright - dark) / max(light - dark, 1.0), 0, 1))
    weight = weight.astype(np.float32)[..., None]
    sums = cv2.GaussianBlur(np.concatenate([part * weight, weight], -1), (0, 0), max(COVER_BLUR * width, 1.0))
    skin = sums[..., :3] / np.maximum(sums[..., 3:], 1e-6)
    inside = 1 - smoothstep(distance, COVER_MARGIN, 0.2)[..., None]
    covered = canvas.copy()
    covered[low[1] : high[1], low[0] : high[0]] = np.uint8(np.clip(part + (skin - part) * inside, 0, 255) + 0.5)
    return covered


def lash_line(lids: np.ndarray, steps: int = 13) -> np.ndarray:
    """Fit a parabola to an upper lid, from corner to corner; the lid of a closed eye ends at the lower one.

    Args:
        lids: (6 2) landmarks of an eye.
        steps: Number of points.

    Returns:
        (steps 2) points.
    """
    t = np.array([0, 1 / 3, 2 / 3, 1])
    lids = lids.copy()
    lids[1:3, 1] = np.minimum(lids[1:3, 1], lids[[5, 4], 1])
    weights = np.array([1.0, 0.7, 0.7, 1.0])
    curve = [np.polynomial.Polynomial.fit(t, lids[:4, k], 2, w=weights, domain=[0, 1], window=[0, 1]) for k in range(2)]
    return np.stack([axis(np.linspace(0.02, 0.98, steps)) for axis in curve], 1)


def smooth_lids(lids: np.ndarray, steps: int = 6) -> np.ndarray:
    """Return a smooth closed line along the lids: a Catmull-Rom spline with sharp corners.

    Args:
        lids: (6 2) landmarks of an eye.
        steps: Points between two landmarks.

    Returns:
        (6 * steps 2) points.
    """
    before, after = np.roll(lids, 1, 0), np.roll(lids, -1, 0)
    tangents = (after - before) / 2
    line = []
    for k in range(6):
        a, b = lids[k], lids[(k + 1) % 6]
        ta = (b - a) if k in (0, 3) else tangents[k]
        tb = (b - a) if (k + 1) % 6 in (0, 3) else tangents[(k + 1) % 6]
        for t in np.arange(steps) / steps:
            h = np.array([2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2])
            line.append(h @ np.stack([a, ta, b, tb]))
    return np.array(line)
