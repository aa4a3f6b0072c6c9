"""Ground truth of a synthetic clip: NAME.truth.npz beside the three files that every prepared clip has.

Clips of real footage have no such file. T frames, P phonemes, S samples, E expressions of the face model; positions are
in units of the crop's side, x to the right and y down, the upper left corner of the crop at (0, 0). Motion is relative
to the portrait, a picture of which all frames are a deformation.

    portrait            (N,) uint8: PNG of the portrait (size size 3)
    portrait_landmarks  (68 2) float32: iBUG points of the portrait
    flow                (T 2 64 64) float16: position in the portrait of each cell of a frame, less the cell's own
    unsourced           (T 64 64) uint8: share of the cell, of 255, whose content the portrait does not show
    irises              (T 2 2) float32: centers of the irises, the picture's left one first
    head_radians        (T 3) float32: yaw to the picture's left, pitch up, roll clockwise; relative to the portrait
    gaze_radians        (T 2) float32: yaw to the picture's left and pitch up, in the head; relative to the portrait
    blink               (T 2) float32: closure of the person's left and right eye, 1 closed
    scale               (T,) float32: of the picture, above 1 is nearer than in the portrait
    translation         (T 2) float32: of the head, in sides
    expression          (T E) float16: offsets of the weights of the face model's expressions
    expression_names    (E,) their names
    emotion             (T,) int8: number in `emotion_names`
    emotion_strength    (T,) float16: 0 to 1
    emotion_names       (8,) names
    phonemes            (P,) IPA, "" for a pause
    phoneme_seconds     (P 2) float32: start and end
    phoneme             (T,) int16: number of the phoneme at the center of each frame, -1: none
    clean_voice         (S,) int16: the voice before room, microphone, noise and music
    motion_id           () name of the voice and motion: clips of two people that share it show the same motion
    record              JSON: format, text, language, voice, effort, recording conditions, licenses, crop
"""

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from emo.core.errors import InputError
from emo.core.files import atomic_file
from emo.data.clip import TRUTH_SUFFIX, load_clip
from emo.media.image import resize_image


def save_clip_truth(folder: Path, name: str, arrays: dict[str, np.ndarray], record: dict[str, object]) -> Path:
    """Write FOLDER/NAME.truth.npz, the same bytes for the same arrays.

    Args:
        folder: Folder of the clip.
        name: Name of the clip.
        arrays: By the names above.
        record: Where the clip comes from, as JSON.

    Returns:
        The path of the file.

    Raises:
        OutputError: It can't be written.
    """
    path = folder / f"{name}{TRUTH_SUFFIX}"
    text = np.array(json.dumps(record, ensure_ascii=False, sort_keys=True))
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays, record=text)
    return path


def load_clip_truth(clip: Path) -> dict[str, np.ndarray]:
    """Load the ground truth of a clip.

    Args:
        clip: Path of the clip's JSON.

    Returns:
        The arrays above by name; empty for a clip without ground truth. `portrait_landmarks` is always among them: for
        clips that were written without it, it is estimated from the clip's landmarks.

    Raises:
        InputError: The file is broken.
    """
    path = clip.with_suffix(TRUTH_SUFFIX)
    if not path.exists():
        return {}
    arrays = parse_clip_truth(path.read_bytes(), path)
    if "portrait_landmarks" not in arrays:
        arrays["portrait_landmarks"] = estimate_portrait_landmarks(load_clip(clip).landmarks, arrays)
    return arrays


def parse_clip_truth(data: bytes, name: str | Path) -> dict[str, np.ndarray]:
    """Parse the content of a ground truth file.

    Args:
        data: Content of the .truth.npz file.
        name: Name of the clip, for messages.

    Returns:
        The arrays by name, see this module's docstring.

    Raises:
        InputError: The file is broken.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as packed:
            return {key: packed[key] for key in packed.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name} can't be read ({error}): prepare the clip again") from error


def decode_portrait(truth: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Decode the portrait of a clip's ground truth.

    Args:
        truth: Of `load_clip_truth`.
        size: Side of the clip's frames, pixels.

    Returns:
        (size size 3) uint8.
    """
    image = np.asarray(Image.open(io.BytesIO(truth["portrait"].tobytes())).convert("RGB"))
    return resize_image(image, size)


def estimate_portrait_landmarks(landmarks: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Estimate the portrait's landmarks: those of the frame that is most like it, moved by the flow.

    Args:
        landmarks: (T 68 2) of the frames, in sides of the crop.
        arrays: Ground truth with `flow`, `unsourced` and `blink`.

    Returns:
        (68 2) float32 in sides of the portrait.
    """
    hidden = arrays["unsourced"].astype(np.float32).mean((1, 2)) / 255 + arrays["blink"].mean(1)
    frame = int(np.argmin(hidden))
    flow = np.moveaxis(arrays["flow"][frame].astype(np.float32), 0, -1)
    points = landmarks[frame].astype(np.float32)
    cells = points * flow.shape[0] - np.float32(0.5)
    x, y = cells[None, :, 0].copy(), cells[None, :, 1].copy()
    return points + cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
