"""A drawn head that speaks, looks, blinks, smiles and turns, with the exact landmarks of each drawn picture.

The layers of `emo.synthetic.sample_portrait` are painted once. To draw a pose, each pixel is traced back: its ray meets
the height field of the rotated head; smooth displacement fields, one for each trait of the person and each part of an
expression, lead from there to the face at rest; where the lips are apart, the interior of the mouth is painted.
Landmarks go the same way in the opposite direction.

Lengths and fields are those of `emo.synthetic.sample_lighting`; the axes of a rotation are x right, y down, z into the
picture. Points are (... 2), a displacement field (G G 2) covers the whole picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.synthetic.sample_hair import draw_strokes, make_brows, make_lashes, to_pixels
from emo.synthetic.sample_lighting import EYES, UNIT, Canvas, blur, bump, mix, smoothstep, tone_map, unit_pixels
from emo.synthetic.sample_portrait import (
    IRIS_SHIFT,
    IRISES,
    LASH_COLOR,
    Appearance,
    HeadLayers,
    draw_strands,
    get_lid_lines,
    get_lid_points,
    get_mouth_lines,
    make_stroke_colors,
    paint_eyes,
    paint_layers,
)
from emo.synthetic.warped_photos import EYES as LID_POINTS
from emo.synthetic.warped_photos import INNER_LIPS

GRID = 256  # points on each side of a field, and the most rays, whose results are interpolated to pixels
NO_SECOND_MAP = np.empty(0, np.float32)  # of cv2.remap, as the first map has both coordinates
NEAR, FAR, SLICES = -1.7, 0.9, 28  # depths, relative to the neck, at which a ray is tested against the head
NECK = np.array([0.0, 0.95, 0.9])  # the center of rotation
RIM_DEPTH = 0.85  # of everything outside the head's silhouette
RELIEF = 1.15  # depth over the height in the portrait, so that the face is as deep as the mean face of emo.face.pose
FIXED_POINT_STEPS = 25  # in which a displacement field or the movement of the lips is inverted
EYE_BOX = np.array([[-0.85, -0.22], [0.85, 0.16]])  # around both eyes: left top and right bottom
EXPRESSIONS = ("smile", "brow", "frown")  # raise the corners of the mouth, the brows, the inner ends of the brows
TRAITS = ("jaw", "length", "eyes", "nose", "mouth")  # sizes by which people differ, about -1 .. 1
LOWER_LIP, UPPER_LIP, CHIN = 0.30, 0.09, 0.15  # how far they move when the mouth is wide open, in lengths
LEFT_LID, RIGHT_LID = LID_POINTS[:16], LID_POINTS[16:]
LOWER_POINTS, UPPER_POINTS = slice(1, 8), slice(9, None)  # of a lid's points, without the corners
MOUTH_CORNERS = INNER_LIPS[0], INNER_LIPS[10]
OUTER_MOUTH_CORNERS = 61, 291
MOUTH_HALF_WIDTH = 0.39  # from the middle to an inner corner


@dataclass(frozen=True)
class Pose:
    """The pose and expression of a head in a frame."""

    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)  # yaw, pitch, roll: to the right, down, clockwise; radians
    gaze: tuple[float, float] = (0.0, 0.0)  # of the eyes relative to the head: to the right, down; radians
    eye_closure: float = 0.0  # 0 open, 1 closed, negative wide open
    mouth_opening: float = 0.0  # 0 .. 1
    mouth_width: float = 0.0  # -1 round .. 1 wide
    expression: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of EXPRESSIONS


@dataclass(frozen=True)
class Camera:
    """How the head is placed in the square picture; zoom 1 is that of the sample portrait."""

    size: int  # pixels
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)  # of the head, in its own lengths

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (... 2) of the head -> pixels."""
        return (points + self.shift) * self.zoom * UNIT * self.size + np.array(EYES) * self.size

    def to_points(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (... 2) -> points of the head."""
        return (pixels - np.array(EYES) * self.size) / (self.zoom * UNIT * self.size) - self.shift


class DrawnHead:
    """One person: layers are painted once, then drawn in any pose."""

    def __init__(self, appearance: Appearance, traits: np.ndarray, seed: int, camera: Camera):
        """Paint the layers.

        Args:
            appearance: Colors, light and hair.
            traits: (5,) weights of TRAITS.
            seed: Seed of the skin's texture and the strands of hair.
            camera: The place of the head in the picture.
        """
        self.appearance, self.camera, self.seed = appearance, camera, seed
        canvas = Canvas.new(seed, next((side for side in (256, 512) if camera.size <= side), 1024))
        self.rays = int(np.clip(camera.size // 2, 64, GRID))
        layers = paint_layers(canvas, appearance, nape=0.5)
        self.canvas = canvas
        self.background = self._place_in_picture(tone_map(layers.background))
        self.bare_face, self.face = self._paint_face(layers)
        coarse = Canvas.new(0, GRID)
        self.trait_shifts = np.tensordot(np.asarray(traits, np.float32), make_trait_fields(coarse), 1)
        self.expression_fields = make_expression_fields(coarse)
        height = np.where(layers.head_mask > 0.5, layers.height, -RIM_DEPTH).astype(np.float32)
        depth, points = -RELIEF * blur(height, 0.07), np.stack([coarse.x, coarse.y], -1)
        self.depth = sample_field(depth, points - self.trait_shifts)
        self.last_eyes: tuple = (None, None)  # gaze and closure, and the face with them

    def draw(self, pose: Pose) -> np.ndarray:
        """Draw a pose: (size size 3) uint8 RGB."""
        size, texture = self.camera.size, self._paint_face_with_eyes(pose.gaze, pose.eye_closure)
        points = self._trace_rays(rotation_matrix(*pose.rotation))
        points = points - sample_field(self.trait_shifts, points)
        points = points - sample_field(self._get_expression_shifts(pose), points)
        rows, columns = np.nonzero((np.abs(points[..., 0]) < 1) & (points[..., 1] > 0.7) & (points[..., 1] < 2.1))
        points = cv2.resize(np.asarray(points, np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        cell, interior = size / self.rays, np.zeros((size, size), np.float32)
        mouth = np.s_[
            int(rows.min() * cell) : int(rows.max() * cell), int(columns.min() * cell) : int(columns.max() * cell)
        ]
        open_points = points[mouth].copy()
        points[mouth], between = close_lips(open_points, pose.mouth_opening)
        where = np.asarray(to_pixels(points, texture), np.float32)
        picture = cv2.remap(texture, where, NO_SECOND_MAP, cv2.INTER_LINEAR)
        alpha = cv2.merge([picture[..., 3]] * 3).astype(np.float32) / 255
        drawn = picture[..., :3] * alpha + self.background * (1 - alpha)
        if between.any():
            interior[mouth] = between
            interior = cv2.GaussianBlur(interior, (0, 0), size / 700)
            drawn[mouth] = mix(drawn[mouth], paint_mouth_interior(open_points, pose.mouth_opening), interior[mouth])
        return np.round(drawn).astype(np.uint8)

    def compute_landmarks(self, pose: Pose) -> np.ndarray:
        """MediaPipe's points (468 3) float32 of the drawn pose: x and y in pixels; z, into the picture, in the same
        scale."""
        points, lip = make_closed_mesh(pose.eye_closure)
        return self._project(open_lips(points, pose.mouth_opening, lip), pose)

    def compute_irises(self, pose: Pose) -> np.ndarray:
        """Return the centers of the irises (2 2) float32 pixels, the left one of the picture first, visible or not."""
        return self._project(IRISES + IRIS_SHIFT * np.sin(pose.gaze), pose)[:, :2]

    def _place_in_picture(self, layer: np.ndarray) -> np.ndarray:
        """Return a layer that does not move, as the camera shows it: (size size 3)."""
        corners = np.asarray([[0, 0], [1, 0], [0, 1]], np.float32)
        source = np.asarray(to_pixels(self.camera.to_points(corners * self.camera.size), layer), np.float32)
        matrix = cv2.getAffineTransform(corners * self.camera.size, source)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.camera.size, self.camera.size)
        return cv2.warpAffine(layer, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def _paint_face(self, layers: HeadLayers) -> tuple[np.ndarray, np.ndarray]:
        """(H W 3) linear light of the face without eyes and hair; (H W 4) uint8 sRGB with brows and hair, and as alpha
        the mask of the head."""
        mask, unit = np.asarray(255 * layers.head_mask, np.uint8), unit_pixels(layers.head_mask)
        for strand in np.ascontiguousarray(np.round(to_pixels(layers.strands, mask) * 16), np.int32):
            cv2.polylines(mask, [strand], False, (255,), max(1, len(mask) // 512), cv2.LINE_AA, 4)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(unit / 3), int(unit / 3)))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)  # closes gaps between strands
        under_hair = mix(layers.background, np.array(self.appearance.hair) * 0.2, mask / np.asarray(255, np.float32))
        bare = mix(under_hair, layers.skin, layers.head_mask)
        picture, strokes = tone_map(bare), make_brows(520, self.canvas.random)
        colors = make_stroke_colors(self.appearance.brow, self.canvas.random.uniform(0.7, 1.3, strokes.shape[:2]))
        draw_strokes(picture, strokes, colors, np.linspace(2.4, 0.6, 8) * 0.6 * len(picture) / 1024)
        draw_strands(picture, layers.strands, layers.lightness, self.appearance)
        return bare, np.dstack([picture, mask])

    def _paint_face_with_eyes(self, gaze: tuple[float, float], closure: float) -> np.ndarray:
        """`face` with its eyes; the last result is cached, because eyes often rest."""
        if self.last_eyes[0] != (gaze, closure):
            picture = self.face.copy()
            (left, top), (right, bottom) = np.asarray(to_pixels(EYE_BOX, picture), np.int32)
            rows, columns = slice(top, bottom), slice(left, right)
            patch = Canvas(self.canvas.x[rows, columns], self.canvas.y[rows, columns], None)
            eyes = tone_map(paint_eyes(patch, self.bare_face[rows, columns], self.appearance, gaze, closure))
            upper, lower, _ = get_lid_lines(patch, closure)
            between = smoothstep(np.minimum(patch.y - upper, lower - patch.y) + 0.03, 0.03)
            picture[rows, columns, :3] = mix(picture[rows, columns, :3].astype(np.float32), eyes, between)
            self._draw_lashes(picture[..., :3], patch, upper, lower, closure)
            self.last_eyes = (gaze, closure), picture
        return self.last_eyes[1]

    def _draw_lashes(
        self, picture: np.ndarray, patch: Canvas, upper: np.ndarray, lower: np.ndarray, closure: float
    ) -> None:
        """Draw the lashes of both lids' lines into a picture, in place."""
        random, widths = np.random.default_rng(self.seed), np.linspace(2.4, 0.6, 8) * len(picture) / 1024 * 0.6
        copy = np.ascontiguousarray(picture)
        upper_length = 0.050 * (1 - 1.6 * max(closure, 0))
        pale = tuple(0.35 * np.array(self.appearance.skin))
        for line, length, count, color in [(lower, -0.022, 50, pale), (upper, upper_length, 110, LASH_COLOR)]:
            strokes = make_lashes(get_lid_points(patch, line), length, count, random)
            colors = make_stroke_colors(color, random.uniform(0.7, 1.3, strokes.shape[:2]))
            draw_strokes(copy, strokes, colors, widths)
        picture[:] = copy

    def _get_expression_shifts(self, pose: Pose) -> np.ndarray:
        """Return the displacement field (G G 2) of mouth width and expression."""
        return np.tensordot(np.asarray([pose.mouth_width, *pose.expression], np.float32), self.expression_fields, 1)

    def _trace_rays(self, rotation: np.ndarray) -> np.ndarray:
        """Return the points (R R 2) of the unrotated head that R rays on each side meet first."""
        centers = (np.arange(self.rays) + 0.5) / self.rays * self.camera.size
        plane = self.camera.to_points(np.stack(np.meshgrid(centers, centers), -1)) - NECK[:2]
        start, ray = (
            np.asarray(plane @ rotation[:2] + NECK, np.float32),
            np.asarray(rotation[2], np.float32),
        )  # a ray: start + depth * ray
        met, before, done = start[..., :2].copy(), None, np.zeros(plane.shape[:2], bool)
        for depth in np.linspace(NEAR, FAR, SLICES, dtype=np.float32):
            here = start[..., :2] + depth * ray[:2]
            behind = start[..., 2] + depth * ray[2] - sample_field(self.depth, here)
            new = (behind >= 0) & ~done
            if before is not None and new.any():
                back = behind[new] / (behind - before)[new] * (FAR - NEAR) / (SLICES - 1)
                met[new] = here[new] - back[:, None] * ray[:2]
            before, done = behind, done | new
        return met

    def _project(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """Points (N 2) of the mean face -> (N 3) float32 pixels of this person in a pose."""
        points = invert_shifts(self.trait_shifts, invert_shifts(self._get_expression_shifts(pose), points[None]))[0]
        solid = np.column_stack([points, sample_field(self.depth, points[None])[0]])
        rotated = (solid - NECK) @ rotation_matrix(*pose.rotation).T + NECK
        depth = rotated[:, 2:] * self.camera.zoom * UNIT * self.camera.size
        return np.asarray(np.hstack([self.camera.to_pixels(rotated[:, :2]), depth]), np.float32)


def rotation_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the rotation by three angles: first pitch, then yaw, then roll.

    Args:
        yaw: Radians.
        pitch: Radians.
        roll: Radians.

    Returns:
        (3 3) matrix.
    """
    (a, b, c), (p, q, r) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn, nod = np.array([[a, 0, -p], [0, 1, 0], [p, 0, a]]), np.array([[1, 0, 0], [0, b, -q], [0, q, b]])
    return np.array([[c, -r, 0], [r, c, 0], [0, 0, 1]]) @ turn @ nod


def sample_field(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate a field that spans the picture.

    Args:
        field: (G G ...) values.
        points: (... 2) positions in lengths.

    Returns:
        Values at the points.
    """
    where = np.asarray(to_pixels(points, field), np.float32).reshape(len(points), -1, 2)
    values = cv2.remap(field, where, NO_SECOND_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(*points.shape[:-1], *field.shape[2:])


def invert_shifts(shifts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Solve p - shifts(p) = points for p by fixed-point iteration.

    Args:
        shifts: (G G 2) displacement field.
        points: (... 2) positions in lengths.

    Returns:
        (... 2) solutions p.
    """
    solution = points
    for _ in range(FIXED_POINT_STEPS):
        solution = points + sample_field(shifts, solution)
    return solution


def make_expression_fields(c: Canvas) -> np.ndarray:
    """Displacement fields (4 G G 2): of the mouth's width, and of each of EXPRESSIONS."""
    lips = np.exp(-((c.x / 0.50) ** 2) - ((c.y - 1.1) / 0.42) ** 2)
    corner, side, zero = bump(c, 0.42, 1.02, 0.17, 0.16), np.sign(c.x), np.zeros_like(c.x)
    cheek, brow = bump(c, 0.55, 0.70, 0.2, 0.16), bump(c, 0.50, -0.34, 0.30, 0.13)
    shifts = [
        (0.20 * c.x * lips, zero),
        (0.055 * side * corner, -0.085 * corner - 0.03 * cheek),
        (zero, -0.085 * brow),
        (-0.02 * side * bump(c, 0.25, -0.32, 0.12, 0.1), -0.075 * bump(c, 0.25, -0.32, 0.15, 0.11)),
    ]
    return np.asarray([np.stack(pair, -1) for pair in shifts], np.float32)


def make_trait_fields(c: Canvas) -> np.ndarray:
    """Displacement fields (5 G G 2) of each of TRAITS."""
    across, zero = np.abs(c.x), np.zeros_like(c.x)
    face = smoothstep(1.2 - across, 0.8)
    eyes_x = 0.07 * np.sign(c.x) * (across - 0.5) * bump(c, 0.5, 0, 0.22, 0.2) / 0.2
    shifts = [
        (0.09 * c.x * np.exp(-(((c.y - 1.35) / 0.45) ** 2)) * face, zero),
        (zero, 0.07 * smoothstep(c.y - 0.9, 1.6) * smoothstep(2.4 - c.y, 1.2)),
        (eyes_x, 0.18 * c.y * bump(c, 0.5, 0, 0.25, 0.15)),
        (0.20 * c.x * np.exp(-((c.x / 0.25) ** 2) - ((c.y - 0.55) / 0.3) ** 2), zero),
        (0.11 * c.x * np.exp(-((c.x / 0.5) ** 2) - ((c.y - 1.1) / 0.3) ** 2), zero),
    ]
    return np.asarray([np.stack(pair, -1) for pair in shifts], np.float32)


def compute_lip_opening(x: np.ndarray, opening: float) -> tuple[np.ndarray, ...]:
    """Compute how far the lips and the jaw move at positions across the mouth.

    Args:
        x: Horizontal positions in lengths.
        opening: Opening of the mouth, 0 closed to 1.

    Returns:
        The y of the closed lips' seam, and the distances of upper lip, lower lip and jaw from it.
    """
    _, seam, _, taper = get_mouth_lines(Canvas(x, np.zeros_like(x), None))
    arch, jaw = taper**0.6, np.clip(1 - x**2, 0, 1) ** 2
    return seam, opening * UPPER_LIP * arch, opening * LOWER_LIP * arch, opening * CHIN * jaw


def close_lips(points: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Map points of a face with an open mouth to the same face with a closed one.

    Args:
        points: (... 2).
        opening: Opening of the mouth.

    Returns:
        The points (... 2), and which of them lie between the lips (...).
    """
    x, y = points[..., 0], points[..., 1]
    seam, up, down, jaw = compute_lip_opening(x, opening)
    above, below = seam - up - y, y - seam - down
    lower = seam + below + (down - jaw) * smoothstep(below / 0.6 - 0.5, 1)
    upper = seam - above - up * smoothstep(above / 0.3 - 0.5, 1)
    closed_y = np.where(below >= 0, lower, np.where(above >= 0, upper, seam))
    return np.stack([x, closed_y], -1), (above < 0) & (below < 0)


def open_lips(points: np.ndarray, opening: float, lip: np.ndarray) -> np.ndarray:
    """Map points of a face with a closed mouth to the same face with an open one: the inverse of `close_lips`.

    Args:
        points: (N 2).
        opening: Opening of the mouth.
        lip: (N,) -1 for points of the upper lip and above, 1 for the lower lip and below, 0 for the corners.

    Returns:
        The points (N 2).
    """
    x, y = points[..., 0], points[..., 1]
    seam, up, down, jaw = compute_lip_opening(x, opening)
    above = below = np.abs(y - seam)
    for _ in range(FIXED_POINT_STEPS):
        below = np.abs(y - seam) - (down - jaw) * smoothstep(below / 0.6 - 0.5, 1)
        above = np.abs(y - seam) - up * smoothstep(above / 0.3 - 0.5, 1)
    moved = np.where(lip > 0, seam + down + below, seam - up - above)
    return np.stack([x, np.where(lip == 0, seam + (down - up) / 2, moved)], -1)


def paint_mouth_interior(points: np.ndarray, opening: float) -> np.ndarray:
    """Paint tongue and teeth.

    Args:
        points: (H W 2) positions in lengths.
        opening: Opening of the mouth, 0 closed to 1.

    Returns:
        (H W 3) float32 sRGB.
    """
    x, y = points[..., 0], points[..., 1]
    seam, up, down, _ = compute_lip_opening(x, opening)
    color = np.broadcast_to(np.asarray([0.06, 0.012, 0.012], np.float32), (*x.shape, 3))
    tongue = smoothstep(0.8 - (x / 0.27) ** 2 - ((y - seam - down) / (0.10 + 0.10 * opening)) ** 2, 0.6)
    color = mix(color, (0.36, 0.09, 0.085), 0.8 * tongue)
    gaps = 0.75 + 0.25 * np.abs(np.sin(x * np.pi / 0.105))  # between the teeth
    for edge, side in [(seam + 0.045 - 0.1 * x**2, 1), (seam + down - 0.035 + 0.12 * x**2, -1)]:
        tooth = smoothstep(side * (edge - y), 0.02) * smoothstep(0.31 - np.abs(x), 0.06)
        tone = (gaps * (1 - 1.6 * np.abs(x)) * (1 if side > 0 else 0.7))[..., None] * [0.62, 0.57, 0.50]
        color = mix(color, tone, 0.95 * tooth)
    shade = 0.35 + 0.65 * smoothstep(y - seam + up - 0.02, 0.08)
    return tone_map(color * shade[..., None]).astype(np.float32)


# x,y of each point in hundredths of a length
MEAN_MESH_HUNDREDTHS = """
    -1,99 0,66 0,74 -7,32 0,56 0,42 0,6 -67,2 0,-21 0,-33 0,-95 0,105 0,109 0,110 0,110 0,114 -1,119 -1,125 -1,132
    0,70 -7,68 -96,-52 -40,12 -49,13 -58,12 -70,5 -32,9 -52,-15 -42,-15 -61,-14 -68,-11 -76,10 -37,146 -71,-1 -98,-6
    -85,-1 -42,51 -13,96 -11,108 -25,99 -32,101 -20,106 -27,106 -44,112 -6,65 -7,55 -78,-23 -27,28 -24,58 -25,53
    -70,48 -7,43 -53,-30 -67,-28 -90,-69 -19,-21 -34,-12 -50,103 -90,88 -17,63 -11,67 -40,103 -37,104 -72,-36 -23,61
    -37,-27 -35,-34 -54,-91 -81,-53 -43,-62 -84,-30 -90,-40 -12,103 -23,104 -30,105 -15,65 -38,104 -36,107 -37,104
    -13,62 -25,106 -18,107 -10,109 -14,131 -13,122 -12,117 -12,112 -11,109 -27,106 -29,107 -31,110 -32,113 -37,87
    -97,36 0,71 -32,105 -33,106 -9,72 -19,66 -10,70 -35,33 -49,39 -26,56 -77,-82 -65,-61 -53,-39 -37,119 -21,-32
    -23,-62 -29,-94 -65,10 -84,14 -28,6 -76,-9 -21,22 -19,55 -92,17 -78,23 -66,29 -49,29 -37,25 -28,21 -9,9 -90,39
    -82,-13 -4,69 -25,38 -99,-10 -21,16 -27,56 -73,-1 -20,49 -94,61 -28,2 -14,45 -75,119 -74,128 -98,37 -84,103
    -94,-25 -38,157 -3,71 -31,44 -91,-2 -58,7 -49,7 -37,108 -88,59 -23,172 -49,155 -62,143 0,-61 0,174 -42,6 -35,4
    -30,3 -88,-18 -37,-8 -45,-11 -53,-11 -61,-9 -66,-6 -98,-33 -63,5 0,81 -28,82 -17,62 -11,81 0,-12 -64,133 -52,145
    -23,166 -83,111 -31,-3 -15,26 0,168 -36,165 -94,61 -20,107 -21,109 -23,113 -24,118 -26,126 -33,105 -37,104
    -38,102 -45,94 -76,67 -15,15 -20,-6 -27,-5 -31,106 -79,91 -12,-7 -32,136 0,31 -9,21 0,19 -19,41 0,157 0,143
    -17,142 -53,116 -34,63 -44,127 -56,61 -44,73 -65,76 -21,155 -23,45 -61,123 -49,135 -59,103 -86,77 -70,104 -91,82
    -53,86 -20,32 -16,60 -20,61 -13,55 -27,-14 -41,-19 -52,-20 -63,-19 -71,-16 -78,0 -99,15 -71,15 -61,20 -49,20
    -38,18 -30,15 -24,11 -98,12 -20,63 -14,36 -11,62 -7,67 -11,63 -17,65 -6,68 -5,70 -25,3 -19,5 -16,7 -69,-4 -72,-7
    8,32 67,2 7,68 96,-52 40,12 49,13 58,12 70,5 32,9 52,-15 42,-15 61,-14 67,-11 76,10 36,147 71,-1 98,-6 85,-1
    42,51 12,96 10,108 24,99 31,100 19,106 27,106 43,112 6,65 7,55 78,-23 27,28 24,58 25,53 70,48 8,43 53,-30 67,-28
    91,-69 19,-21 34,-12 50,103 90,88 17,63 11,67 40,103 38,104 72,-36 23,61 37,-27 35,-34 54,-91 81,-53 43,-62
    84,-30 90,-40 11,104 22,104 30,105 15,65 39,103 35,107 37,104 13,62 25,107 17,107 9,109 13,132 12,122 11,117
    11,112 10,109 26,106 28,108 30,110 31,114 36,87 97,36 32,105 33,106 9,72 19,66 10,70 35,33 49,39 26,56 77,-82
    65,-61 53,-39 35,120 21,-32 23,-62 30,-94 65,10 84,14 28,6 76,-9 21,22 19,55 92,17 78,23 66,29 49,29 37,25 28,21
    9,9 90,39 82,-13 4,69 25,38 99,-10 21,16 27,56 73,-1 21,49 94,61 28,2 14,45 75,119 74,128 98,37 84,103 94,-25
    38,157 3,71 31,44 91,-2 58,7 49,7 36,109 88,59 23,172 49,155 62,143 42,6 35,4 30,3 88,-18 37,-8 45,-11 53,-11
    61,-9 66,-6 98,-33 63,5 27,82 17,62 11,81 64,133 52,145 23,166 83,111 31,-3 15,26 36,165 94,61 19,107 20,110
    22,114 22,119 25,126 33,105 36,104 37,102 44,94 76,67 15,15 20,-6 27,-5 31,106 79,91 12,-7 31,136 9,21 19,41
    16,143 53,116 34,63 43,127 56,61 44,73 65,76 20,156 24,45 61,123 49,135 59,103 86,77 70,104 91,82 53,86 20,32
    16,60 20,61 13,55 27,-14 41,-19 52,-20 63,-19 71,-16 78,0 99,15 71,15 61,20 49,20 38,18 30,15 24,11 98,12 20,63
    14,36 11,62 7,67 11,63 17,65 6,68 5,70 25,3 19,5 16,7 69,-4 72,-7
"""


def load_mean_mesh() -> np.ndarray:
    """Return the points of MediaPipe's face mesh on the head at rest, as the camera sees it from the front.

    They are the symmetric median of 211 frontal meshes with closed mouths (faces of SFHQ-T2I), adjusted so that lips,
    lids, brows, nose and outline lie on those of `emo.synthetic.sample_portrait`.

    Returns:
        (468 2) points.
    """
    return np.array([pair.split(",") for pair in MEAN_MESH_HUNDREDTHS.split()], float) / 100


def make_closed_mesh(eye_closure: float) -> tuple[np.ndarray, np.ndarray]:
    """Make the mesh of the mean face with its mouth closed.

    Args:
        eye_closure: Closure of the lids: 0 open, 1 closed, negative wide open.

    Returns:
        Points (468 2), and the lip that each belongs to (468,): -1 the upper one and all above it, 1 the lower one and
        all below it, 0 the corners of the mouth.
    """
    points = load_mean_mesh()
    points[list(MOUTH_CORNERS), 0] = -MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH
    canvas = Canvas(points[:, 0], points[:, 1], None)
    seam, lids = get_mouth_lines(canvas)[1], get_lid_lines(canvas, eye_closure)
    points[INNER_LIPS, 1] = seam[INNER_LIPS]
    for eye in (LEFT_LID, RIGHT_LID):
        for line, chosen in [(lids[1], eye[LOWER_POINTS]), (lids[0], eye[UPPER_POINTS])]:
            points[chosen, 1] = line[chosen]
    lip = np.where(points[:, 1] > seam, 1, -1)
    lip[INNER_LIPS[1:10]], lip[INNER_LIPS[11:]] = -1, 1
    lip[[*MOUTH_CORNERS, *OUTER_MOUTH_CORNERS]] = 0
    return points, lip
