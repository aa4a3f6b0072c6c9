"""Convert the arguments of a call (picture, audio) to arrays, and frames to the caller's format."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emo.core.errors import InputError
from emo.core.timing import count_frames
from emo.media.audio import AudioBuffer, probe_audio, stream_audio
from emo.media.image import read_image

ImageInput = Image.Image | np.ndarray | str | Path
AudioInput = np.ndarray | Tensor | Iterable[np.ndarray] | str | Path
OutputType = Literal["np", "pil", "pt", "latent"]


def check_options(
    fps: float, size: int, output_type: str, tensor_inputs: Sequence[str], known_inputs: Sequence[str]
) -> None:
    """Check the options of a pipeline's call.

    Args:
        fps: Frames per second.
        size: Pixels along a side of the animated square.
        output_type: np, pil, pt or latent.
        tensor_inputs: Names of the tensors that a callback asks for.
        known_inputs: Names of the tensors that there are.

    Raises:
        InputError: For an option that is out of range or unknown.
    """
    if fps <= 0:
        raise InputError(f"fps={fps}: give more than 0")
    if size < 64 or size % 64:
        raise InputError(f"size={size}: give a positive multiple of 64")
    if output_type not in ("np", "pil", "pt", "latent"):
        raise InputError(f"output_type={output_type!r}: give np, pil, pt or latent")
    if unknown := [name for name in tensor_inputs if name not in known_inputs]:
        known = f"only {', '.join(known_inputs)} is known"
        raise InputError(f"callback_on_step_end_tensor_inputs: {unknown[0]!r}, {known}")


def read_pixels(image: ImageInput) -> np.ndarray:
    """Read the picture.

    Args:
        image: A PIL image, an array (H W 3) uint8, or the path of a file.

    Returns:
        (H W 3) uint8 RGB.

    Raises:
        InputError: For another array, or a file that can't be read.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"image has shape {pixels.shape} and type {pixels.dtype}: give (H, W, 3) uint8, or a PIL image"
        )
    return pixels


def open_audio(audio: AudioInput, sample_rate: int) -> AudioBuffer:
    """Open the audio as a buffer that is read as it is needed.

    Args:
        audio: (S,) samples in [-1, 1] at `sample_rate`, chunks of such samples, or the path of a file.
        sample_rate: Hz.

    Returns:
        The buffer.

    Raises:
        InputError: For samples of another shape, or a file that can't be read.
    """
    if isinstance(audio, str | Path):
        chunks = stream_audio(audio, sample_rate)
    elif isinstance(audio, np.ndarray | Tensor):
        samples = np.asarray(audio, np.float32)
        if samples.ndim != 1:
            raise InputError(f"audio has shape {samples.shape}: give mono samples (S,) at {sample_rate} Hz")
        chunks = iter([samples])
    else:
        chunks = iter(audio)
    return AudioBuffer(chunks, sample_rate, np.zeros(0, np.float32))


def count_output_frames(audio: AudioInput, sample_rate: int, fps: float) -> int | None:
    """Return the number of frames of the video.

    Args:
        audio: See `open_audio`.
        sample_rate: Hz.
        fps: Frames per second.

    Returns:
        Number of frames; None where the audio comes in chunks and its length is unknown.
    """
    if isinstance(audio, str | Path):
        return count_frames(probe_audio(audio).seconds, fps)
    return count_frames(len(audio) / sample_rate, fps) if isinstance(audio, np.ndarray | Tensor) else None


def convert_frame(frame: np.ndarray, output_type: OutputType) -> np.ndarray | Image.Image | Tensor:
    """Convert a frame (H W 3) uint8 to the caller's type.

    Args:
        frame: (H W 3) uint8.
        output_type: np: as it is; pil: a PIL image; pt: a tensor (3 H W) float32 in [0, 1].

    Returns:
        The frame.
    """
    if output_type == "pil":
        return Image.fromarray(frame)
    if output_type == "pt":
        return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255
    return frame


def collate_frames(frames: Iterator | list, output_type: OutputType) -> np.ndarray | Tensor | list[Image.Image]:
    """Join frames of one output type to a video.

    Args:
        frames: The frames.
        output_type: Their type: np, pil, pt or latent.

    Returns:
        (T H W 3) uint8, (T 3 H W) or (T C h w) tensors, or a list of PIL images.
    """
    frames = list(frames)
    if output_type == "pil":
        return frames
    return np.stack(frames) if output_type == "np" else torch.stack(frames)
