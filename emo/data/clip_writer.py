"""Write prepared clips, see `emo.data.clip` for the format."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from emo.core.files import save_arrays, write_text_atomic
from emo.core.timing import FPS
from emo.data.clip import DERIVED, OPTIONAL, Clip
from emo.media.video_writer import VideoWriter


def save_clip(folder: Path, clip: Clip, frames: Iterable[np.ndarray]) -> None:
    """Write the three files of a clip; the JSON comes last, so a clip without it is unfinished.

    Args:
        folder: Where the clip goes; a clip of its name is replaced.
        clip: Everything but the frames.
        frames: T frames (H W 3) uint8.

    Raises:
        OutputError: A file can't be written.
    """
    write_frames(folder / f"{clip.info.name}.mp4", frames)
    save_clip_data(folder, clip)


def write_frames(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Write the mp4 of a clip.

    Args:
        path: The mp4 file.
        frames: Frames (H W 3) uint8 RGB at FPS.

    Raises:
        OutputError: The file can't be written.
    """
    with VideoWriter(path, FPS, overwrite=True, preset="dataset") as video:
        for frame in frames:
            video.write(frame)


def save_clip_data(folder: Path, clip: Clip) -> None:
    """Write the safetensors file and then the JSON of a clip.

    Args:
        folder: Folder of the clips.
        clip: The clip; its name gives the files' names.

    Raises:
        OutputError: A file can't be written.
    """
    values = vars(clip) | {name: getattr(clip, name) for name in DERIVED}
    written = [name for name in values if name != "info" and (name not in OPTIONAL or len(values[name]))]
    tensors = {name: np.ascontiguousarray(values[name], np.float32) for name in written}
    info = replace(clip.info, face_box=[round(side, 4) for side in clip.face_box])
    save_arrays(folder / f"{clip.info.name}.safetensors", tensors)
    write_text_atomic(folder / f"{clip.info.name}.json", json.dumps(asdict(info), indent=1))
