"""A linear 3D face model with identity modes, named expressions, teeth, gums, tongue and eyeballs.

ICT-FaceKit (MIT; Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020) or a model of the same
layout. It makes training footage only. Coordinates: x to the right of the picture, y down, z into it, in the model's
unit. V vertices, I identity modes, E expressions, T triangles.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo.core.errors import InputError

# fmt: off
EXPRESSION_NAMES = (
    "PupilDilate_L", "PupilDilate_R", "browDown_L", "browDown_R", "browInnerUp_L", "browInnerUp_R", "browOuterUp_L",
    "browOuterUp_R", "cheekPuff_L", "cheekPuff_R", "cheekRaiser_L", "cheekRaiser_R", "cheekSquint_L", "cheekSquint_R",
    "eyeBlink_L", "eyeBlink_R", "eyeLookDown_L", "eyeLookDown_R", "eyeLookIn_L", "eyeLookIn_R", "eyeLookOut_L",
    "eyeLookOut_R", "eyeLookUp_L", "eyeLookUp_R", "eyeSquint_L", "eyeSquint_R", "eyeWide_L", "eyeWide_R", "jawForward",
    "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimple_L", "mouthDimple_R", "mouthFrown_L", "mouthFrown_R",
    "mouthFunnel", "mouthLeft", "mouthLowerDown_L", "mouthLowerDown_R", "mouthPress_L", "mouthPress_R", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmile_L",
    "mouthSmile_R", "mouthStretch_L", "mouthStretch_R", "mouthUpperUp_L", "mouthUpperUp_R",
    "noseSneer_L", "noseSneer_R",
)
# Vertex ranges of ICT-FaceKit's mesh (first, last + 1), from its documentation, and the vertices of the 68 landmarks
ICT_PARTS = {
    "skin": (0, 9409), "head": (9409, 11248), "socket": (11248, 13294), "gums_tongue": (14062, 17039),
    "teeth": (17039, 21451), "eyeball_left": (21451, 23021), "eyeball_right": (23021, 24591),
}
ICT_LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147,
    4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081,
    0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)
# fmt: on
TO_PICTURE = np.array([1, -1, -1], np.float32)  # axes of the files (y up, z to the viewer) -> of the picture


@dataclass(frozen=True)
class FaceModel:
    """A model whose vertices are neutral + identity weights x identity + expression weights x expression.

    Attributes:
        neutral: (V 3) float32 vertices.
        identity: (I V 3) float32 offsets per identity weight, which is standard normal.
        expression: (E V 3) float32 offsets per expression weight, 0 to 1.
        names: The E expressions' names.
        triangles: (T 3) int32 vertices of each triangle.
        parts: First vertex and last + 1 of skin, head, socket, gums_tongue, teeth, eyeball_left, eyeball_right.
        landmarks: (68,) int64 vertices, iBUG order.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    names: tuple[str, ...]
    triangles: np.ndarray
    parts: dict[str, tuple[int, int]]
    landmarks: np.ndarray

    @classmethod
    def load(cls, path: Path) -> "FaceModel":
        """Load a packed model (.npz) or ICT-FaceKit's folder of .obj files.

        Args:
            path: An .npz with neutral, identity, expression, expression_names, tri and, unless the mesh is
                ICT-FaceKit's, part_names, part_ranges and landmarks; or a folder with generic_neutral_mesh.obj.

        Returns:
            The model.

        Raises:
            InputError: The path is neither.
        """
        if path.is_dir():
            arrays = read_obj_folder(path)
        else:
            try:
                with np.load(path, allow_pickle=False) as packed:
                    arrays = {name: packed[name] for name in packed.files}
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: not a packed face model (.npz) and not a folder of .obj files") from error
        missing = {"neutral", "identity", "expression", "expression_names", "tri"} - set(arrays)
        if missing:
            raise InputError(f"{path}: not a face model: missing arrays {', '.join(sorted(missing))}")
        return cls.from_arrays(arrays, str(path))

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], source: str = "face model") -> "FaceModel":
        """Make a model of arrays.

        Args:
            arrays: In the axes of the files (y up, z to the viewer), named as in the .npz of `load`.
            source: Name for error messages.

        Returns:
            The model.

        Raises:
            InputError: Landmarks or parts are missing.
        """
        neutral = arrays["neutral"].astype(np.float32)
        if "landmarks" in arrays:
            ranges = arrays["part_ranges"].tolist()
            parts = {str(n): (a, b) for n, (a, b) in zip(arrays["part_names"], ranges, strict=True)}
            landmarks = arrays["landmarks"].astype(np.int64)
        elif len(neutral) == 26719:
            parts, landmarks = dict(ICT_PARTS), np.array(ICT_LANDMARKS)
        else:
            raise InputError(
                f"{source}: not ICT-FaceKit's mesh, so it needs the arrays landmarks, part_names and part_ranges"
            )
        names = tuple(str(name) for name in arrays["expression_names"])
        identity, expression = (arrays[k].astype(np.float32) * TO_PICTURE for k in ("identity", "expression"))
        return cls(neutral * TO_PICTURE, identity, expression, names, arrays["tri"].astype(np.int32), parts, landmarks)

    def weights(self, **named: float) -> np.ndarray:
        """Expression weights (E,) float32: the given ones by name, 0 for others."""
        row = np.zeros(len(self.names), np.float32)
        for name, value in named.items():
            row[self.names.index(name)] = value
        return row

    def vertices(
        self, identity: np.ndarray, expression: np.ndarray, chosen: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """Return the vertices of a face.

        Args:
            identity: (I,) weights of the identity modes.
            expression: (E,) weights of the expressions.
            chosen: Indices of the vertices; by default all.

        Returns:
            (V 3) float32, or the chosen ones.
        """
        moved = np.tensordot(np.float32(identity), self.identity[:, chosen], 1)
        return self.neutral[chosen] + moved + np.tensordot(np.float32(expression), self.expression[:, chosen], 1)

    def triangles_of(self, *parts: str) -> np.ndarray:
        """Return the triangles (T 3) all of whose vertices belong to these parts."""
        inside = np.zeros(len(self.neutral), bool)
        for part in parts:
            first, end = self.parts[part]
            inside[first:end] = True
        return self.triangles[inside[self.triangles].all(1)]


def read_obj_folder(folder: Path) -> dict[str, np.ndarray]:
    """Read ICT-FaceKit's folder FaceXModel: the neutral mesh, and an .obj of each identity mode and expression.

    Raises:
        InputError: There is no generic_neutral_mesh.obj, or a mesh has another number of vertices.
    """
    if not (folder / "generic_neutral_mesh.obj").exists() and (folder / "FaceXModel").is_dir():
        folder = folder / "FaceXModel"
    base = folder / "generic_neutral_mesh.obj"
    if not base.exists():
        raise InputError(f"{folder}: no generic_neutral_mesh.obj; give ICT-FaceKit's folder FaceXModel")
    lines = base.read_text().splitlines()
    neutral, triangles = read_vertices(lines), []
    for line in lines:
        if line.startswith("f "):
            corners = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
            triangles += [(corners[0], b, c) for b, c in zip(corners[1:], corners[2:], strict=False)]
    identity, expression, names = [], [], []
    for path in sorted(folder.glob("*.obj")):
        if path.name.startswith("generic"):
            continue
        vertices = read_vertices(path.read_text().splitlines())
        if vertices.shape != neutral.shape:
            raise InputError(f"{path}: {len(vertices)} vertices, the neutral mesh has {len(neutral)}")
        if path.name.startswith("identity"):
            identity.append(vertices - neutral)
        else:
            expression.append(vertices - neutral)
            names.append(path.stem)
    if not identity or not expression:
        raise InputError(f"{folder}: no identity*.obj or no expression beside generic_neutral_mesh.obj")
    return {
        "neutral": neutral,
        "tri": np.array(triangles, np.int32),
        "identity": np.stack(identity),
        "expression": np.stack(expression),
        "expression_names": np.array(names),
    }


def read_vertices(lines: list[str]) -> np.ndarray:
    """Read the vertices (V 3) float32 of an .obj file's lines."""
    return np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float32)
