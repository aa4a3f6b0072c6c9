"""A fitted head in motion: the motion of a frame, and where vertices move with it.

Positions in pictures are in sides of the portrait's square: its upper left corner is (0, 0), its lower right (1, 1).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.fitting import PhotoFit, Pose, angles_of_rotation, model_unit, rotation_of_angles

NECK = (0.0, 3.5, 2.0)  # model units from the center of the ears (right, down, away): the pivot of head rotations
CAMERA_DISTANCE = (
    4.0  # from the camera to the face, over the face's height: 0.75 m. Detectors learnt from photographs see
)
# a rotation without perspective a quarter too small
LID_RADIANS = 0.6  # of gaze up or down, for a weight of 1 of the expression of the lids


@dataclass(frozen=True)
class MotionFrame:
    """The motion of a frame relative to the portrait; all zeros and scale 1 are the portrait itself.

    Attributes:
        expression: (E,) offsets to the fitted expression weights, in the order of the face model's names; without
            blinks and gaze.
        head_radians: (3,) yaw to the picture's left, pitch up, roll clockwise, offsets to the portrait's pose.
        translation: (2,) of the head, right and down, in sides.
        scale: Scale of the picture: above 1 is nearer.
        gaze_radians: (2,) of the eyes in the head, to the picture's left and up, offsets to the portrait's.
        blink: (2,) the person's left and right eye, 0 as in the portrait, 1 closed.
    """

    expression: np.ndarray
    head_radians: np.ndarray
    translation: np.ndarray
    scale: float
    gaze_radians: np.ndarray
    blink: np.ndarray

    @classmethod
    def neutral(cls, expressions: int = 57) -> "MotionFrame":
        """Return the portrait itself."""
        return cls(np.zeros(expressions, np.float32), np.zeros(3), np.zeros(2), 1.0, np.zeros(2), np.zeros(2))


@dataclass(frozen=True)
class VertexSet:
    """Some vertices of a fitted head.

    Attributes:
        base: (N 3) float32 in the model's units, fitted expression included.
        basis: (E N*3) float32 offsets per expression weight.
        residual: (N 2) float32 sides: position in the photograph minus that of the projected vertex.
    """

    base: np.ndarray
    basis: np.ndarray
    residual: np.ndarray

    def deform(self, weights: np.ndarray) -> np.ndarray:
        """Offsets (E,) of expression weights -> vertices (N 3)."""
        used = np.flatnonzero(weights)
        if len(used) == 0:
            return self.base
        return self.base + (np.float32(weights[used]) @ self.basis[used]).reshape(-1, 3)


@dataclass(frozen=True)
class HeadShape:
    """A fitted head and its camera.

    Attributes:
        model: The face model.
        fit: Identity, expression and pose, in sides.
        landmarks: (68 2) of the portrait, sides.
        pivot: (3,) of head rotations, in the model's unit.
        correction: Maps (N 2) projected points to the photograph's.
        blink_gain: (2,) weights of eyeBlink that close the person's left and right eye.
    """

    model: FaceModel
    fit: PhotoFit
    landmarks: np.ndarray
    pivot: np.ndarray
    correction: "SmoothCorrection"
    blink_gain: np.ndarray

    @classmethod
    def build(cls, model: FaceModel, fit: PhotoFit, landmarks: np.ndarray) -> "HeadShape":
        """Make the shape of a fit.

        Args:
            model: The face model.
            fit: In sides.
            landmarks: (68 2) in sides.

        Returns:
            The shape.
        """
        vertices = model.vertices(fit.identity, fit.expression, model.landmarks)
        ears = vertices[[0, 16]].mean(0)
        pivot = np.float32(ears + np.array(NECK, np.float32) * model_unit(model))
        projected = fit.pose.project(vertices)[:, :2]
        correction = SmoothCorrection.solve(projected, landmarks - projected, fit.face_height)
        shape = cls(model, fit, landmarks, pivot, correction, np.ones(2))
        return cls(model, fit, landmarks, pivot, correction, shape._blink_gain())

    def _blink_gain(self) -> np.ndarray:
        """Return the weights of eyeBlink_L and eyeBlink_R that close the eyes of this fit."""
        lids = self.vertex_set(self.model.landmarks)
        gains = []
        for name, upper, lower in (("eyeBlink_L", (43, 44), (47, 46)), ("eyeBlink_R", (37, 38), (41, 40))):
            open_eye = self.place(lids.base, MotionFrame.neutral(len(self.model.names)))[:, :2] + lids.residual
            closing = self.place(
                lids.deform(self.model.weights(**{name: 1.0})), MotionFrame.neutral(len(self.model.names))
            )
            closing = closing[:, :2] + lids.residual
            gap, closed_gap = ((p[list(lower)] - p[list(upper)])[:, 1] for p in (open_eye, closing))
            gains.append(np.clip((gap / np.maximum(gap - closed_gap, 1e-6)).max() + 0.05, 0.4, 2.0))
        return np.array(gains)

    def vertex_set(self, chosen: np.ndarray) -> VertexSet:
        """Vertices of the model by their numbers (N,)."""
        base = self.model.vertices(self.fit.identity, self.fit.expression, chosen)
        basis = np.ascontiguousarray(self.model.expression[:, chosen]).reshape(len(self.model.names), -1)
        return VertexSet(base, basis, self.correction(self.fit.pose.project(base)[:, :2]))

    def weights(self, motion: MotionFrame) -> np.ndarray:
        """Offsets (E,) of expression weights, including the eyelids: they close in a blink and follow the gaze."""
        weights = np.array(motion.expression, np.float32)
        names = self.model.names
        up = float(motion.gaze_radians[1]) / LID_RADIANS
        for side, blink, gain in zip("LR", motion.blink, self.blink_gain, strict=True):
            weights[names.index(f"eyeBlink_{side}")] += float(blink) * gain
            lids = f"eyeLookUp_{side}" if up > 0 else f"eyeLookDown_{side}"
            weights[names.index(lids)] += abs(up) * (1 - float(blink))
        return weights

    def rotation(self, motion: MotionFrame) -> np.ndarray:
        """Return the rotation (3 3) of the moved head."""
        return rotation_of_angles(angles_of_rotation(self.fit.pose.rotation) + motion.head_radians)

    def place(self, vertices: np.ndarray, motion: MotionFrame) -> np.ndarray:
        """Place vertices in the portrait's plane, before the picture is scaled and without residuals.

        The portrait is fitted without perspective, since its camera is unknown. What a rotation brings nearer to a
        camera at CAMERA_DISTANCE grows, and what it takes away shrinks; the portrait itself is as it was fitted.

        Args:
            vertices: (N 3) of the face model.
            motion: Motion of the frame.

        Returns:
            (N 3) positions and depth, sides.
        """
        origin = self.fit.pose.project(self.pivot[None])[0]
        origin[:2] += np.float32(motion.translation)
        turned = Pose(self.fit.pose.scale, self.rotation(motion), np.zeros(2))
        placed = turned.project(vertices - self.pivot) + origin
        rest_depth = self.fit.pose.scale * (vertices @ self.fit.pose.rotation[2].astype(vertices.dtype))
        camera = CAMERA_DISTANCE * self.fit.face_height - self._depth
        nearness = (camera + rest_depth) / (camera + placed[:, 2])
        focus = self.focus.astype(vertices.dtype) + np.float32(motion.translation)
        placed[:, :2] = focus + (placed[:, :2] - focus) * nearness[:, None].astype(vertices.dtype)
        return placed

    @cached_property
    def _depth(self) -> float:
        """Depth of the portrait's face, between the eyes, sides."""
        eyes = self.model.vertices(self.fit.identity, self.fit.expression, self.model.landmarks[36:48])
        return float(self.fit.pose.project(eyes)[:, 2].mean())

    @property
    def focus(self) -> np.ndarray:
        """The fixed point (2,) of the picture's scale, in sides."""
        return self.landmarks[[36, 39, 42, 45, 48, 54]].mean(0)

    def zoom(self, points: np.ndarray, scale: float) -> np.ndarray:
        """Scale positions around the focus of the picture.

        Args:
            points: (N 2) positions before the picture is scaled, sides.
            scale: Scale of the picture; above 1 is nearer.

        Returns:
            (N 2) positions in the frame, sides.
        """
        focus = self.focus.astype(points.dtype)
        return focus + (points - focus) * points.dtype.type(scale)

    def unzoom(self, points: np.ndarray, scale: float) -> np.ndarray:
        """Invert `zoom`.

        Args:
            points: (... 2) positions in the frame, sides.
            scale: Scale of the picture.

        Returns:
            (... 2) positions before the picture is scaled, sides.
        """
        focus = self.focus.astype(points.dtype)
        return focus + (points - focus) / points.dtype.type(scale)


