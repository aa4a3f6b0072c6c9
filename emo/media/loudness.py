"""How loud a wave is during each frame of a video."""

import numpy as np

RANGE_DB = 35.0  # loudness is clipped so far under its peak


def loudness(wave: np.ndarray, sample_rate: int, num_frames: int, fps: float) -> np.ndarray:
    """wave (S,) -> (T,) dB of each frame's sound, clipped RANGE_DB under the peak."""
    edges = np.round(np.arange(num_frames + 1) * sample_rate / fps).astype(int)
    padded = np.pad(wave, (0, max(0, edges[-1] - len(wave))))
    power = np.array([np.mean(padded[a:b] ** 2) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    level = 10 * np.log10(power + 1e-12)
    return np.maximum(level, level.max() - RANGE_DB)
