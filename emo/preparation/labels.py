"""Face landmarks of pictures and videos by MediaPipe's face mesh: the labels our own networks learn from.

Runs in an environment of its own (`pip install mediapipe==0.10.21 av safetensors`), because MediaPipe
holds numpy and protobuf at old versions; it imports nothing else of this package.

    python -m emo.preparation.labels FOLDER LABELS      one LABELS/NAME.safetensors per picture or video

`landmarks` is (T 468 3) float32, pixels (z in the scale of x), `irises` (T 2 2) the pixels of the irises' centres, that
of the picture's left first; both NaN for a frame without exactly one mesh.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import mediapipe
import numpy as np
from safetensors.numpy import save_file

IRISES = [468, 473]  # of the refined mesh
SUFFIXES = {".jpg", ".jpeg", ".png", ".mp4", ".mov", ".webm", ".mkv"}


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a picture or a video, each (H W 3) uint8."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def label(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file."""
    still = path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    rows = []
    with mediapipe.solutions.face_mesh.FaceMesh(still, max_num_faces=1, refine_landmarks=True) as mesh:
        for frame in read_frames(path):
            faces = mesh.process(frame).multi_face_landmarks
            height, width = frame.shape[:2]
            if faces:
                points = np.array([(p.x, p.y, p.z) for p in faces[0].landmark], dtype=np.float32)
                rows.append(points * np.float32([width, height, width]))
            else:
                rows.append(np.full((478, 3), np.nan, np.float32))
    points = np.stack(rows)
    return {"landmarks": points[:, :468].copy(), "irises": points[:, IRISES, :2].copy()}


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES):
        out = target / f"{path.stem}.safetensors"
        if not out.exists():
            save_file(label(path), out)


if __name__ == "__main__":
    main()
