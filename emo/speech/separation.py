"""The voice of a sound apart from its music, by Demucs (Rouard, Massa and Défossez, "Hybrid Transformers for Music
Source Separation", arXiv 2211.08553).

S samples. A mono sound is separated as a stereo one whose sides are the same.
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

Separate = Callable[[np.ndarray, int], np.ndarray]  # wave (S,) float32 and its rate in Hz -> its vocals (S,)
WEIGHTS = "955717e8.safetensors from https://huggingface.co/adefossez/HTDemucs"  # 84 MB
FRAME = round(SAMPLE_RATE / FPS)
SUNG, AUDIBLE = 0.1, 1e-5  # of the power of a frame's sound, and power, that vocals have at least where somebody sings


@cache
def load_separator(model: str) -> nn.Module:
    """A Demucs, loaded once a process, on the accelerator this process sees if there is one.

    model: a .safetensors file, or a name on the Hub ("htdemucs", "OWNER/htdemucs"), then kept in the Hub's cache.
    Raises InputError for weights that can't be had or separate no vocals, ModuleNotFoundError without demucs.
    """
    from demucs.hf import get_hf_model, load_safetensors_model

    try:
        net = load_safetensors_model(model) if model.endswith(".safetensors") else get_hf_model(model)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"--vocals {model} can't be loaded ({reason}): fetch {WEIGHTS}, give that file") from error
    if "vocals" not in net.sources:
        raise InputError(f"--vocals {model} separates {', '.join(net.sources)}, no vocals: give htdemucs")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return net.eval().to(device or "cpu")


def separate(wave: np.ndarray, sample_rate: int, model: str) -> np.ndarray:
    """wave (S,) float32 -> its vocals (S,), the same at every call. model, errors: as of `load_separator`."""
    net = load_separator(model)
    from demucs.apply import apply_model

    sound = torch.from_numpy(soxr.resample(wave, sample_rate, net.samplerate))
    middle, spread = sound.mean(), sound.std() + 1e-8  # as Demucs' own Separator
    mix = ((sound - middle) / spread).expand(1, net.audio_channels, -1)
    stems = apply_model(net, mix, shifts=0, device=next(net.parameters()).device)
    vocals = stems[0, net.sources.index("vocals")].mean(0) * spread + middle
    return fitted(soxr.resample(vocals.numpy(), net.samplerate, sample_rate), len(wave))


def separator(model: str) -> Separate:
    """What separates by `model`, once that is known to load. Errors: as of `load_separator`."""
    load_separator(model)
    return partial(separate, model=model)


def fitted(wave: np.ndarray, count: int) -> np.ndarray:
    """The wave cut, or followed by silence, to (count,)."""
    return np.pad(wave[:count], (0, max(0, count - len(wave))))


def sung_share(vocals: np.ndarray, wave: np.ndarray) -> float:
    """vocals and wave (S,), both at SAMPLE_RATE -> the share of the frames in which the vocals hold a tenth of the
    power. Silero takes many a singer for an instrument even without one; the separator has told them apart."""
    count = len(wave) // FRAME
    sung, sound = (np.square(x[: count * FRAME]).reshape(count, FRAME).mean(1) for x in (vocals, wave))
    return float((sung > np.maximum(SUNG * sound, AUDIBLE)).mean()) if count else 0.0
