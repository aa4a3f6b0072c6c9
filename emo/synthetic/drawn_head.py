"""A drawn head that speaks, blinks, smiles and turns, with the exact landmarks of what is drawn.

Where MediaPipe's 468 points lie on the drawn head of `emo.synthetic.sample_portrait`, as the camera
sees it from the front.

They are the symmetric median of 211 frontal MediaPipe meshes with closed mouths (SFHQ-T2I), bent so that lips, lids,
brows, nose and outline lie on the drawn ones.

The mouth of the drawn head: how the face goes when it opens, and what is seen between the lips.

Lengths are those of `emo.synthetic.sample_lighting`; opening is 0 .. 1.

A drawn head that speaks, looks, blinks, smiles and turns, and the landmarks of exactly what is drawn.

The layers of `emo.synthetic.sample_portrait` are painted once. For a frame each pixel is traced back: its ray meets the
turned height field of the head; smooth fields, each the way of a face's proportions or of an expression, lead from there to
the face at rest; and where the lips part, the inside of the mouth is painted. Landmarks go the same way forth.

Lengths and fields are those of `emo.synthetic.sample_lighting`; axes of a rotation x right, y down, z into the picture.
Points are (... 2), a field of shifts is (G G 2) over the whole picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.synthetic.sample_hair import brows, draw, lashes, places
from emo.synthetic.sample_lighting import EYES, UNIT, Canvas, blur, bump, develop, mix, step, unit_pixels
from emo.synthetic.sample_portrait import (
    IRIS_WAY,
    IRISES,
    LASH,
    Layers,
    Looks,
    draw_strands,
    eye_lines,
    lid_points,
    mouth_lines,
    paint_eyes,
    paint_layers,
    stroke_colours,
)
from emo.synthetic.warped_photos import EYES as LIDS
from emo.synthetic.warped_photos import INNER_LIPS

HUNDREDTHS = """
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


def rest_points() -> np.ndarray:
    """(468 2) in the lengths of `emo.synthetic.sample_lighting`."""
    return np.array([pair.split(",") for pair in HUNDREDTHS.split()], float) / 100


LOWER_LIP, UPPER_LIP, CHIN = 0.30, 0.09, 0.15  # how far they go when the mouth is wide open


def parted(x: np.ndarray, opening: float) -> tuple[np.ndarray, ...]:
    """y of the lips' seam, and how far upper lip, lower lip and jaw go from it at x."""
    _, middle, _, taper = mouth_lines(Canvas(x, np.zeros_like(x), None))
    arch, jaw = taper**0.6, np.clip(1 - x**2, 0, 1) ** 2
    return middle, opening * UPPER_LIP * arch, opening * LOWER_LIP * arch, opening * CHIN * jaw


