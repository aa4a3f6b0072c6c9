"""Augment speech and draw occlusions over faces.

Voices made different, so that a small ear learns speech and not its few speakers.

Things in front of a part of a face, drawn: fingers, a hand, a microphone, a bar, a piece of something.

Images are (S S 3) uint8 RGB, masks (S S) float32 in 0..1; all chance comes from the rng.
"""

import cv2
import numpy as np
import soxr

from emo.core.timing import SAMPLE_RATE
from emo.data.styles import background


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


FINE = 2  # times the image's resolution at which outlines are drawn


def cover(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Something over the image, more often than not over its middle; and the mask of what it hides."""
    size = len(image)
    reach = 0.12 if rng.random() < 0.7 else 0.4
    center = size * (0.5 + rng.uniform(-reach, reach, 2))
    shape, colours = COVERS[rng.integers(len(COVERS))](image, center, rng)
    mask = cv2.resize(shape, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shadow = cv2.GaussianBlur(mask, (0, 0), size * rng.uniform(0.02, 0.08)) * np.float32(rng.uniform(0, 0.5))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.0))[..., None]
    behind = image * (1 - shadow[..., None])
    return np.clip(behind * (1 - soft) + colours * soft, 0, 255).astype(np.uint8), mask


def skin(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) a tone like that of the image's rim, or another."""
    rim = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3)])
    tone = np.median(rim, 0) if rng.random() < 0.8 else np.array([225, 180, 150]) * rng.uniform(0.25, 1.05)
    return tone * rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)


def rounded(shape: np.ndarray, tone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S S 3) float32: a shape (FINE * S a side) of this colour, darker to its edges and from one side, with grain."""
    size = len(shape) // FINE
    height = cv2.resize(cv2.distanceTransform(shape, cv2.DIST_L2, 3), (size, size), interpolation=cv2.INTER_AREA)
    bulge = np.sqrt(np.clip(height / max(1e-3, height.max() * rng.uniform(0.4, 1.0)), 0, 1))
    way = rng.normal(0, 1, 2)
    slope = np.linspace(-1, 1, size) * way[0] + np.linspace(-1, 1, size)[:, None] * way[1]
    light = 1 - rng.uniform(0.15, 0.5) * (1 - bulge) + 0.08 * slope
    grain = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 0.8) * rng.uniform(0, 0.12)
    return np.float32(tone * (light + grain)[..., None])


def _blank(image):
    return np.zeros((FINE * len(image),) * 2, np.uint8)


def _line(shape, start, end, width):
    start, end = (tuple(np.int32(np.round(np.array(p) * FINE)).tolist()) for p in (start, end))
    cv2.line(shape, start, end, 255, max(1, round(width * FINE)), cv2.LINE_8)


def _finger_lines(shape, tip, away, count, width, rng):
    """`count` fingers side by side: their ends about `tip`, they come from the direction `away` (radians)."""
    way = np.array([np.cos(away), np.sin(away)])
    beside = np.array([-way[1], way[0]])
    for k in range(count):
        end = tip + beside * width * 1.08 * (k - (count - 1) / 2) + way * width * rng.uniform(-0.6, 0.6)
        _line(shape, end, end + way * len(shape), width * rng.uniform(0.85, 1.0))


def _fingers(image, center, rng):
    shape, width, count = _blank(image), len(image) * rng.uniform(0.10, 0.20), int(rng.integers(1, 5))
    away = rng.uniform(0, 2 * np.pi)
    tip = center - np.array([np.cos(away), np.sin(away)]) * width * rng.uniform(0, 2)
    tone, colours, total = skin(image, rng), np.zeros(image.shape, np.float32), _blank(image)
    beside = np.array([-np.sin(away), np.cos(away)])
    for k in range(count):
        shape[:] = 0
        _finger_lines(shape, tip + beside * width * 1.05 * (k - (count - 1) / 2), away, 1, width, rng)
        here = cv2.resize(shape, image.shape[1::-1], interpolation=cv2.INTER_AREA)[..., None] > 127
        colours, total = np.where(here, rounded(shape, tone, rng), colours), np.maximum(total, shape)
    return total, np.where(colours > 0, colours, np.float32(tone * 0.6))


def _hand(image, center, rng):
    size, shape, away = len(image), _blank(image), rng.uniform(0, 2 * np.pi)
    reach = (FINE * size * rng.uniform([0.25, 0.2], [0.5, 0.4])).astype(int).tolist()
    cv2.ellipse(shape, (FINE * center).astype(int).tolist(), reach, np.degrees(away), 0, 360, 255, -1)
    _line(shape, center, center + 2 * size * np.array([np.cos(away), np.sin(away)]), size * rng.uniform(0.3, 0.5))
    if rng.random() < 0.6:
        _finger_lines(shape, center, away + np.pi + rng.normal(0, 0.5), int(rng.integers(1, 5)), 0.14 * size, rng)
    return shape, rounded(shape, skin(image, rng), rng)


def _microphone(image, center, rng):
    size, shape, reach = len(image), _blank(image), len(image) * rng.uniform(0.12, 0.4)
    cv2.circle(shape, (FINE * center).astype(int).tolist(), int(FINE * reach), 255, -1)
    away = rng.uniform(0, np.pi)  # its stem comes from below
    _line(shape, center, center + 2 * size * np.array([np.cos(away), np.sin(away)]), reach * rng.uniform(0.4, 1.2))
    colours = rounded(shape, rng.uniform(10, 150) * rng.uniform(0.9, 1.1, 3), rng)
    y, x = np.mgrid[:size, :size] * rng.uniform(0.8, 3.0)
    return shape, colours * np.float32(1 + rng.uniform(0, 0.4) * np.sin(x) * np.sin(y))[..., None]


def _bar(image, center, rng):
    size, shape = len(image), _blank(image)
    sides = FINE * size * rng.uniform([0.25, 0.12], [2.0, 0.6])
    box = cv2.boxPoints(((FINE * center).tolist(), sides.tolist(), float(rng.uniform(0, 180))))
    cv2.fillPoly(shape, [box.astype(np.int32)], 255)
    return shape, background(size, rng).astype(np.float32)


def _piece(image, center, rng):
    size, shape, count = len(image), _blank(image), int(rng.integers(4, 9))
    turns = np.sort(rng.uniform(0, 2 * np.pi, count))
    corners = center + size * rng.uniform(0.15, 0.5, (count, 1)) * np.stack([np.cos(turns), np.sin(turns)], -1)
    cv2.fillPoly(shape, [(FINE * corners).astype(np.int32)], 255)
    if rng.random() < 0.5:
        return shape, background(size, rng).astype(np.float32)
    return shape, rounded(shape, skin(image, rng), rng)


COVERS = [_fingers, _fingers, _hand, _microphone, _bar, _piece]
