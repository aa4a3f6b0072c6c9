"""A small face model and a drawn portrait that fits it, for the tests of emo.synthetic."""

import cv2
import numpy as np
import pytest

from emo.synthetic.heads.face_model import EXPRESSION_NAMES, FaceModel
from emo.synthetic.heads.fitting import PhotoLandmarks, Pose, rotation_of_angles

COLUMNS, ROWS = 41, 49  # of the skin's grid
HALF_WIDTH, HALF_HEIGHT, DEPTH = 8.0, 10.0, 9.0
EYES, MOUTH = ((-3.2, 3.5), (3.2, 3.5)), (0.0, -4.0)  # (x, y), y up
OUTLINE = [
    (7.6 * np.sin(a), 2.0 - 9.5 * max(np.cos(a), 0) if abs(a) < 1.4 else 3.0) for a in np.linspace(-1.45, 1.45, 17)
]


def surface(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the face above its rim: an ellipsoid with a nose."""
    round_part = np.sqrt(np.clip(1 - (x / (HALF_WIDTH * 1.15)) ** 2 - (y / (HALF_HEIGHT * 1.15)) ** 2, 0.02, 1))
    return DEPTH * round_part + 3.0 * np.exp(-(x**2) / 1.2 - (y - 0.2) ** 2 / 4)


def skin_grid() -> tuple[np.ndarray, np.ndarray]:
    """The skin's (R C 3) vertices with a slit at the mouth, and (T 3) triangles, in the files' axes."""
    xs = np.linspace(-HALF_WIDTH, HALF_WIDTH, COLUMNS)
    ys = np.linspace(HALF_HEIGHT, -HALF_HEIGHT, ROWS)
    x, y = np.meshgrid(xs, ys)
    grid = np.stack([x, y, surface(x, y)], -1).reshape(-1, 3)
    index = np.arange(len(grid)).reshape(ROWS, COLUMNS)
    row = int(np.argmin(np.abs(ys - MOUTH[1])))
    slit = [c for c in range(COLUMNS) if abs(xs[c]) < 2.4]
    lower = {int(index[row, c]): len(grid) + k for k, c in enumerate(slit)}
    vertices = np.concatenate([grid, grid[index[row, slit]]])
    triangles = []
    for r in range(ROWS - 1):
        for c in range(COLUMNS - 1):
            a, b, d, e = index[r, c], index[r, c + 1], index[r + 1, c], index[r + 1, c + 1]
            center = grid[[a, b, d, e]].mean(0)
            if any(((center[0] - ex) / 1.3) ** 2 + ((center[1] - ey) / 0.6) ** 2 < 1 for ex, ey in EYES):
                continue
            corners = [int(v) for v in (a, d, b, b, d, e)]
            if r == row:
                corners = [lower.get(v, v) if v in (a, b) else v for v in corners]
            triangles += [corners[:3], corners[3:]]
    return vertices, np.array(triangles)


def ball(center: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The front of a sphere: (N 3) and (T 3)."""
    n = 9
    u, v = np.meshgrid(np.linspace(-1.3, 1.3, n), np.linspace(-1.3, 1.3, n))
    points = np.stack([np.sin(u) * np.cos(v), np.sin(v), np.cos(u) * np.cos(v)], -1).reshape(-1, 3) * radius + center
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return points, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])


def plate(y: float, z: float, half_width: float, half_height: float) -> tuple[np.ndarray, np.ndarray]:
    """A row of teeth, or the back of the mouth: a flat grid."""
    x, dy = np.meshgrid(np.linspace(-half_width, half_width, 9), np.linspace(-half_height, half_height, 5))
    points = np.stack([x, y + dy, np.full_like(x, z) - 0.05 * x**2], -1).reshape(-1, 3)
    index = np.arange(45).reshape(5, 9)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return points, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])


def landmark_places() -> np.ndarray:
    """(68 2) x and y (up) of the landmarks on the skin."""
    brows = [(x, 5.3 + 0.4 * np.sin(k / 4 * np.pi)) for k, x in enumerate(np.linspace(-5, -1.4, 5))]
    brows += [(-x, y) for x, y in brows[::-1]]
    nose = [(0, y) for y in (3.4, 2.3, 1.2, 0.2)] + [(x, -1.0) for x in (-1.2, -0.6, 0, 0.6, 1.2)]
    eyes = []
    for ex, ey in EYES:
        eyes += [(ex - 1.3, ey), (ex - 0.5, ey + 0.55), (ex + 0.5, ey + 0.55)]
        eyes += [(ex + 1.3, ey), (ex + 0.5, ey - 0.55), (ex - 0.5, ey - 0.55)]
    mx, my = MOUTH
    outer = [(mx + 2.8 * np.cos(a), my + 0.9 * np.sin(a)) for a in np.pi - np.arange(12) * np.pi / 6]
    inner = [(mx + x, my) for x in (-2.2, -1.1, 0, 1.1, 2.2, 1.1, 0, -1.1)]
    return np.array(OUTLINE + brows + nose + eyes + outer + inner)


