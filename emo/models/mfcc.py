"""The cepstra that SyncNet hears: the defaults of python_speech_features 0.6, whose last release is of 2017.

No other library's match: its triangles stand on whole bins of the spectrum, its windows are rectangular, and the first
coefficient is the logarithm of the energy. S samples, N windows of 25 ms, 10 ms apart.
"""

import numpy as np

SAMPLE_RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples
BANDS, CEPSTRA, LIFTER = 26, 13, 22
EMPHASIS = 0.97
LEAST = np.finfo(float).eps  # in place of an energy of 0


def band_filters() -> np.ndarray:
    """(257 BANDS) triangles, evenly spaced in mel from 0 to 8000 Hz, their corners on whole bins."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), BANDS + 2)
    corners = np.floor((N_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)
    return np.stack([np.interp(bins, corners[k : k + 3], [0, 1, 0]) for k in range(BANDS)], axis=-1)


def cosines() -> np.ndarray:
    """(BANDS CEPSTRA) the orthonormal DCT-II times the lifter."""
    k = np.arange(CEPSTRA)
    waves = np.cos(np.pi / BANDS * np.outer(np.arange(BANDS) + 0.5, k))
    return waves * np.sqrt(np.where(k == 0, 1, 2) / BANDS) * (1 + LIFTER / 2 * np.sin(np.pi * k / LIFTER))


def mfcc(samples: np.ndarray) -> np.ndarray:
    """samples (S,) at 16 kHz in the steps of 16 bits, -32768..32767 -> (N CEPSTRA) float64; behind the end is
    silence."""
    samples = samples.astype(np.float64)
    samples = np.append(samples[:1], samples[1:] - EMPHASIS * samples[:-1])
    samples = np.pad(samples, (0, -(len(samples) - WINDOW) % HOP if len(samples) > WINDOW else WINDOW - len(samples)))
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows, N_FFT)) ** 2 / N_FFT
    bands, energy = power @ band_filters(), power.sum(1)
    cepstra = np.log(np.where(bands == 0, LEAST, bands)) @ cosines()
    cepstra[:, 0] = np.log(np.where(energy == 0, LEAST, energy))
    return cepstra
