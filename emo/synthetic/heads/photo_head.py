"""A photograph that moves: a fitted face model deforms the picture's own pixels, with the ground truth of every frame.

    head = PhotoHead.build(image, FaceModel.load(path), size_pixels=256)
    frame = head.draw(MotionFrame(...))

Skin, hair and what is around them are one smooth warp of the photograph; lips and lids are triangles with a depth
buffer; teeth, gums, tongue and eyeballs are behind them. Frames (S S 3).
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from emo.face.detector import FaceDetector
from emo.face.refinement import LandmarkRefiner, load_landmark_refiner
from emo.synthetic.heads.eyes import EYES, Eye
from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.fitting import (
    FitLimits,
    FitRejected,
    PhotoFit,
    PhotoLandmarks,
    Pose,
    angles_of_rotation,
    check_eyes,
    check_fit,
    check_lips,
    fit_landmarks,
    model_unit,
    mouth_opening,
)
from emo.synthetic.heads.head_shape import HeadShape, MotionFrame, VertexSet
from emo.synthetic.heads.mesh_patch import PatchBox, draw_patch
from emo.synthetic.heads.mouth_interior import MouthInterior
from emo.synthetic.heads.photo_texture import Background, PhotoTexture
from emo.synthetic.heads.warp_field import WarpField, grid_centers

__all__ = ["MotionFrame", "PhotoFrame", "PhotoHead", "PhotoTruth"]
FLOW_CELLS = 64
EYE_UNITS = 0.94  # displacement of a pupil per radian, in units of ICT-FaceKit (10.3 mm)


@dataclass(frozen=True)
class PhotoTruth:
    """Ground truth of a drawn frame; positions are in sides of the picture.

    Attributes:
        flow: (2 64 64) float16: position in the portrait of each cell of the frame, minus the cell's own position.
        unsourced: (64 64) uint8: share of each cell, of 255, that the portrait does not show.
        landmarks: (68 2) float32 iBUG points.
        irises: (2 2) float32, the picture's left first.
        head_radians: (3,) float32 yaw to the picture's left, pitch up, roll clockwise.
        gaze_radians: (2,) float32 of the eyes in the head, to the picture's left and up.
        blink: (2,) float32 the person's left and right eye, 1 closed.
        distance: To the camera, over the portrait's.
        mouth_opening: Gap of the inner lips over the face's height.
    """

    flow: np.ndarray
    unsourced: np.ndarray
    landmarks: np.ndarray
    irises: np.ndarray
    head_radians: np.ndarray
    gaze_radians: np.ndarray
    blink: np.ndarray
    distance: float
    mouth_opening: float


@dataclass(frozen=True)
class PhotoFrame:
    """A drawn frame: image (S S 3) uint8 and its truth."""

    image: np.ndarray
    truth: PhotoTruth


@dataclass(frozen=True)
class PhotoHead:
    """A photograph and everything that moves it.

    Attributes:
        size: Side of the frames, pixels.
        texture: The photograph.
        shape: The fitted head.
        field: The smooth warp.
        mouth: Lips and what is behind them.
        eyes: The person's right and left eye.
        background: What is behind the person; None where the segmentation failed.
        irises: (2 2) of the portrait, sides.
        gaze_radians: (2,) of the portrait.
        landmark_vertices: Vertices of the 68 landmarks.
    """

    size: int
    texture: PhotoTexture
    shape: HeadShape
    field: WarpField
    mouth: MouthInterior
    eyes: tuple[Eye, Eye]
    background: Background | None
    irises: np.ndarray
    gaze_radians: np.ndarray
    landmark_vertices: VertexSet

    @classmethod
    def build(
        cls,
        image: np.ndarray,
        model: FaceModel,
        size_pixels: int = 256,
        seed: int = 0,
        box: tuple[float, float, float, float] | None = None,
        face: PhotoLandmarks | None = None,
        limits: FitLimits | None = None,
    ) -> "PhotoHead":
        """Fit a photograph.

        Args:
            image: (H W 3) uint8 RGB.
            model: The face model.
            size_pixels: Side of the frames, 256 to 512.
            seed: Seed of the colors and positions of teeth and gums.
            box: The square (x0, y0, x1, y1) of the picture that frames show; None: the largest, in the middle.
            face: Landmarks and irises, pixels; None: those that the package's detector finds.
            limits: Limits of usable photographs; None: the default ones.

        Returns:
            The head.

        Raises:
            FitRejected: The photograph can't be used; `reason` says why.
        """
        height, width = image.shape[:2]
        if box is None:
            side = min(height, width)
            x0, y0 = (width - side) / 2, (height - side) / 2
            box = (x0, y0, x0 + side, y0 + side)
        face = find_landmarks(image) if face is None else face
        side = box[2] - box[0]
        fit = fit_landmarks(face.landmarks, model)
        check_fit(fit, face.landmarks, FitLimits() if limits is None else limits)
        check_eyes(image, face.landmarks)
        check_lips(image, face.landmarks)
        corner = np.array(box[:2])
        pose = Pose(fit.pose.scale / side, fit.pose.rotation, (fit.pose.translation - corner) / side)
        fit = PhotoFit(fit.identity, fit.expression, pose, fit.error, fit.face_height / side)
        landmarks, irises = (face.landmarks - corner) / side, (face.irises - corner) / side
        texture = PhotoTexture.build(image, box, size_pixels)
        shape = HeadShape.build(model, fit, landmarks)
        rng = np.random.default_rng(seed)
        eyes = tuple(Eye.build(shape, texture, side, irises[k]) for k, side in enumerate("RL"))
        return cls(
            size_pixels,
            texture,
            shape,
            WarpField.build(shape),
            MouthInterior.build(shape, texture, rng),
            (eyes[0], eyes[1]),
            Background.build(shape, texture),
            irises,
            portrait_gaze(shape, landmarks, irises),
            shape.vertex_set(model.landmarks),
        )

    @property
    def portrait(self) -> np.ndarray:
        """(S S 3) uint8, of which all frames are a deformation."""
        return self.texture.portrait

    @property
    def neutral_truth(self) -> PhotoTruth:
        """Ground truth of the portrait."""
        return self.draw(MotionFrame.neutral(len(self.shape.model.names))).truth

    def draw(self, motion: MotionFrame) -> PhotoFrame:
        """Draw a frame with its ground truth."""
        weights = self.shape.weights(motion)
        positions = self.field.backward(self.field.points.deform(weights), motion, self.size)
        image = self.texture.sample(positions)
        uncovered = self._draw_backdrop(image, positions, motion)
        unsourced = np.float32((np.abs(positions - 0.5) > 0.5 + 0.5 / self.size).any(-1))
        unsourced = np.maximum(unsourced, uncovered)
        landmarks = self._project(self.landmark_vertices, weights, motion)[:, :2]
        opening = float(mouth_opening(landmarks[None])[0] - self._rest_opening)
        box = draw_patch(
            self.mouth.patch, self._project(self.mouth.patch.vertices, weights, motion), landmarks[48:60], self.size
        )
        if box is not None:
            self._draw_mouth(image, positions, unsourced, box, opening)
        gaze_change = float(np.linalg.norm(motion.gaze_radians))
        shift = self._iris_shift(self.shape.fit.pose.rotation, motion)
        for eye, (rows, _), closed in zip(self.eyes, EYES.values(), motion.blink[::-1], strict=True):
            lids = landmarks[rows].mean(0) + 1.4 * (landmarks[rows] - landmarks[rows].mean(0))
            box = draw_patch(eye.patch, self._project(eye.patch.vertices, weights, motion), lids, self.size)
            if box is not None:
                vertices = eye.patch.vertices
                rest = self.shape.fit.pose.project(vertices.deform(weights))[:, :2] + vertices.residual
                self._draw_eye(image, positions, unsourced, box, eye, rest, shift, gaze_change, float(closed))
                if closed > 0.05:
                    unsourced += np.float32(eye.draw_lashes(image, landmarks[rows], float(closed))) / 255
        return PhotoFrame(image, self._truth(positions, unsourced, landmarks, motion))

    @property
    def _rest_opening(self) -> float:
        return float(mouth_opening(self.shape.landmarks[None])[0])

    def _project(self, vertices: VertexSet, weights: np.ndarray, motion: MotionFrame) -> np.ndarray:
        """Deform vertices and projects them into the frame: positions in sides, and depth, (N 3)."""
        placed = self.shape.place(vertices.deform(weights), motion)
        placed[:, :2] = self.shape.zoom(placed[:, :2] + vertices.residual, motion.scale)
        return placed

    def _iris_shift(self, rotation: np.ndarray, motion: MotionFrame) -> np.ndarray:
        """Displacement (2,) of the irises in sides, for the head at a rotation (3 3)."""
        step = gaze_direction(self.gaze_radians + motion.gaze_radians) - gaze_direction(self.gaze_radians)
        unit = EYE_UNITS * model_unit(self.shape.model) * self.shape.fit.pose.scale
        return (rotation @ step)[:2] * unit

    def _draw_backdrop(self, image: np.ndarray, positions: np.ndarray, motion: MotionFrame) -> np.ndarray | float:
        """Draw what is behind the person, in place; return the share (S S) of each pixel that is filled in."""
        if self.background is None:
            return 0.0
        person = self.texture.sample(positions, self.background.person)
        behind = self.shape.unzoom(grid_centers(self.size), motion.scale)
        alpha = person[..., None]
        image[:] = np.uint8(image * alpha + self.texture.sample(behind, self.background.plate) * (1 - alpha) + 0.5)
        filled = self.texture.sample(behind, self.background.filled) * (1 - person)
        positions[:] = np.where(alpha > 0.5, positions, behind)
        return filled

    def _draw_mouth(
        self, image: np.ndarray, positions: np.ndarray, unsourced: np.ndarray, box: PatchBox, opening: float
    ) -> None:
        skin = self.texture.sample(box.source).astype(np.float32)
        hidden = box.hidden[..., None]
        skin = skin * (1 - hidden) + (0.2 * skin + 0.8 * self.mouth.lip) * (1 - 0.45 * hidden) * hidden
        inner, share = self.mouth.paint(box, opening)
        around = positions[box.rows, box.columns].copy()
        blend_patch(image, positions, unsourced, box, skin, box.hidden > 0.3, inner, share, around, np.ones_like(share))

    def _draw_eye(
        self,
        image: np.ndarray,
        positions: np.ndarray,
        unsourced: np.ndarray,
        box: PatchBox,
        eye: Eye,
        rest: np.ndarray,
        shift: np.ndarray,
        gaze_change: float,
        closed: float,
    ) -> None:
        skin, skin_unsourced = eye.skin_colors(box, self.texture, rest, closed)
        inner, source, unsourced_share = eye.paint(box, self.texture, shift, gaze_change, closed)
        skin_unsourced = np.maximum(skin_unsourced, box.hidden) > 0.3
        blend_patch(image, positions, unsourced, box, skin, skin_unsourced, inner, box.behind, source, unsourced_share)

    def _truth(
        self, positions: np.ndarray, unsourced: np.ndarray, landmarks: np.ndarray, motion: MotionFrame
    ) -> PhotoTruth:
        flow, unsourced = coarse_flow(positions, unsourced)
        moved = []
        for eye, iris in zip(self.eyes, self.irises, strict=True):
            ball = ~eye.patch.is_skin
            if not ball.any():
                ball = eye.patch.is_skin
            before = self.shape.fit.pose.project(eye.patch.vertices.base[ball])[:, :2].mean(0)
            after = self.shape.place(eye.patch.vertices.base[ball], motion)[:, :2].mean(0)
            moved.append(iris + after - before)
        irises = np.array(moved) + self._iris_shift(self.shape.rotation(motion), motion)
        return PhotoTruth(
            flow,
            unsourced,
            np.float32(landmarks),
            np.float32(self.shape.zoom(irises, motion.scale)),
            np.float32(angles_of_rotation(self.shape.rotation(motion))),
            np.float32(self.gaze_radians + motion.gaze_radians),
            np.float32(motion.blink),
            1 / float(motion.scale),
            float(mouth_opening(landmarks[None])[0]),
        )


def blend_patch(
    image: np.ndarray,
    positions: np.ndarray,
    unsourced: np.ndarray,
    box: PatchBox,
    skin: np.ndarray,
    skin_unsourced: np.ndarray,
    inner: np.ndarray,
    share: np.ndarray,
    inner_source: np.ndarray,
    inner_unsourced: np.ndarray,
) -> None:
    """Blend a drawn patch into a frame, its positions and its unsourced shares, in place.

    Args:
        image: (S S 3) uint8.
        positions: (S S 2) in the portrait of each pixel.
        unsourced: (S S) share that the portrait does not show.
        box: The drawn patch.
        skin: (h w 3) colors of its skin.
        skin_unsourced: (h w) whether the portrait does not show it.
        inner: (h w 3) colors of what is behind the skin.
        share: (h w) share of each pixel that it covers.
        inner_source: (h w 2) its positions in the portrait.
        inner_unsourced: (h w) share of it that the portrait does not show.
    """
    window = box.window[..., None]
    at = (box.rows, box.columns)
    cover = np.maximum(box.skin + share, 1e-6)[..., None]
    opacity = np.clip(box.skin + share, 0, 1)[..., None] * window
    color = (skin * box.skin[..., None] + inner * share[..., None]) / cover
    image[at] = np.uint8(np.clip(image[at] * (1 - opacity) + color * opacity, 0, 255) + 0.5)
    source = np.where((box.skin >= share)[..., None], box.source, inner_source)
    is_opaque = opacity > 0.5
    positions[at] = np.where(is_opaque, source, positions[at])
    unsourced_share = (box.skin * skin_unsourced + share * inner_unsourced) / cover[..., 0]
    unsourced[at] = np.where(
        is_opaque[..., 0], np.maximum(unsourced_share, unsourced[at] * (box.skin < 0.5)), unsourced[at]
    )


def coarse_flow(positions: np.ndarray, unsourced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average positions and unsourced shares over the cells of the ground truth.

    Args:
        positions: (S S 2) in the portrait of each pixel.
        unsourced: (S S) share that the portrait does not show.

    Returns:
        flow (2 64 64) float16 and unsourced (64 64) uint8.
    """
    size = len(positions)
    displacement = positions - grid_centers(size)
    weight = np.maximum(1 - unsourced, 1e-3)[..., None]
    small = (FLOW_CELLS, FLOW_CELLS)
    sums = cv2.resize(np.concatenate([displacement * weight, weight], -1), small, interpolation=cv2.INTER_AREA)
    flow = sums[..., :2] / sums[..., 2:]
    unsourced_share = cv2.resize(np.clip(unsourced, 0, 1), small, interpolation=cv2.INTER_AREA)
    return flow.transpose(2, 0, 1).astype(np.float16), (unsourced_share * 255 + 0.5).astype(np.uint8)