def small_model() -> FaceModel:
    """A face of about 2,500 vertices: ellipsoid, eye holes with eyeballs, a mouth slit with teeth and a back wall."""
    skin, triangles = skin_grid()
    eyeballs = [ball((ex, ey, surface(np.array(ex), np.array(ey)) - 1.9), 1.7) for ex, ey in EYES]
    front = float(surface(np.array(0.0), np.array(MOUTH[1])))
    wall, upper, lower = (
        plate(-4.4, front - 4, 3, 3.0),
        plate(-3.4, front - 0.8, 2.4, 0.7),
        plate(-5.0, front - 0.8, 2.4, 0.7),
    )
    parts, vertices, faces = {}, [skin], [triangles]
    parts["skin"], count = (0, len(skin)), len(skin)
    for name, (points, local) in zip(
        ("socket", "teeth", "teeth_lower", "eyeball_right", "eyeball_left"),
        (wall, upper, lower, *eyeballs),
        strict=True,
    ):
        parts[name] = (count, count + len(points))
        vertices.append(points)
        faces.append(local + count)
        count += len(points)
    parts["teeth"] = (parts["teeth"][0], parts.pop("teeth_lower")[1])
    neutral = np.concatenate(vertices)
    x, y = neutral[:, 0], neutral[:, 1]
    expression = np.zeros((len(EXPRESSION_NAMES), count, 3))
    first_lower = ROWS * COLUMNS
    below = np.zeros(count, bool)
    below[: len(skin)] = y[: len(skin)] < MOUTH[1] - 0.2
    below[first_lower : len(skin)] = True
    below[parts["teeth"][1] - 45 : parts["teeth"][1]] = True
    fall = np.exp(-((np.maximum(np.abs(x) - 1.0, 0) / 2.0) ** 2)) * np.clip((y + 10) / 4, 0, 1)
    expression[EXPRESSION_NAMES.index("jawOpen"), :, 1] = -4.0 * fall * below
    for side, (ex, ey) in zip("RL", EYES, strict=True):
        near = (
            np.exp(-((x - ex) ** 2) / 2 - (y - ey - 0.6) ** 2 / 0.5) * (np.arange(count) < len(skin)) * (y > ey - 0.05)
        )
        expression[EXPRESSION_NAMES.index(f"eyeBlink_{side}"), :, 1] = -1.6 * near
    wider = np.zeros((2, count, 3))
    wider[0, :, 0], wider[1, :, 1] = 0.06 * x, 0.06 * y
    places = landmark_places()
    chosen = [int(np.argmin(((skin[:first_lower, :2] - place) ** 2).sum(1))) for place in places]
    for k in (65, 66, 67):
        chosen[k] = first_lower + int(np.argmin(((skin[first_lower:, :2] - places[k]) ** 2).sum(1)))
    return FaceModel.from_arrays(
        {
            "neutral": neutral,
            "identity": wider,
            "expression": expression,
            "expression_names": np.array(EXPRESSION_NAMES),
            "tri": np.concatenate(faces),
            "part_names": np.array(list(parts)),
            "part_ranges": np.array(list(parts.values())),
            "landmarks": np.array(chosen),
        }
    )


def drawn_portrait(model: FaceModel, size: int = 256, radians=(0.0, 0.0, 0.0)) -> tuple[np.ndarray, PhotoLandmarks]:
    """(size size 3) uint8 of a face that stands where the model's does, and its landmarks in pixels."""
    pose = Pose(size / 28, rotation_of_angles(radians), np.array([size / 2, size / 2 + 0.05 * size]))
    marks = pose.project(model.neutral[model.landmarks])[:, :2].astype(np.float64)
    ys, xs = np.mgrid[:size, :size]
    waves = np.stack([np.sin(xs / 9) * np.cos(ys / 11), np.cos(xs / 13), np.sin(ys / 10)], -1)
    image = np.uint8(120 + 25 * waves)
    face = cv2.convexHull(np.concatenate([marks[:17], marks[17:27] - [0, 0.1 * size]]).astype(np.int32))
    skin = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(skin, face, 1)
    image[skin > 0] = np.uint8([205, 160, 135] + 18 * waves[skin > 0])
    for eye in (marks[36:42], marks[42:48]):
        cv2.fillPoly(image, [np.round(eye).astype(np.int32)], (235, 232, 228), cv2.LINE_AA)
    irises = np.stack([marks[36:42].mean(0), marks[42:48].mean(0)])
    for iris in irises:
        cv2.circle(image, np.round(iris).astype(int).tolist(), round(0.018 * size), (60, 45, 40), -1, cv2.LINE_AA)
    cv2.fillPoly(image, [np.round(marks[48:60]).astype(np.int32)], (170, 80, 85), cv2.LINE_AA)
    return image, PhotoLandmarks(marks, irises)


@pytest.fixture(scope="session")
def model() -> FaceModel:
    """The small face model."""
    return small_model()


@pytest.fixture(scope="session")
def draw_portrait():
    """`drawn_portrait`."""
    return drawn_portrait
