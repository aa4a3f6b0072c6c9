"""Separate the vocals from music with Demucs (Rouard, Massa and Défossez, "Hybrid Transformers for Music Source
Separation", arXiv 2211.08553).

S samples. A mono sound is separated as a stereo sound of two equal channels.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import soxr
import torch
from safetensors import SafetensorError
from torch import nn

from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE

SeparateVocals = Callable[[np.ndarray, int], np.ndarray]  # wave (S,) float32, its rate in Hz -> its vocals (S,)
WEIGHTS = "955717e8.safetensors from https://huggingface.co/adefossez/HTDemucs"  # 84 MB
FRAME_SAMPLES = round(SAMPLE_RATE / FPS)
# Least power of the vocals in a frame in which somebody sings: of the power of the whole sound, and absolute
MIN_VOCAL_RATIO, MIN_VOCAL_POWER = 0.1, 1e-5


@cache
def load_separator(model: str) -> nn.Module:
    """Load a Demucs, once a process, onto the accelerator if there is one.

    Args:
        model: A .safetensors file, or a name on the Hub ("htdemucs", "OWNER/htdemucs"), which is cached.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: The weights can't be loaded, or the model does not separate vocals.
        ModuleNotFoundError: Demucs is not installed.
    """
    from demucs.hf import get_hf_model, load_safetensors_model

    try:
        net = load_safetensors_model(model) if model.endswith(".safetensors") else get_hf_model(model)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"vocals={model} can't be loaded ({reason}): fetch {WEIGHTS}, give that file") from error
    if "vocals" not in net.sources:
        raise InputError(f"vocals={model} separates {', '.join(net.sources)}, no vocals: give htdemucs")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return net.eval().to(device or "cpu")


def separate_vocals(wave: np.ndarray, sample_rate: int, model: str) -> np.ndarray:
    """Separate the vocals of a wave.

    Args:
        wave: (S,) float32 mono.
        sample_rate: Hz.
        model: As of `load_separator`, whose errors are raised too.

    Returns:
        (S,) float32, the same at every call.
    """
    net = load_separator(model)
    from demucs.apply import apply_model

    sound = torch.from_numpy(soxr.resample(wave, sample_rate, net.samplerate))
    middle, spread = sound.mean(), sound.std() + 1e-8  # as Demucs' own Separator
    mix = ((sound - middle) / spread).expand(1, net.audio_channels, -1)
    stems = apply_model(net, mix, shifts=0, device=next(net.parameters()).device)
    vocals = stems[0, list(net.sources).index("vocals")].mean(0) * spread + middle
    return fit_length(soxr.resample(vocals.numpy(), net.samplerate, sample_rate), len(wave))


def load_vocal_separator(model: str) -> SeparateVocals:
    """Return a function that separates with this model, which is loaded now. Errors: those of `load_separator`."""
    load_separator(model)
    return partial(separate_vocals, model=model)


def fit_length(wave: np.ndarray, count: int) -> np.ndarray:
    """Cut a wave, or append silence.

    Args:
        wave: (S,) samples.
        count: Number of samples of the result.

    Returns:
        (count,) samples.
    """
    return np.pad(wave[:count], (0, max(0, count - len(wave))))


def singing_ratio(vocals: np.ndarray, wave: np.ndarray) -> float:
    """Return the part of the frames in which somebody sings, by the power of the separated vocals.

    Silero VAD takes many singers for instruments even when they sing alone; the separator does not.

    Args:
        vocals: (S,) at SAMPLE_RATE.
        wave: (S,) the sound they were separated from.

    Returns:
        0 to 1.
    """
    count = len(wave) // FRAME_SAMPLES
    sung, sound = (np.square(x[: count * FRAME_SAMPLES]).reshape(count, FRAME_SAMPLES).mean(1) for x in (vocals, wave))
    return float((sung > np.maximum(MIN_VOCAL_RATIO * sound, MIN_VOCAL_POWER)).mean()) if count else 0.0
