"""The cepstra that SyncNet hears: the defaults of python_speech_features 0.6, whose last release is of 2017.

The cepstra that SyncNet hears: the defaults of python_speech_features 0.6, whose last release is of 2017.

No other library's match: its triangles stand on whole bins of the spectrum, its windows are rectangular, and the first
coefficient is the logarithm of the energy. S samples, N windows of 25 ms, 10 ms apart.

SyncNet: how far the sound lies from the lips it belongs to, and how surely (Chung and Zisserman, "Out of time:
automated lip sync in the wild", 2016), in the layout of the published weights, syncnet_v2.model of
https://github.com/joonson/syncnet_python. Its confidence is the field's Sync-C or LSE-C, its distance Sync-D or LSE-D
(Prajwal et al., "A lip sync expert is all you need", 2020).

Five frames at 25 per second and the 0.2 s of sound that start with them become a vector each. What the network sees is
cut by emo.face.crop. T frames, S samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.models.loading import Published, load_published

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


FRAMES, CEPSTRA_FRAMES = 5, 20  # seen and heard at once
SAMPLES_PER_FRAME, COLUMNS_PER_FRAME = 640, 4  # at 16 kHz; columns of the cepstra are 10 ms apart
REACH_FRAMES = 15  # how far the sound is moved to either side
BATCH = 20  # frames, or pieces of sound, at a time
DIM = 1024
PUBLISHED = Published("SyncNet", "syncnet_v2.model", "https://github.com/joonson/syncnet_python")


def convolved(dim: int, out: int, kernel: tuple[int, ...], **how) -> list[nn.Module]:
    """A convolution over a picture, or over pictures in time, its norm and its ReLU."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if len(kernel) == 2 else (nn.Conv3d, nn.BatchNorm3d)
    return [conv(dim, out, kernel, **how), norm(out), nn.ReLU()]


def head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, DIM))


class SyncNet(nn.Module):
    """The layers have the names and places of syncnet_v2.model."""

    def __init__(self):
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *convolved(1, 64, (3, 3), padding=1),
            nn.Identity(),  # the published one pools over a single cell
            *convolved(64, 192, (3, 3), padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *convolved(192, 384, (3, 3), padding=1),
            *convolved(384, 256, (3, 3), padding=1),
            *convolved(256, 256, (3, 3), padding=1),
            nn.MaxPool2d(3, 2),
            *convolved(256, 512, (5, 4)),
        )
        self.netfcaud, self.netfclip = head(), head()
        self.netcnnlip = nn.Sequential(
            *convolved(3, 96, (FRAMES, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *convolved(96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *convolved(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *convolved(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *convolved(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *convolved(256, 512, (1, 6, 6)),
        )

    def see(self, faces: Tensor) -> Tensor:
        """faces (B 3 T 224 224) BGR, 0..255 -> (B T-4 DIM), one of each five frames that follow one another."""
        seen = self.netcnnlip(faces).flatten(2).transpose(1, 2)  # (B T-4 512)
        return self.netfclip(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])

    def hear(self, cepstra: Tensor) -> Tensor:
        """cepstra (B 1 13 20) -> (B DIM)."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))


@cache
def load_syncnet(path: Path) -> SyncNet:
    """A state dict in a pickle of torch.save, of which nothing is run, or in a .safetensors; read once a process.

    Raises InputError for a file that is none, that lacks weights or has others.
    """
    return load_published(SyncNet(), path, PUBLISHED)


@dataclass
class LipSync:
    """What SyncNet says of a face and a sound."""

    offset_frames: int  # positive: the sound comes late; the published code says the same with the other sign
    confidence: float  # LSE-C: the median distance of all offsets less the least
    distance: float  # LSE-D: the least mean distance


def compare(seen: Tensor, heard: Tensor) -> LipSync:
    """seen and heard (N DIM) of the same times. Beyond the ends stand zeros, as in the published code."""
    padded = nn.functional.pad(heard, (0, 0, REACH_FRAMES, REACH_FRAMES))
    moved = padded.unfold(0, len(seen), 1).transpose(1, 2)  # (2 REACH_FRAMES + 1 N DIM)
    distances = torch.stack([nn.functional.pairwise_distance(seen, other).mean() for other in moved])
    least, place = distances.min(0)
    return LipSync(int(place) - REACH_FRAMES, float(distances.median() - least), float(least))


def see_faces(net: SyncNet, faces: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """faces: crops (224 224 3) uint8 RGB of emo.face.crop, at 25 per second -> pieces (N DIM) of T-4 rows."""
    device, kept = next(net.parameters()).device, []
    faces = iter(faces)
    while new := list(islice(faces, BATCH)):
        kept += [torch.from_numpy(face[..., ::-1].copy()) for face in new]
        if len(kept) >= FRAMES:
            yield net.see(torch.stack(kept).movedim(-1, 0)[None].to(device).float())[0]
            kept = kept[1 - FRAMES :]


def hear_wave(net: SyncNet, wave: np.ndarray, count: int) -> Tensor:
    """wave (S,) in -1..1 at 16 kHz -> (count DIM), of the sound that starts with each frame."""
    device, samples = next(net.parameters()).device, (wave * 32768).round().clip(-32768, 32767)
    columns = torch.from_numpy(mfcc(samples)).float().T[None].to(device)  # (1 13 N)
    pieces = columns.unfold(2, CEPSTRA_FRAMES, COLUMNS_PER_FRAME)[:, :, :count].movedim(2, 0)  # (count 1 13 20)
    return torch.cat([net.hear(part) for part in pieces.split(BATCH)])


@torch.no_grad()
def syncnet_sync(net: SyncNet, faces: Iterable[np.ndarray], wave: np.ndarray) -> LipSync:
    """Crops (224 224 3) uint8 RGB of emo.face.crop at 25 per second, and the wave (S,) at 16 kHz of the same time.

    Raises InputError for fewer than six frames.
    """
    seen = torch.cat([torch.zeros(0, DIM), *(piece.cpu() for piece in see_faces(net, faces))])
    count = min(len(seen) - 1, len(wave) // SAMPLES_PER_FRAME - FRAMES)  # the published code leaves the last out
    if count < 1:
        raise InputError(f"SyncNet needs {FRAMES + 1} frames and their sound; {max(0, count + FRAMES)} are there")
    return compare(seen[:count], hear_wave(net, wave, count).cpu())
