"""Label pictures and videos with the face landmarks of MediaPipe, which our own networks are trained on.

Runs in an environment of its own (`pip install mediapipe==0.10.21 av safetensors`), because MediaPipe pins old versions
of numpy and protobuf; so it imports nothing of this package.

    python -m emo.preparation.labels FOLDER LABELS      one LABELS/NAME.safetensors per picture or video

`landmarks` is (T 468 3) float32, pixels (z in the scale of x); `irises` is (T 2 2), the pixels of the irises' centers,
that of the picture's left first. Both are NaN for a frame without exactly one mesh.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import mediapipe
import numpy as np
from safetensors.numpy import save_file

IRIS_POINTS = [468, 473]  # centers, of the 478 points of the refined mesh
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}
SUFFIXES = PICTURE_SUFFIXES | {".mp4", ".mov", ".webm", ".mkv"}


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a picture or a video, each (H W 3) uint8."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def label_file(path: Path) -> dict[str, np.ndarray]:
    """Find the face of each frame of a picture or a video.

    Args:
        path: The file.

    Returns:
        "landmarks" (T 468 3) and "irises" (T 2 2), float32 pixels; NaN for a frame without exactly one mesh.
    """
    is_picture, rows = path.suffix.lower() in PICTURE_SUFFIXES, []
    with mediapipe.solutions.face_mesh.FaceMesh(is_picture, max_num_faces=1, refine_landmarks=True) as mesh:
        for frame in read_frames(path):
            faces = mesh.process(frame).multi_face_landmarks
            height, width = frame.shape[:2]
            if faces:
                points = np.array([(p.x, p.y, p.z) for p in faces[0].landmark], dtype=np.float32)
                rows.append(points * np.float32([width, height, width]))
            else:
                rows.append(np.full((478, 3), np.nan, np.float32))
    points = np.stack(rows)
    return {"landmarks": points[:, :468].copy(), "irises": points[:, IRIS_POINTS, :2].copy()}


def main() -> None:
    """Label all files of a folder that have no labels."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES):
        out = target / f"{path.stem}.safetensors"
        if not out.exists():
            save_file(label_file(path), out)


if __name__ == "__main__":
    main()
