"""Load labeled faces of pictures, videos and prepared clips, which the face networks are trained on.

Images are (H W 3) uint8 RGB; landmarks (68 2) are float, in pixels of the image.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from emo.core.errors import InputError
from emo.data.clip import read_hold_out
from emo.face.crop import Region, region_of_landmarks
from emo.face.landmarks import MEDIAPIPE_TO_IBUG
from emo.media.image import IMAGE_SUFFIXES, read_image
from emo.media.video import read_video

MAX_SIDE_PIXELS = 360  # of a region in memory
VIDEO_SURROUNDINGS = (
    2.0  # side of what is stored of a video's frame, in sides of the region: other faces have no labels
)
FRAMES_PER_CLIP, CLIPS_PER_PERSON = 3, 8


@dataclass
class Face:
    """A picture and the face in it.

    Attributes:
        image: (H W 3) uint8.
        landmarks: (68 2) pixels; None where the picture shows no one.
        irises: (2 2) centers, that of the picture's left first; NaN where unknown.
    """

    image: np.ndarray
    landmarks: np.ndarray | None
    irises: np.ndarray = field(default_factory=lambda: np.full((2, 2), np.nan))

    @property
    def region(self) -> Region:
        """The square of the face."""
        return region_of_landmarks(self.landmarks)


def load_faces(
    folders: list[str], labels: str, hold_out: str | None = None, frames_per_clip: int = FRAMES_PER_CLIP
) -> list[Face]:
    """Load the labeled faces of folders of pictures and videos.

    Labels of FOLDER/NAME.jpg are LABELS/FOLDER/NAME.safetensors, or lie beside the picture where
    `emo.synthetic.drawn_footage` has drawn it.

    Args:
        folders: Folders of pictures and videos.
        labels: Folder of labels.
        hold_out: File of names of files or people (PERSON_sentence.mp4) that are left out.
        frames_per_clip: Faces of a video.

    Returns:
        The faces, in the order of the folders and file names.

    Raises:
        InputError: A folder has no labels.
    """
    faces, people, clips = [], read_hold_out(hold_out), Counter()
    for folder in map(Path, folders):
        pairs = find_labeled_files(folder, Path(labels) / folder.name)
        for path, label in pairs.items():
            drawn, is_picture = label.parent == folder, path.suffix.lower() in IMAGE_SUFFIXES
            person = path.stem if drawn else path.stem.split("_")[0]
            if people & {person, path.stem} or clips[person] == CLIPS_PER_PERSON:
                continue
            clips[person] += not is_picture
            faces += [read_picture_face(path, label)] if is_picture else read_video_faces(path, label, frames_per_clip)
    return [face for face in faces if face is not None]


def find_labeled_files(folder: Path, labels: Path) -> dict[Path, Path]:
    """Find the files of a folder that have labels.

    Args:
        folder: Folder of pictures and videos.
        labels: Folder of their labels.

    Returns:
        File -> its label.

    Raises:
        InputError: No file has labels.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix not in (".safetensors", ".csv")]
    homes = {path: [home / f"{path.stem}.safetensors" for home in (folder, labels)] for path in files}
    pairs = {path: label for path, both in homes.items() for label in both if label.exists()}
    if not pairs:
        raise InputError(f"{labels} has no labels of {folder}: make them with emo.preparation.labels")
    return pairs


def read_picture_face(path: Path, label: Path) -> Face | None:
    """Read the face of a picture.

    Args:
        path: The picture.
        label: Its label file.

    Returns:
        The face; None where no mesh was found.
    """
    mesh, irises = read_label(label)
    return shrink_face(read_image(path), mesh[0], irises[0], np.inf) if np.isfinite(mesh).all() else None


def read_video_faces(path: Path, label: Path, count: int) -> list[Face]:
    """Read faces of a video, spread evenly over the frames with a mesh.

    Args:
        path: The video.
        label: Its label file.
        count: Largest number of faces.

    Returns:
        Up to `count` faces.
    """
    meshes, irises = read_label(label)
    known = np.flatnonzero(np.isfinite(meshes).all((1, 2)))
    wanted = set(known[:: max(1, len(known) // count)][:count].tolist())
    frames = enumerate(read_video(path))
    return [
        shrink_face(frame, meshes[index], irises[index], VIDEO_SURROUNDINGS)
        for index, frame in frames
        if index in wanted
    ]


def read_label(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read landmarks (T 68 2) and centers of irises (T 2 2) in pixels, NaN where they are unknown."""
    tensors = load_file(path)
    points = tensors["landmarks"][:, MEDIAPIPE_TO_IBUG, :2]
    return points, tensors.get("irises", np.full((len(points), 2, 2), np.nan, np.float32))


def shrink_face(image: np.ndarray, landmarks: np.ndarray, irises: np.ndarray, surroundings: float) -> Face:
    """Cut a face out with its surroundings and shrink it to what training needs.

    Args:
        image: (H W 3) uint8.
        landmarks: (68 2) pixels.
        irises: (2 2) pixels.
        surroundings: Side of what is cut out, in sides of the region; infinity: everything.

    Returns:
        The cut-out face with its landmarks and irises in pixels of the cut-out.
    """
    region, size = region_of_landmarks(landmarks), image.shape[1::-1]
    reach = surroundings / 2 * region.side
    low = np.clip(np.array(region.center) - reach, 0, size).astype(int)
    high = np.clip(np.array(region.center) + reach, 0, size).astype(int)
    scale = min(1.0, MAX_SIDE_PIXELS / region.side)
    part = image[low[1] : high[1], low[0] : high[0]]
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Face(part, (landmarks - low) * scale, (irises - low) * scale)
