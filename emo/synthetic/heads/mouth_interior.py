"""The mouth's interior: teeth, gums, tongue and walls, with colors drawn per person and the light of the photograph."""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.fitting import Pose, model_unit, rotation_of_angles
from emo.synthetic.heads.head_shape import HeadShape, smoothstep
from emo.synthetic.heads.mesh_patch import MeshPatch, PatchBox, build_patch
from emo.synthetic.heads.photo_texture import PhotoTexture
from emo.synthetic.heads.rasterizer import Fragments, rasterize

PARTS = ("socket", "gums_tongue", "teeth")
LIGHT = np.array([0.1, -0.45, -0.89], np.float32)  # direction to the light: above and in front
DEPTH = {"teeth": 3.0, "gums_tongue": 3.2, "socket": 1.8}  # model units over which the light falls to 1 / e
MIN_OPENING, FULL_OPENING = (
    0.004,
    0.016,
)  # over the face's height: the interior is visible from the first on, fully from the second
MIN_LIGHT = 0.12  # share of the light in the throat
LIP_SHADOW = 0.24
GAP_DEPTHS, GAP_SHADE = (0.03, 0.16), 0.6  # model units behind the arch of the teeth: gaps between them; their darkness
# Brightness of a vertex that is turned away from the light: gaps between teeth are dark, and teeth darken to the sides
AMBIENT = {"teeth": 0.42, "gums_tongue": 0.6, "socket": 0.68}
TOOTH_SHADES = (0.82, 1.02)  # brightness over that of white under the photograph's light: shades C3 to B1 of dentists
UPPER_TEETH = (0.012, 0.028)  # of the face's height: how far the upper incisors radius below the lip of a mouth at rest
LOWER_TEETH = (-0.006, 0.008)  # and the lower incisors' edge below it