def lips_to_rest(points: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (N 2) of the face with its mouth open -> with it closed; and which lie between the lips."""
    x, y = points[..., 0], points[..., 1]
    middle, up, down, jaw = parted(x, opening)
    above, below = middle - up - y, y - middle - down
    lower = middle + below + (down - jaw) * step(below / 0.6 - 0.5, 1)
    upper = middle - above - up * step(above / 0.3 - 0.5, 1)
    return np.stack([x, np.where(below >= 0, lower, np.where(above >= 0, upper, middle))], -1), (above < 0) & (
        below < 0
    )


def lips_apart(points: np.ndarray, opening: float, side: np.ndarray) -> np.ndarray:
    """Points (N 2) of the face at rest -> with the mouth open; side: (N,) -1 of the upper lip, 1 of the lower, 0 the
    corners."""
    x, y = points[..., 0], points[..., 1]
    middle, up, down, jaw = parted(x, opening)
    above = below = np.abs(y - middle)
    for _ in range(25):
        below = np.abs(y - middle) - (down - jaw) * step(below / 0.6 - 0.5, 1)
        above = np.abs(y - middle) - up * step(above / 0.3 - 0.5, 1)
    moved = np.where(side > 0, middle + down + below, middle - up - above)
    return np.stack([x, np.where(side == 0, middle + (down - up) / 2, moved)], -1)


def mouth_inside(points: np.ndarray, opening: float) -> np.ndarray:
    """(H W 3) sRGB of what is seen between the lips at points (H W 2)."""
    x, y = points[..., 0], points[..., 1]
    middle, up, down, _ = parted(x, opening)
    colour = np.broadcast_to(np.float32([0.06, 0.012, 0.012]), (*x.shape, 3))
    tongue = step(0.8 - (x / 0.27) ** 2 - ((y - middle - down) / (0.10 + 0.10 * opening)) ** 2, 0.6)
    colour = mix(colour, (0.36, 0.09, 0.085), 0.8 * tongue)
    gums = 0.75 + 0.25 * np.abs(np.sin(x * np.pi / 0.105))
    for edge, side in [(middle + 0.045 - 0.1 * x**2, 1), (middle + down - 0.035 + 0.12 * x**2, -1)]:
        tooth = step(side * (edge - y), 0.02) * step(0.31 - np.abs(x), 0.06)
        tone = (gums * (1 - 1.6 * np.abs(x)) * (1 if side > 0 else 0.7))[..., None] * [0.62, 0.57, 0.50]
        colour = mix(colour, tone, 0.95 * tooth)
    shade = 0.35 + 0.65 * step(y - middle + up - 0.02, 0.08)
    return develop(colour * shade[..., None]).astype(np.float32)


GRID = 256  # points a side of a field, and at most so many rays; what they find is drawn out to the pixels
NEAR, FAR, SLICES = -1.7, 0.9, 28  # depths at which a ray looks for the head, from the neck
NECK = np.array([0.0, 0.95, 0.9])  # about which the head turns
DEEPEST = 0.85  # behind the head's rim
RELIEF = 1.15  # what stands out from the portrait's canvas, to be as deep as the mean face of emo.face.pose
EXPRESSIONS = ("smile", "brow", "frown")  # weights of a face: corners of the mouth, brows, inner ends of the brows up
TRAITS = ("jaw", "length", "eyes", "nose", "mouth")  # weights of a person, about -1 .. 1


@dataclass(frozen=True)
class Pose:
    """What a head does in a frame."""

    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)  # yaw, pitch, roll: to the right, down, clockwise; radians
    gaze: tuple[float, float] = (0.0, 0.0)  # of the eyes in the head: to the right, down; radians
    closed: float = 0.0  # lids: 1 closed, below 0 wide open
    opening: float = 0.0  # of the mouth, 0 .. 1
    width: float = 0.0  # of the mouth, -1 round .. 1 wide
    expression: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of EXPRESSIONS


@dataclass(frozen=True)
class Frame:
    """How the picture lies over the head: zoom 1 is that of the sample portrait."""

    size: int  # pixels
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)  # of the head, in its own lengths

    def pixels(self, points: np.ndarray) -> np.ndarray:
        return (points + self.shift) * self.zoom * UNIT * self.size + np.array(EYES) * self.size

    def points(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels - np.array(EYES) * self.size) / (self.zoom * UNIT * self.size) - self.shift


def rotation_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3 3): first pitch, then yaw, then roll."""
    (a, b, c), (p, q, r) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn, nod = np.array([[a, 0, -p], [0, 1, 0], [p, 0, a]]), np.array([[1, 0, 0], [0, b, -q], [0, q, b]])
    return np.array([[c, -r, 0], [r, c, 0], [0, 0, 1]]) @ turn @ nod


def look_up(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A field (G G ...) of the whole picture at points (... 2)."""
    where = np.float32(places(points, field)).reshape(len(points), -1, 2)
    found = cv2.remap(field, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(*points.shape[:-1], *field.shape[2:])


def undo(shifts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where the field leads to `points` from: p with p - shifts(p) = points."""
    found = points
    for _ in range(25):
        found = points + look_up(shifts, found)
    return found


def expression_fields(c: Canvas) -> np.ndarray:
    """(4 G G 2) shifts of the mouth's width and of each of EXPRESSIONS."""
    lips = np.exp(-((c.x / 0.50) ** 2) - ((c.y - 1.1) / 0.42) ** 2)
    corner, side, nil = bump(c, 0.42, 1.02, 0.17, 0.16), np.sign(c.x), np.zeros_like(c.x)
    cheek, brow = bump(c, 0.55, 0.70, 0.2, 0.16), bump(c, 0.50, -0.34, 0.30, 0.13)
    ways = [
        (0.20 * c.x * lips, nil),
        (0.055 * side * corner, -0.085 * corner - 0.03 * cheek),
        (nil, -0.085 * brow),
        (-0.02 * side * bump(c, 0.25, -0.32, 0.12, 0.1), -0.075 * bump(c, 0.25, -0.32, 0.15, 0.11)),
    ]
    return np.float32([np.stack(way, -1) for way in ways])


def trait_fields(c: Canvas) -> np.ndarray:
    """(5 G G 2) shifts of each of TRAITS."""
    across, nil = np.abs(c.x), np.zeros_like(c.x)
    face = step(1.2 - across, 0.8)
    ways = [
        (0.09 * c.x * np.exp(-(((c.y - 1.35) / 0.45) ** 2)) * face, nil),
        (nil, 0.07 * step(c.y - 0.9, 1.6) * step(2.4 - c.y, 1.2)),
        (
            0.07 * np.sign(c.x) * (across - 0.5) * bump(c, 0.5, 0, 0.22, 0.2) / 0.2,
            0.18 * c.y * bump(c, 0.5, 0, 0.25, 0.15),
        ),
        (0.20 * c.x * np.exp(-((c.x / 0.25) ** 2) - ((c.y - 0.55) / 0.3) ** 2), nil),
        (0.11 * c.x * np.exp(-((c.x / 0.5) ** 2) - ((c.y - 1.1) / 0.3) ** 2), nil),
    ]
    return np.float32([np.stack(way, -1) for way in ways])


class Head:
    """One person: layers painted once, then drawn in any pose.

    looks: colours, light and hair; traits: weights of TRAITS; seed: of the skin's grain and the hair's fall; frame: the
    picture.
    """

    def __init__(self, looks: Looks, traits: np.ndarray, seed: int, frame: Frame):
        self.looks, self.frame, self.seed = looks, frame, seed
        canvas = Canvas.new(seed, next((side for side in (256, 512) if frame.size <= side), 1024))
        self.rays = int(np.clip(frame.size // 2, 64, GRID))
        layers = paint_layers(canvas, looks, nape=0.5)
        self.canvas = canvas
        self.behind = self._placed(develop(layers.behind))
        self.hairless, self.face = self._faces(layers)
        coarse = Canvas.new(0, GRID)
        self.traits = np.tensordot(np.float32(traits), trait_fields(coarse), 1)
        self.expressions = expression_fields(coarse)
        depth = -RELIEF * blur(np.where(layers.head > 0.5, layers.height, -DEEPEST).astype(np.float32), 0.07)
        here = np.stack([coarse.x, coarse.y], -1)
        self.depth = look_up(depth, here - self.traits)
        self.eyes: tuple = (None, None)

    def _placed(self, picture: np.ndarray) -> np.ndarray:
        """What stays where it is, in the frame."""
        corners = np.float32([[0, 0], [1, 0], [0, 1]])
        there = np.float32(places(self.frame.points(corners * self.frame.size), picture))
        matrix = cv2.getAffineTransform(corners * self.frame.size, there)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.frame.size, self.frame.size)
        return cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def _faces(self, layers: Layers) -> tuple[np.ndarray, np.ndarray]:
        """(H W 3) linear light of the face without eyes and hairs; (H W 4) uint8 with brows and hair, and what of the
        picture is head."""
        head, unit = np.uint8(255 * layers.head), unit_pixels(layers.head)
        for strand in np.ascontiguousarray(np.round(places(layers.strands, head) * 16), np.int32):
            cv2.polylines(head, [strand], False, 255, max(1, len(head) // 512), cv2.LINE_AA, 4)
        gaps = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(unit / 3), int(unit / 3)))
        head = cv2.morphologyEx(head, cv2.MORPH_CLOSE, gaps)
        under_hair = mix(layers.behind, np.array(self.looks.hair) * 0.2, head / np.float32(255))
        hairless = mix(under_hair, layers.skin, layers.head)
        picture, strokes = develop(hairless), brows(520, self.canvas.random)
        tones = stroke_colours(self.looks.brow, self.canvas.random.uniform(0.7, 1.3, strokes.shape[:2]))
        draw(picture, strokes, tones, np.linspace(2.4, 0.6, 8) * 0.6 * len(picture) / 1024)
        draw_strands(picture, layers.strands, layers.tone, self.looks)
        return hairless, np.dstack([picture, head])

    def _with_eyes(self, gaze: tuple[float, float], closed: float) -> np.ndarray:
        """`face` with its eyes; the last ones are kept, for they rest most of the time."""
        if self.eyes[0] != (gaze, closed):
            picture = self.face.copy()
            (left, top), (right, bottom) = np.int32(places(np.array([[-0.85, -0.22], [0.85, 0.16]]), picture))
            rows, columns = slice(top, bottom), slice(left, right)
            patch = Canvas(self.canvas.x[rows, columns], self.canvas.y[rows, columns], None)
            eyes = develop(paint_eyes(patch, self.hairless[rows, columns], self.looks, gaze, closed))
            upper, lower, _ = eye_lines(patch, closed)
            between = step(np.minimum(patch.y - upper, lower - patch.y) + 0.03, 0.03)
            picture[rows, columns, :3] = mix(picture[rows, columns, :3].astype(np.float32), eyes, between)
            self._draw_lashes(picture[..., :3], patch, upper, lower, closed)
            self.eyes = (gaze, closed), picture
        return self.eyes[1]

    def _draw_lashes(self, picture: np.ndarray, patch: Canvas, upper, lower, closed: float) -> None:
        random, thin = np.random.default_rng(self.seed), np.linspace(2.4, 0.6, 8) * len(picture) / 1024
        fresh = np.ascontiguousarray(picture)
        hang = 0.050 * (1 - 1.6 * max(closed, 0))
        pale = tuple(0.35 * np.array(self.looks.skin))
        for line, length, count, colour in [(lower, -0.022, 50, pale), (upper, hang, 110, LASH)]:
            strokes = lashes(lid_points(patch, line), length, count, random)
            draw(fresh, strokes, stroke_colours(colour, random.uniform(0.7, 1.3, strokes.shape[:2])), thin * 0.6)
        picture[:] = fresh

    def _expression(self, pose: Pose) -> np.ndarray:
        """(G G 2) shifts of what the muscles do."""
        return np.tensordot(np.float32([pose.width, *pose.expression]), self.expressions, 1)

    def _trace(self, rotation: np.ndarray) -> np.ndarray:
        """(R R 2), R rays a side: the points of the unturned head that the picture shows, the nearest to the camera."""
        centres = (np.arange(self.rays) + 0.5) / self.rays * self.frame.size
        seen = self.frame.points(np.stack(np.meshgrid(centres, centres), -1)) - NECK[:2]
        start, ray = np.float32(seen @ rotation[:2] + NECK), np.float32(rotation[2])  # of the rays: start + depth * ray
        found, before, done = start[..., :2].copy(), None, np.zeros(seen.shape[:2], bool)
        for depth in np.linspace(NEAR, FAR, SLICES, dtype=np.float32):
            here = start[..., :2] + depth * ray[:2]
            behind = start[..., 2] + depth * ray[2] - look_up(self.depth, here)
            new = (behind >= 0) & ~done
            if before is not None and new.any():
                back = behind[new] / (behind - before)[new] * (FAR - NEAR) / (SLICES - 1)
                found[new] = here[new] - back[:, None] * ray[:2]
            before, done = behind, done | new
        return found

    def draw(self, pose: Pose) -> np.ndarray:
        """(size size 3) uint8."""
        size, texture = self.frame.size, self._with_eyes(pose.gaze, pose.closed)
        points = self._trace(rotation_matrix(*pose.rotation))
        points = points - look_up(self.traits, points)
        points = points - look_up(self._expression(pose), points)
        rows, columns = np.nonzero((np.abs(points[..., 0]) < 1) & (points[..., 1] > 0.7) & (points[..., 1] < 2.1))
        points = cv2.resize(np.float32(points), (size, size), interpolation=cv2.INTER_LINEAR)
        cell, inside = size / self.rays, np.zeros((size, size), np.float32)
        part = np.s_[
            int(rows.min() * cell) : int(rows.max() * cell), int(columns.min() * cell) : int(columns.max() * cell)
        ]
        open_points = points[part].copy()
        points[part], between = lips_to_rest(open_points, pose.opening)
        picture = cv2.remap(texture, np.float32(places(points, texture)), None, cv2.INTER_LINEAR)
        cover = cv2.merge([picture[..., 3]] * 3).astype(np.float32) / 255
        drawn = picture[..., :3] * cover + self.behind * (1 - cover)
        if between.any():
            inside[part] = between
            inside = cv2.GaussianBlur(inside, (0, 0), size / 700)
            drawn[part] = mix(drawn[part], mouth_inside(open_points, pose.opening), inside[part])
        return np.round(drawn).astype(np.uint8)

    def landmarks(self, pose: Pose) -> np.ndarray:
        """(468 3) float32: MediaPipe's points of what `draw` draws, pixels; z, into the picture, in the scale of x."""
        points, side = mesh_at_rest(pose.closed)
        return self._turned(lips_apart(points, pose.opening, side), pose)

    def irises(self, pose: Pose) -> np.ndarray:
        """(2 2) float32 pixels: the irises' centres, the left of the picture first, hidden or not."""
        return self._turned(IRISES + IRIS_WAY * np.sin(pose.gaze), pose)[:, :2]

    def _turned(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """Points (N 2) of the mean face -> (N 3) float32 pixels of this one with the pose's expression and rotation."""
        points = undo(self.traits, undo(self._expression(pose), points[None]))[0]
        solid = np.column_stack([points, look_up(self.depth, points[None])[0]])
        turned = (solid - NECK) @ rotation_matrix(*pose.rotation).T + NECK
        depth = turned[:, 2:] * self.frame.zoom * UNIT * self.frame.size
        return np.float32(np.hstack([self.frame.pixels(turned[:, :2]), depth]))


def mesh_at_rest(closed: float) -> tuple[np.ndarray, np.ndarray]:
    """(468 2) points with the mouth closed, lids as far as `closed`; (468,) whose lip's they are, as `lips_apart`."""
    points = rest_points()
    points[[INNER_LIPS[0], INNER_LIPS[10]], 0] = -0.39, 0.39
    canvas = Canvas(points[:, 0], points[:, 1], None)
    seam, lids = mouth_lines(canvas)[1], eye_lines(canvas, closed)
    points[INNER_LIPS, 1] = seam[INNER_LIPS]
    for eye in (LIDS[:16], LIDS[16:]):
        for line, chosen in [(lids[1], eye[1:8]), (lids[0], eye[9:])]:
            points[chosen, 1] = line[chosen]
    side = np.where(points[:, 1] > seam, 1, -1)
    side[INNER_LIPS[1:10]], side[INNER_LIPS[11:]] = -1, 1
    side[[INNER_LIPS[0], INNER_LIPS[10], 61, 291]] = 0
    return points, side
