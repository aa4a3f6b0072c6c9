"""A photograph as a texture: the portrait's square with a margin, and the background behind the person.

Positions are in sides of the square. The person is segmented by GrabCut (Rother et al., 2004), initialized with the
fitted head; a margin around the person moves too, so that hair which the segmentation misses stays with the head. Where
the segmentation fails (nearly everything or nearly nothing around the head is the person), the whole picture moves as
one sheet.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emo.synthetic.heads.head_shape import HeadShape, smoothstep
from emo.synthetic.heads.rasterizer import rasterize

MARGIN = 0.25  # of the canvas around the portrait, in sides of the portrait
WORK_PIXELS = 160  # side of the canvas on which the person is segmented
MARGIN_RATIO = 0.08  # width of the margin around the person, over the face's height
SOFT_RATIO = 0.06  # width of its soft edge


@dataclass(frozen=True)
class PhotoTexture:
    """The portrait's square of `size` pixels, and MARGIN sides around it: the canvas (C C).

    Attributes:
        canvas: (C C 3) uint8.
        size: Size of the portrait, pixels.
        border: The margin, pixels.
    """

    canvas: np.ndarray
    size: int
    border: int

    @classmethod
    def build(cls, image: np.ndarray, box: tuple[float, float, float, float], size: int) -> "PhotoTexture":
        """Cut a square out of a picture; beyond the picture its border is repeated and blurred.

        Args:
            image: (H W 3) uint8.
            box: (x0, y0, x1, y1) pixels, a square.
            size: Size of the portrait, pixels.

        Returns:
            The texture.
        """
        border = round(MARGIN * size)
        scale = size / (box[2] - box[0])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        factor = max(scale, 1.0)  # by which warpAffine enlarges
        x0, y0 = box[0] * scale / factor, box[1] * scale / factor
        side = size + 2 * border
        matrix = np.array([[factor, 0, border - x0 * factor], [0, factor, border - y0 * factor]])
        matrix[:, 2] += 0.5 * factor - 0.5  # warpAffine counts from pixels' centers
        interpolation = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_LINEAR
        canvas = cv2.warpAffine(image, matrix, (side, side), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, (side, side)) > 254
        if not inside.all():
            soft = cv2.GaussianBlur(canvas, (0, 0), size / 24)
            distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
            mix = np.clip(distance / (size / 12), 0, 1)[..., None]
            canvas = np.uint8(canvas * (1 - mix) + soft * mix + 0.5)
        return cls(canvas, size, border)

    @property
    def portrait(self) -> np.ndarray:
        """The square itself, (size size 3) uint8."""
        return self.canvas[self.border : -self.border, self.border : -self.border].copy()

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """Positions (... 2) in sides -> pixel indices of the canvas, integers at the centers of pixels."""
        return positions * np.float32(self.size) + np.float32(self.border - 0.5)

    def sample(self, positions: np.ndarray, canvas: np.ndarray | None = None) -> np.ndarray:
        """Sample colors.

        Args:
            positions: (h w 2) in sides of the portrait.
            canvas: Another canvas of the same size; None: this one.

        Returns:
            (h w C) colors.
        """
        at = np.float32(self.pixels(positions))
        source = self.canvas if canvas is None else canvas
        flags = cv2.INTER_CUBIC if source.dtype == np.uint8 else cv2.INTER_LINEAR
        return sample_pixels(source, at, flags)

    def mean_color(self, positions: np.ndarray) -> np.ndarray:
        """Mean color (3,) of small discs around positions (N 2)."""
        soft = cv2.GaussianBlur(self.canvas, (0, 0), self.size / 128)
        at = np.clip(np.round(self.pixels(positions)).astype(int), 0, self.canvas.shape[0] - 1)
        return soft[at[:, 1], at[:, 0]].mean(0)

    def bright_color(self, polygon: np.ndarray, percentile: float) -> np.ndarray:
        """Return the mean color of the brightest pixels in a polygon.

        Args:
            polygon: (N 2) corners, sides.
            percentile: Percentile of brightness above which pixels count.

        Returns:
            (3,) color, 0 to 255.
        """
        mask = np.zeros(self.canvas.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(self.pixels(polygon)).astype(np.int32)], 1)
        colors = self.canvas[mask > 0].astype(np.float32)
        if len(colors) == 0:
            return self.mean_color(polygon.mean(0, keepdims=True))
        bright = colors.mean(1)
        return colors[bright >= np.percentile(bright, percentile)].mean(0)


def sample_pixels(image: np.ndarray, pixels: np.ndarray, interpolation: int) -> np.ndarray:
    """Sample an image beyond whose border its edge is repeated.

    Args:
        image: (H W C) uint8 or float32.
        pixels: (h w 2) float32 x and y, integers at the centers of pixels.
        interpolation: Interpolation of OpenCV.

    Returns:
        (h w C) of the image's type.
    """
    x, y = cv2.split(pixels)
    return cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class Background:
    """A photograph without the person.

    Attributes:
        plate: (C C 3) uint8 background, inpainted where the person is.
        person: (C C) float32 0..1: share of each pixel that moves with the person.
        filled: (C C) float32 0..1: share of each pixel of the background that is inpainted.
    """

    plate: np.ndarray
    person: np.ndarray
    filled: np.ndarray

    @classmethod
    def build(cls, shape: HeadShape, texture: PhotoTexture) -> "Background | None":
        """Separate the person of a portrait from the background by GrabCut, and fill in what the person hides.

        Args:
            shape: The head.
            texture: The photograph.

        Returns:
            The background; None if the segmentation fails.
        """
        canvas = texture.canvas
        side = canvas.shape[0]
        small = cv2.resize(canvas, (WORK_PIXELS, WORK_PIXELS), interpolation=cv2.INTER_AREA)
        pixels_per_side = WORK_PIXELS * texture.size / side
        height = shape.fit.face_height * pixels_per_side
        landmarks = texture.pixels(shape.landmarks) * (WORK_PIXELS / side)
        labels = make_grabcut_labels(landmarks, height)
        labels[cover_head(shape, texture)] = cv2.GC_FGD
        cut = labels.copy()
        cv2.setRNGSeed(1)
        cv2.grabCut(small, cut, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
        person = np.isin(cut, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
        person = keep_connected(person, landmarks)
        is_probable = np.isin(labels, (cv2.GC_PR_BGD, cv2.GC_PR_FGD))
        if not 0.03 < person[is_probable].mean() < 0.9:
            return None
        distance = cv2.distanceTransform(1 - person, cv2.DIST_L2, 5) / height
        hole = (distance < MARGIN_RATIO * 0.8).astype(np.uint8)
        filled = cv2.inpaint(small, hole, 4, cv2.INPAINT_TELEA)
        filled = cv2.GaussianBlur(filled, (0, 0), 1.2)
        distances, colors = (
            cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
            for values in (distance, filled)
        )
        inside = (1 - smoothstep(distances, MARGIN_RATIO * 0.8, MARGIN_RATIO)).astype(np.float32)
        plate = canvas * (1 - inside[..., None]) + colors * inside[..., None]
        person_share = (1 - smoothstep(distances, MARGIN_RATIO, MARGIN_RATIO + SOFT_RATIO)).astype(np.float32)
        return cls((np.clip(plate, 0, 255) + 0.5).astype(np.uint8), person_share, inside)


def make_grabcut_labels(landmarks: np.ndarray, height: float) -> np.ndarray:
    """Initial labels of GrabCut: the face is foreground, the upper corners are background, hair and shoulders probable.

    Args:
        landmarks: (68 2) pixels.
        height: Height of the face, pixels.

    Returns:
        (W W) uint8.
    """
    labels = np.full((WORK_PIXELS, WORK_PIXELS), cv2.GC_PR_BGD, np.uint8)
    eyes, mouth, chin = landmarks[36:48].mean(0), landmarks[48:60].mean(0), landmarks[8]
    down = (mouth - eyes) / np.linalg.norm(mouth - eyes)
    across = np.array([-down[1], down[0]])
    middle, angle = eyes * 0.75 + mouth * 0.25, float(np.degrees(np.arctan2(across[1], across[0])))
    ys, xs = np.mgrid[:WORK_PIXELS, :WORK_PIXELS]
    radius = np.hypot(xs - middle[0], (ys - middle[1]) * 0.85) / height
    labels[(radius > 1.25) & (ys < chin[1])] = cv2.GC_BGD
    center = tuple(float(v) for v in middle - down * 0.1 * height)
    cv2.ellipse(labels, (center, (1.35 * height, 1.75 * height), angle), cv2.GC_PR_FGD, -1)
    neck = chin + down * 0.25 * height
    shoulders = np.array([neck - across * 0.5 * height, neck + across * 0.5 * height, neck + across * 1.6 * height])
    corners = np.array([[WORK_PIXELS + 60, WORK_PIXELS + 60], [-60, WORK_PIXELS + 60]])
    body = np.concatenate([shoulders, corners, (neck - across * 1.6 * height + down * 0.5 * height)[None]])
    body[2] += down * 0.5 * height
    cv2.fillPoly(labels, [np.round(body).astype(np.int32)], cv2.GC_PR_FGD)
    cv2.fillConvexPoly(labels, cv2.convexHull(np.round(landmarks).astype(np.int32)), cv2.GC_FGD)
    column = np.array([landmarks[5], landmarks[11], landmarks[11] + down * height, landmarks[5] + down * height])
    cv2.fillConvexPoly(labels, np.round(column).astype(np.int32), cv2.GC_FGD)
    return labels


def cover_head(shape: HeadShape, texture: PhotoTexture) -> np.ndarray:
    """Return where the face model's head is, above the chin.

    Args:
        shape: The head.
        texture: The photograph.

    Returns:
        (W W) bool, W = WORK_PIXELS.
    """
    model = shape.model
    triangles = model.triangles_of(*[part for part in ("skin", "head") if part in model.parts])
    chosen = np.unique(triangles)
    vertices = shape.vertex_set(chosen)
    points = shape.fit.pose.project(vertices.base)
    points[:, :2] += vertices.residual
    points[:, :2] = (texture.pixels(points[:, :2]) + 0.5) * (WORK_PIXELS / texture.canvas.shape[0])
    chin = model.vertices(shape.fit.identity, shape.fit.expression, model.landmarks[8:9])[0, 1]
    local = np.searchsorted(chosen, triangles)
    local = local[(vertices.base[local, 1] < chin).all(1)]
    covered = np.zeros(WORK_PIXELS * WORK_PIXELS, bool)
    covered[rasterize(points, local, WORK_PIXELS, WORK_PIXELS).pixels] = True
    return covered.reshape(WORK_PIXELS, WORK_PIXELS)


def keep_connected(person: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Remove the parts of a segmentation that are not connected with the face, and fill its holes.

    Args:
        person: (W W) uint8, 1 where the person is.
        landmarks: (68 2) pixels.

    Returns:
        (W W) uint8.
    """
    person = cv2.morphologyEx(person, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    count, labels = cv2.connectedComponents(person)
    x, y = np.clip(np.round(landmarks[30]).astype(int), 0, WORK_PIXELS - 1)
    connected = (labels == labels[y, x]).astype(np.uint8)
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - connected)
    for k in range(1, len(stats)):
        left, top, width, height, _ = stats[k]
        if left > 0 and top > 0 and left + width < WORK_PIXELS and top + height < WORK_PIXELS:
            connected[holes == k] = 1
    return connected