@dataclass(frozen=True)
class MouthInterior:
    """The patch around the lips and what is behind them.

    Attributes:
        patch: Lips, and the interior's triangles behind them.
        colors: (N 3) float32 0..255 of the patch's vertices, shaded but not darkened with depth.
        depth: (N 1) float32 distance behind the front of the upper teeth, over DEPTH of the vertex's part.
        lip: (3,) float32 color of the inner side of the lips.
    """

    patch: MeshPatch
    colors: np.ndarray
    depth: np.ndarray
    lip: np.ndarray

    @classmethod
    def build(cls, shape: HeadShape, texture: PhotoTexture, rng: np.random.Generator) -> "MouthInterior":
        """Build the interior of a person's mouth.

        Args:
            shape: The head.
            texture: The photograph, which gives the colors of lips and light.
            rng: Draws what the photograph does not show: tones and position of the teeth.

        Returns:
            The interior.
        """
        model, landmarks = shape.model, shape.landmarks
        across = landmarks[54] - landmarks[48]
        width = float(np.linalg.norm(across))
        parts = {name: visible_triangles(shape, name) for name in PARTS if name in model.parts}
        radii, angle = np.array([0.62, 0.5]) * width, float(np.arctan2(across[1], across[0]))
        patch = build_patch(shape, landmarks[48:60].mean(0), radii, angle, parts, 1.0, 1.55)
        patch.vertices.residual[~patch.is_skin] = align_teeth(shape, patch, rng)[~patch.is_skin]
        tones = draw_tones(shape, texture, rng)
        base, unit = patch.vertices.base, model_unit(model)
        front = float(np.percentile(base[patch.is_part(model, "teeth"), 2], 2))
        colors, depth = np.zeros_like(base), np.zeros((len(base), 1), np.float32)
        for name in parts:
            rows = patch.is_part(model, name)
            colors[rows] = tones[name]
            depth[rows, 0] = np.maximum(base[rows, 2] - front, 0) / unit / DEPTH[name]
        tongue = find_tongue(patch, model, unit)
        colors[tongue] = tones["tongue"]
        normals = vertex_normals(base, patch.triangles[patch.skin_triangles :])
        ambient = np.ones(len(base), np.float32)
        for name in parts:
            ambient[patch.is_part(model, name)] = AMBIENT[name]
        shading = ambient + (1 - ambient) * np.maximum(normals @ LIGHT, 0)
        shading *= shade_gaps(base / unit, patch.is_part(model, "teeth"))
        return cls(patch, np.float32(colors * shading[:, None]), depth, np.float32(tones["lip"]))

    def paint(self, box: PatchBox, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Colors what is behind the lips in a drawn patch.

        Args:
            box: The drawn patch.
            opening: Opening of the inner lips minus the portrait's, over the face's height.

        Returns:
            (h w 3) float32 mean colors where `box.behind` is above 0, and (h w) their share.
        """
        fragments = box.fragments
        behind = fragments.triangles >= self.patch.skin_triangles
        inner = Fragments(fragments.pixels[behind], fragments.triangles[behind], fragments.weights[behind])
        values = inner.interpolate(np.concatenate([self.colors, self.depth], 1), self.patch.triangles)
        colors = values[:, :3] * (MIN_LIGHT + (1 - MIN_LIGHT) * np.exp(-values[:, 3:]))
        mean, blur = box.reduce(inner.pixels, colors), 0.006 * box.skin.shape[1] + 0.1  # as sharp as photographs
        mean = (
            cv2.GaussianBlur(mean, (0, 0), blur)
            / np.maximum(cv2.GaussianBlur(box.behind, (0, 0), blur), 1e-6)[..., None]
        )
        radius = max(1, round(0.05 * box.skin.shape[1]))
        shadow = cv2.blur(box.skin, (2 * radius + 1, 2 * radius + 1))
        shadow[radius // 2 + 1 :] = shadow[: -(radius // 2 + 1)].copy()  # the upper lip's shadow falls downward
        light = 1 - LIP_SHADOW * np.clip(shadow, 0, 1)
        share = box.behind * np.clip((opening - MIN_OPENING) / (FULL_OPENING - MIN_OPENING), 0, 1)
        return mean * light[..., None], share


def align_teeth(shape: HeadShape, patch: MeshPatch, rng: np.random.Generator) -> np.ndarray:
    """Offsets that bring the edges of the incisors to the lips; the parts of each jaw move along.

    At rest 1 to 3 mm of the upper incisors show (Vig and Brundo, "The kinetics of anterior tooth display", 1978).

    Args:
        shape: The head.
        patch: Patch of the mouth.
        rng: Draws how far the incisors are visible.

    Returns:
        (N 2) float32 sides, for the patch's vertices.
    """
    landmarks, model, height = shape.landmarks, shape.model, shape.fit.face_height
    offset = np.tile(shape.correction(landmarks[[51, 57, 62, 66]]).mean(0), (len(patch.indices), 1))
    teeth = patch.is_part(model, "teeth")
    if not teeth.any() or "jawOpen" not in model.names:
        return offset
    moved = np.linalg.norm(patch.vertices.basis[model.names.index("jawOpen")].reshape(-1, 3), axis=1)
    jaw = smoothstep(moved / max(float(moved.max()), 1e-6), 0.15, 0.5)
    for share, edge, lips, display in ((1 - jaw, 85, (61, 62, 63), UPPER_TEETH), (jaw, 15, (65, 66, 67), LOWER_TEETH)):
        row = teeth & (share > 0.5)
        front = row & (patch.vertices.base[:, 2] < np.percentile(patch.vertices.base[row, 2], 20))
        height_of_edge = np.percentile(shape.fit.pose.project(patch.vertices.base[front])[:, 1], edge)
        target = landmarks[list(lips), 1].mean() + float(rng.uniform(*display)) * height
        offset[:, 1] += share * (target - height_of_edge - offset[:, 1])
    return np.asarray(offset, np.float32)


def draw_tones(shape: HeadShape, texture: PhotoTexture, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw the colors of the mouth's parts under the photograph's light.

    Lips and light are measured; teeth (white to yellowish, TOOTH_SHADES) and gums (pink to brown) are drawn.

    Args:
        shape: The head.
        texture: The photograph.
        rng: Draws the tones.

    Returns:
        (3,) 0..255 of lip, teeth, gums_tongue, tongue and socket.
    """
    landmarks = shape.landmarks
    lip = texture.mean_color(
        np.concatenate([landmarks[[49, 50, 52, 53]], landmarks[[56, 57, 58]]]) * 0.5 + 0.5 * landmarks[48:60].mean(0)
    )
    lip = 0.5 * lip + 0.5 * texture.mean_color(landmarks[[57, 58, 56]] * 0.6 + landmarks[[66, 67, 65]] * 0.4)
    cheeks = texture.mean_color(np.stack([0.5 * (landmarks[31] + landmarks[2]), 0.5 * (landmarks[35] + landmarks[14])]))
    white = texture.bright_color(landmarks[36:42], 85) * 0.5 + texture.bright_color(landmarks[42:48], 85) * 0.5
    face = texture.bright_color(landmarks[[*range(17), *range(26, 16, -1)]], 90)  # where the light falls on
    skin_light, white_light = float(cheeks.mean()), float(white.mean())
    light = float(np.clip(max(1.3 * white_light, 1.0 * float(face.mean())), 1.3 * skin_light, 2.4 * skin_light))
    light = min(light, 230.0)
    tint = np.clip(white / max(white_light, 1), 0.85, 1.15)  # of the lamp, on the white of the eyes
    warmth = float(rng.uniform(0.2, 1.0))  # dark teeth are yellower
    tooth = np.array([1.02 + 0.03 * warmth, 1.0, 0.97 - 0.13 * warmth]) * (0.55 + 0.45 * tint)
    tooth *= TOOTH_SHADES[1] - (TOOTH_SHADES[1] - TOOTH_SHADES[0]) * (0.5 * warmth + 0.5 * float(rng.random()))
    pink = np.array([0.95, 0.52, 0.50]) + rng.normal(0, [0.03, 0.03, 0.03])
    gums = 0.55 * pink * light * 0.78 + 0.45 * lip
    tongue = 0.6 * np.array([0.86, 0.47, 0.46]) * light * 0.8 + 0.4 * lip
    return {
        "lip": lip * [0.86, 0.72, 0.72],
        "teeth": tooth * light,
        "gums_tongue": gums,
        "tongue": tongue,
        "socket": 0.5 * lip * [0.8, 0.55, 0.55] + 0.5 * np.array([0.45, 0.16, 0.15]) * light,
    }


def shade_gaps(base: np.ndarray, teeth: np.ndarray) -> np.ndarray:
    """Darken what lies behind the arch of the teeth: the gaps between them.

    Args:
        base: (N 3) vertices, units of ICT-FaceKit.
        teeth: (N,) bool, which of them are teeth.

    Returns:
        (N,) float32 brightness, 1 on the front of the teeth and on all other vertices.
    """
    shade = np.ones(len(base), np.float32)
    middle = np.median(base[teeth, 1]) if teeth.any() else 0.0
    for row in (teeth & (base[:, 1] <= middle), teeth & (base[:, 1] > middle)):
        if row.sum() < 40:
            continue
        x, z = base[row, 0], base[row, 2]
        bins = np.linspace(x.min(), x.max(), 17)
        inside = [z[(x >= a) & (x <= b)] for a, b in zip(bins, bins[1:], strict=False)]
        fronts = [(0.5 * (a + b), v.min()) for a, b, v in zip(bins, bins[1:], inside, strict=False) if len(v)]
        across, depth = np.transpose(fronts)
        arch = np.polynomial.Polynomial.fit(across, depth, 4)
        shade[row] = 1 - GAP_SHADE * smoothstep(z - arch(x), *GAP_DEPTHS)
    return shade


def find_tongue(patch: MeshPatch, model: FaceModel, unit: float) -> np.ndarray:
    """Return which vertices are the tongue's: those of gums_tongue inside the arch of the lower teeth.

    Args:
        patch: Patch of the mouth.
        model: The face model.
        unit: Length of one unit of ICT-FaceKit in the model.

    Returns:
        (N,) bool.
    """
    rows = patch.is_part(model, "gums_tongue")
    if not rows.any() or not patch.is_part(model, "teeth").any():
        return rows
    base = patch.vertices.base
    teeth = base[patch.is_part(model, "teeth")]
    middle = float(np.median(teeth[:, 1]))
    lower = teeth[teeth[:, 1] > middle]
    jaw = model.names.index("jawOpen") if "jawOpen" in model.names else 0
    moved = np.linalg.norm(patch.vertices.basis[jaw].reshape(-1, 3), axis=1)
    center = float(np.median(base[rows, 0]))
    half = 0.62 * float(np.abs(lower[:, 0] - center).max()) if len(lower) else 0.0
    inside = np.abs(base[:, 0] - center) < half
    front = float(lower[:, 2].min()) + 0.9 * unit if len(lower) else 0.0
    return (
        rows
        & inside
        & (base[:, 2] > front)
        & (moved > 0.3 * moved.max())
        & (base[:, 1] < lower[:, 1].max() - 0.3 * unit)
    )


def visible_triangles(shape: HeadShape, part: str) -> np.ndarray:
    """Find the triangles of a part that are visible between the lips, from the front or a side.

    Args:
        shape: The head.
        part: Name of the part, such as teeth.

    Returns:
        (T 3) vertices of the triangles.
    """
    model = shape.model
    triangles = model.triangles_of(*[name for name in PARTS if name in model.parts])
    chosen = np.unique(triangles)
    local = np.searchsorted(chosen, triangles)
    jaw = model.expression[model.names.index("jawOpen")][chosen] if "jawOpen" in model.names else np.float32(0)
    base = model.vertices(shape.fit.identity, shape.fit.expression, chosen)
    is_visible = np.zeros(len(triangles), bool)
    for opening in (0.1, 0.4, 0.8):
        for yaw in (-0.4, 0.0, 0.4):
            points = Pose(1.0, rotation_of_angles((yaw, 0, 0)), np.zeros(2)).project(base + np.float32(opening) * jaw)
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            points[:, :2] = (points[:, :2] - low) * (250 / (high - low).max())
            is_visible[rasterize(points, local, 251, 251).triangles] = True
    first, end = model.parts[part]
    in_part = ((triangles >= first) & (triangles < end)).all(1)
    return triangles[is_visible & in_part]


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Compute the normals of vertices, towards the viewer (z below 0).

    Args:
        vertices: (N 3) positions.
        triangles: (T 3) vertices of each triangle.

    Returns:
        (N 3) unit normals.
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    faces *= -np.sign(faces[:, 2:] + 1e-12)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], faces)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
