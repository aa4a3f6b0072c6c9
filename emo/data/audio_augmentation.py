"""Augment speech: other voices, rooms, microphones and noise, with known timing.

Audio encoders trained on few speakers learn speech, and not these speakers. Waves are (S,) float at SAMPLE_RATE.
"""

import numpy as np
import soxr

from emo.core.timing import SAMPLE_RATE


def color_noise(noise: np.ndarray, slope: float) -> np.ndarray:
    """Give white noise (S,) a spectrum that falls with frequency ** slope, at unit power.

    Args:
        noise: (S,) white noise.
        slope: Exponent of the amplitude spectrum: 0 is white, 0.5 pink, 1 brown.

    Returns:
        (S,) noise of unit power.
    """
    spectrum = np.fft.rfft(noise)
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** -slope
    shaped = np.fft.irfft(spectrum, len(noise))
    return shaped / (shaped.std() + 1e-9)


def equalize(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a random smooth frequency response, +-6 dB at six frequencies.

    Args:
        wave: (S,) samples.
        rng: Source of the random gains.

    Returns:
        (S,).
    """
    spectrum = np.fft.rfft(wave)
    knots = rng.uniform(-6, 6, 6)
    position = np.log2(np.maximum(np.arange(len(spectrum)), 1) / len(spectrum) * 8000 / 100 + 1)
    gain = np.interp(position, np.linspace(0, np.log2(81), 6), knots)
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(wave))


def reverberate(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the reverberation of a room, 0.1 to 0.5 s long and quieter than the direct sound.

    Args:
        wave: (S,) samples at SAMPLE_RATE.
        rng: Source of the random room.

    Returns:
        (S,).
    """
    length = int(rng.uniform(0.1, 0.5) * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= rng.uniform(0.05, 0.4) / np.linalg.norm(tail)
    tail[0] = 1.0
    size = len(wave) + length
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[: len(wave)]


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play a wave faster, which raises its pitch.

    Args:
        wave: (S,) samples at SAMPLE_RATE.
        factor: Ratio of the new speed to the old one.

    Returns:
        (S / factor,) float32 samples.
    """
    return soxr.resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)


def augment_sound(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate another room, another microphone and noise, without a change of timing.

    Args:
        wave: (S,) samples at SAMPLE_RATE.
        rng: Source of the random choices.

    Returns:
        (S,) float32 samples.
    """
    wave = equalize(wave, rng) if rng.random() < 0.7 else wave
    wave = reverberate(wave, rng) if rng.random() < 0.4 else wave
    if rng.random() < 0.6:
        noise = color_noise(rng.standard_normal(len(wave)), rng.uniform(0, 1))
        wave = wave + noise * (wave.std() + 1e-5) * 10 ** (-rng.uniform(5, 50) / 20)
    return wave.astype(np.float32)


def augment_voice(wave: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Turn a voice into another one elsewhere.

    Args:
        wave: (S,).
        rng: The same state gives the same voice.

    Returns:
        The wave (S / speed,) float32, and its speed, 0.82 to 1.22.
    """
    speed = float(np.exp(rng.uniform(-0.2, 0.2)))
    return augment_sound(change_speed(wave, speed), rng), speed