def gaze_direction(radians: np.ndarray) -> np.ndarray:
    """Gaze (2,) to the picture's left and up, radians -> direction (3,) in the head: x right, y down, z away."""
    left, up = radians
    return np.array([-np.sin(left) * np.cos(up), -np.sin(up), -np.cos(left) * np.cos(up)])


def portrait_gaze(shape: HeadShape, landmarks: np.ndarray, irises: np.ndarray) -> np.ndarray:
    """Estimate the portrait's gaze in the head from the irises' positions between the corners of the eyes.

    Args:
        shape: The head.
        landmarks: (68 2) sides.
        irises: (2 2) sides.

    Returns:
        (2,) radians to the picture's left and up.
    """
    rotation, angles = shape.fit.pose.rotation[:2, :2], []
    for (rows, _), iris in zip(EYES.values(), irises, strict=True):
        lids = landmarks[rows]
        straight = np.linalg.inv(rotation)
        across, offset = straight @ (lids[3] - lids[0]), straight @ (iris - (lids[0] + lids[3]) / 2)
        angles.append(-np.arcsin(np.clip((offset / np.linalg.norm(across) + [0, 0.053]) / 0.36, -1, 1)))
    return np.mean(angles, 0)


@cache
def load_face_networks() -> tuple[FaceDetector, LandmarkRefiner]:
    """Load the package's face detector and landmark refiner once a process."""
    return FaceDetector(), load_landmark_refiner()


def find_landmarks(image: np.ndarray) -> PhotoLandmarks:
    """Find landmarks and irises of the largest face.

    Args:
        image: (H W 3) uint8.

    Returns:
        Landmarks (68 2) and irises (2 2), pixels.

    Raises:
        FitRejected: There is no face.
    """
    detector, refiner = load_face_networks()
    faces = detector.detect(image)
    if not faces:
        raise FitRejected("no_face", "no face was found")
    landmarks = faces[0].landmarks[None].astype(np.float64)
    face = refiner.refine(image, landmarks)[0]
    return PhotoLandmarks(np.float64(face.landmarks), np.float64(face.irises))
