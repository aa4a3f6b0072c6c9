"""Preview videos of a run: portraits that speak given audio, and training clips beside their ground truth."""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from emo.core.config import SamplesConfig
from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE, count_frames
from emo.face.selection import SelectedFace, select_face
from emo.generation import generate
from emo.media.audio import read_audio
from emo.media.image import read_image
from emo.pipelines.emo import EMOPipeline
from emo.provenance.payload import Payload, hash_model_name
from emo.provenance.watermark import Watermark

PREVIEW_PAYLOAD = Payload(0, hash_model_name("preview"))


@dataclass
class PreviewScene:
    """A portrait and the audio that it speaks."""

    name: str
    portrait: np.ndarray  # (H W 3) uint8
    face: SelectedFace | str  # in the portrait, or "full"
    wave: np.ndarray  # (S,) float32 at SAMPLE_RATE


def load_scenes(settings: SamplesConfig) -> list[PreviewScene]:
    """Read the preview scenes of a run: each image with each audio file.

    Raises:
        InputError: A file can't be read, an image shows no face, an audio file is shorter than a frame, or two videos
            would have the same name.
    """
    if bool(settings.images) != bool(settings.audio):
        raise InputError("samples: give samples.images and samples.audio, or neither")
    portraits = {path: read_portrait(path) for path in settings.images}
    waves = {path: read_scene_audio(path, settings.duration_seconds) for path in settings.audio}
    pairs = {pair: "_".join(Path(path).stem for path in pair) for pair in product(portraits, waves)}
    name, count = Counter(pairs.values()).most_common(1)[0] if pairs else ("", 0)
    if count > 1:
        raise InputError(f"samples: {count} videos would be named {name}: give the files different names")
    return [PreviewScene(name, *portraits[image], waves[audio]) for (image, audio), name in pairs.items()]


def read_portrait(path: str) -> tuple[np.ndarray, SelectedFace]:
    """Read an image (H W 3) uint8 and find the face in it.

    Args:
        path: The image file.

    Returns:
        (H W 3) uint8 RGB, and the face.

    Raises:
        InputError: There is none.
    """
    image = read_image(path)
    try:
        return image, select_face(image, None)
    except InputError as error:
        raise InputError(f"samples.images: no face is found in {path}: give another image") from error


def read_scene_audio(path: str, duration_seconds: float) -> np.ndarray:
    """Read the start of an audio file.

    Args:
        path: Audio or video file.
        duration_seconds: How much of it is read, at most.

    Returns:
        (S,) float32 at SAMPLE_RATE.

    Raises:
        InputError: It is too short for a frame.
    """
    wave = read_audio(path, SAMPLE_RATE, 0.0, duration_seconds)
    if count_frames(len(wave) / SAMPLE_RATE, FPS) == 0:
        raise InputError(f"samples.audio: {path} is shorter than half a frame: give another file, or more of it")
    return wave


def render_preview(
    pipeline: EMOPipeline, scene: PreviewScene, path: Path, truth: list[np.ndarray] | None = None
) -> None:
    """Write the video of a scene; the same weights give the same video.

    Args:
        pipeline: With the weights to show.
        scene: What is generated.
        path: The mp4 file; an existing one is replaced.
        truth: True frames (H W 3) uint8; then portrait, generated and true frame are shown side by side.

    Raises:
        OutputError: The video can't be written.
    """

    def place_side_by_side(index: int, frame: np.ndarray) -> np.ndarray:
        return np.concatenate([scene.portrait, frame, true_frames[index]], axis=1)

    true_frames = truth or []
    generate(
        scene.portrait,
        scene.wave,
        path,
        pipeline=pipeline,
        fps=FPS,
        face=scene.face,
        crop_only=truth is None,
        compose=None if truth is None else place_side_by_side,
        watermark=Watermark(PREVIEW_PAYLOAD),  # not a random one: the same weights give the same video
        overwrite=True,
    )