@dataclass(frozen=True)
class SmoothCorrection:
    """A smooth field of offsets: a thin-plate spline (Bookstein 1989) that fades to 0 around its control points.

    Attributes:
        controls: (N 2) sides.
        coefficients: (N + 3 2) of the spline.
    """

    controls: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def solve(cls, points: np.ndarray, offsets: np.ndarray, size: float) -> "SmoothCorrection":
        """Fit the field; the face's contour, which slides along the skin, has a small weight, and around it is 0.

        Args:
            points: (68 2) sides.
            offsets: (68 2) sides.
            size: The face's height, sides.

        Returns:
            The field.
        """
        angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        center = points.mean(0)
        ring = center + size * 1.05 * np.stack([np.cos(angle), np.sin(angle)], 1)
        controls = np.concatenate([points, ring])
        values = np.concatenate([offsets, np.zeros_like(ring)])
        softness = np.full(len(controls), 1e-5)
        softness[:17] = 3e-2
        softness[48:68] = 4e-4  # lips are smoother than their landmarks
        softness[68:] = 1e-3
        n = len(controls)
        system = np.zeros((n + 3, n + 3))
        system[:n, :n] = spline(controls, controls) / size**2 + np.diag(softness)
        system[:n, n:] = np.column_stack([np.ones(n), controls])
        system[n:, :n] = system[:n, n:].T
        coefficients = np.linalg.solve(system, np.concatenate([values, np.zeros((3, 2))]))
        coefficients[:n] /= size**2
        return cls(controls, coefficients)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (N 2) -> offsets (N 2) float32."""
        n = len(self.controls)
        values = spline(points, self.controls) @ self.coefficients[:n]
        values += np.column_stack([np.ones(len(points)), points]) @ self.coefficients[n:]
        middle = self.controls[:68].mean(0)
        radius = np.linalg.norm(self.controls[68:] - middle, axis=1).mean()
        far = np.linalg.norm(points - middle, axis=1) / radius
        return np.asarray(values * (1 - smoothstep(far, 0.8, 1.0))[:, None], np.float32)


def spline(points: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Evaluate the thin-plate kernel r^2 log r.

    Args:
        points: (N 2) positions.
        controls: (M 2) control points.

    Returns:
        (N M) values.
    """
    squared = ((points[:, None].astype(np.float64) - controls[None]) ** 2).sum(-1)
    return 0.5 * squared * np.log(np.maximum(squared, 1e-20))


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 below `low`, 1 above `high`, smooth between.

    Args:
        values: Values of any shape.
        low: Upper end of 0.
        high: Lower end of 1.

    Returns:
        Values from 0 to 1.
    """
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
