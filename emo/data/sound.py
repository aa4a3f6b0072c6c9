"""Voices made different, so that a small ear learns speech and not its few speakers."""

import numpy as np
import soxr

from emo.data.clip import SAMPLE_RATE


def colour(noise: np.ndarray, slope: float) -> np.ndarray:
    """White noise (S,) given a spectrum that falls with frequency ** slope, at unit power."""
    spectrum = np.fft.rfft(noise)
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** -slope
    shaped = np.fft.irfft(spectrum, len(noise))
    return shaped / (shaped.std() + 1e-9)


def equalize(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random smooth frequency response, +-6 dB at six frequencies."""
    spectrum = np.fft.rfft(wave)
    knots = rng.uniform(-6, 6, 6)
    position = np.log2(np.maximum(np.arange(len(spectrum)), 1) / len(spectrum) * 8000 / 100 + 1)
    gain = np.interp(position, np.linspace(0, np.log2(81), 6), knots)
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(wave))


def reverberate(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A room of 0.1 to 0.5 s, quieter than the direct sound."""
    length = int(rng.uniform(0.1, 0.5) * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= rng.uniform(0.05, 0.4) / np.linalg.norm(tail)
    tail[0] = 1.0
    size = len(wave) + length
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[: len(wave)]


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Plays the wave `factor` times faster; its pitch rises with it."""
    return soxr.resample(wave, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)


def augment_sound(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S,) -> (S,) float32: another room, microphone and noise; timing unchanged."""
    wave = equalize(wave, rng) if rng.random() < 0.7 else wave
    wave = reverberate(wave, rng) if rng.random() < 0.4 else wave
    if rng.random() < 0.6:
        noise = colour(rng.standard_normal(len(wave)), rng.uniform(0, 1))
        wave = wave + noise * (wave.std() + 1e-5) * 10 ** (-rng.uniform(5, 50) / 20)
    return wave.astype(np.float32)


def vary(wave: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Another voice elsewhere: the changed wave (S / speed,) and how much faster it is, 0.82 to 1.22."""
    speed = float(np.exp(rng.uniform(-0.2, 0.2)))
    return augment_sound(change_speed(wave, speed), rng), speed
