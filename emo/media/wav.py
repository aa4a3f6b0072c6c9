"""A wave -> a WAV file of 16 bits."""

import wave as riff
from pathlib import Path

import numpy as np


def write_wav(path: str | Path, wave: np.ndarray, sample_rate: int) -> None:
    """wave (S,) int16, or float in [-1, 1]; what lies beyond is cut. sample_rate: Hz."""
    if wave.dtype.kind == "f":
        wave = np.round(wave.clip(-1, 1) * 32767)
    with riff.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(wave.astype("<i2").tobytes())
