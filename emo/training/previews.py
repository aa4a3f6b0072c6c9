"""What a run shows of itself: portraits made to talk, and clips made again beside the truth, with their sound."""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from emo.core.config import SamplesConfig
from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.selection import Located, locate
from emo.media.audio import read_audio, write_wav
from emo.media.image import read_image
from emo.media.video_writer import VideoWriter
from emo.pipelines.emo import EMOPipeline, count_frames


@dataclass
class Scene:
    """A portrait and what it is to say. Shapes: S samples, H W pixels."""

    name: str
    portrait: np.ndarray  # (H W 3) uint8
    face: Located | str
    wave: np.ndarray  # (S,) float32 at SAMPLE_RATE


def read_scenes(settings: SamplesConfig) -> list[Scene]:
    """Each portrait with each voice. Raises InputError for a file that can't be read, a portrait without a face, a
    voice of no frame, and for two videos of one name."""
    if bool(settings.portraits) != bool(settings.voices):
        raise InputError("samples: give samples.portraits and samples.voices, or neither")
    portraits = {path: read_portrait(path) for path in settings.portraits}
    waves = {path: read_voice(path, settings.seconds) for path in settings.voices}
    pairs = {pair: "_".join(Path(path).stem for path in pair) for pair in product(portraits, waves)}
    name, twice = Counter(pairs.values()).most_common(1)[0] if pairs else ("", 0)
    if twice > 1:
        raise InputError(f"samples: {twice} videos would be named {name}: give the files different names")
    return [Scene(name, *portraits[p], waves[v]) for (p, v), name in pairs.items()]


def read_portrait(path: str) -> tuple[np.ndarray, Located]:
    image = read_image(path)
    try:
        return image, locate(image, None)
    except InputError as error:
        raise InputError(f"samples.portraits: no face is found in {path}: give another picture") from error


def read_voice(path: str, seconds: float) -> np.ndarray:
    wave = read_audio(path, SAMPLE_RATE, 0.0, seconds)
    if count_frames(len(wave) / SAMPLE_RATE, FPS) == 0:
        raise InputError(f"samples.voices: {path} is shorter than half a frame: give another sound, or more of it")
    return wave


def film(pipeline: EMOPipeline, scene: Scene, path: Path, truth: list[np.ndarray] | None = None) -> None:
    """Writes the mp4 `path`: the animated square; with the true frames (H W 3) uint8 the portrait, what is made and the
    truth, side by side. The same weights make the same video. Raises OutputError."""
    generator = torch.Generator().manual_seed(0)
    made = pipeline.stream(
        scene.portrait, scene.wave, fps=FPS, face=scene.face, crop_only=truth is None, generator=generator
    )
    with TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        write_wav(sound, scene.wave, SAMPLE_RATE)
        with VideoWriter(path, FPS, sound, overwrite=True) as video:
            for i, frame in enumerate(made):
                video.write(frame if truth is None else np.concatenate([scene.portrait, frame, truth[i]], axis=1))
