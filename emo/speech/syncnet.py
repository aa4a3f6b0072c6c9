"""SyncNet: measure how far the sound lies from the lips it belongs to, and how surely.

Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016, in the layout of the published weights,
syncnet_v2.model of https://github.com/joonson/syncnet_python. Its confidence is known as Sync-C or LSE-C, its distance
as Sync-D or LSE-D (Prajwal et al., "A lip sync expert is all you need", 2020).

Five frames at 25 per second and the 0.2 s of sound that start with them become a vector each. The frames are crops of
`emo.face.crop.crop_for_syncnet`; the sound is given as MFCC with the defaults of python_speech_features 0.6 (2017). No
other library's are the same: its triangles stand on whole bins of the spectrum, its windows are rectangular, and the
first coefficient is the logarithm of the energy.

T frames, S samples, N windows of 25 ms, 10 ms apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.models.loading import PublishedWeights, load_published_weights

WINDOW, HOP, N_FFT = 400, 160, 512  # samples
BANDS, CEPSTRA, LIFTER = 26, 13, 22  # mel bands, coefficients, parameter of the liftering
PRE_EMPHASIS = 0.97
MIN_ENERGY = np.finfo(float).eps  # in place of 0


def band_filters() -> np.ndarray:
    """Mel filters (257 BANDS): triangles evenly spaced in mel from 0 to 8000 Hz, their corners on whole bins."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), BANDS + 2)
    corners = np.floor((N_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)
    return np.stack([np.interp(bins, corners[k : k + 3], [0, 1, 0]) for k in range(BANDS)], axis=-1)


def make_dct_matrix() -> np.ndarray:
    """Return the orthonormal DCT-II times the lifter, (BANDS CEPSTRA)."""
    k = np.arange(CEPSTRA)
    waves = np.cos(np.pi / BANDS * np.outer(np.arange(BANDS) + 0.5, k))
    return waves * np.sqrt(np.where(k == 0, 1, 2) / BANDS) * (1 + LIFTER / 2 * np.sin(np.pi * k / LIFTER))


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients.

    Args:
        samples: (S,) at 16 kHz, -32768 to 32767; silence follows after the end.

    Returns:
        (N CEPSTRA) float64.
    """
    samples = samples.astype(np.float64)
    samples = np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1])
    samples = np.pad(samples, (0, -(len(samples) - WINDOW) % HOP if len(samples) > WINDOW else WINDOW - len(samples)))
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows, N_FFT)) ** 2 / N_FFT
    bands, energy = power @ band_filters(), power.sum(1)
    cepstra = np.log(np.where(bands == 0, MIN_ENERGY, bands)) @ make_dct_matrix()
    cepstra[:, 0] = np.log(np.where(energy == 0, MIN_ENERGY, energy))
    return cepstra


FRAMES, CEPSTRA_FRAMES = 5, 20  # video frames and MFCC windows of one vector
SAMPLES_PER_FRAME, WINDOWS_PER_FRAME = 640, 4  # at 25 frames per second
REACH_FRAMES = 15  # offsets to either side
BATCH = 20  # frames, or pieces of sound, that are embedded at a time
EMBEDDING_DIM = 1024
PUBLISHED = PublishedWeights("SyncNet", "syncnet_v2.model", "https://github.com/joonson/syncnet_python")


def conv_norm_relu(dim: int, out: int, kernel: tuple[int, ...], **how) -> list[nn.Module]:
    """Return a convolution (2D or 3D, by the kernel), batch norm and ReLU.

    Args:
        dim: Channels of the input.
        out: Channels of the output.
        kernel: Size of the kernel, 2 or 3 sides.
        how: Further arguments of the convolution.

    Returns:
        The three layers.
    """
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if len(kernel) == 2 else (nn.Conv3d, nn.BatchNorm3d)
    convolution: nn.Module = conv(dim, out, kernel, **how)
    normalization: nn.Module = norm(out)
    return [convolution, normalization, nn.ReLU()]


def head() -> nn.Sequential:
    """Return the two last layers of each half."""
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING_DIM))


class SyncNet(nn.Module):
    """The network; its layers have the names and places of syncnet_v2.model."""

    def __init__(self):
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *conv_norm_relu(1, 64, (3, 3), padding=1),
            nn.Identity(),  # the published one pools over a single cell
            *conv_norm_relu(64, 192, (3, 3), padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *conv_norm_relu(192, 384, (3, 3), padding=1),
            *conv_norm_relu(384, 256, (3, 3), padding=1),
            *conv_norm_relu(256, 256, (3, 3), padding=1),
            nn.MaxPool2d(3, 2),
            *conv_norm_relu(256, 512, (5, 4)),
        )
        self.netfcaud, self.netfclip = head(), head()
        self.netcnnlip = nn.Sequential(
            *conv_norm_relu(3, 96, (FRAMES, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *conv_norm_relu(96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *conv_norm_relu(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *conv_norm_relu(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *conv_norm_relu(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *conv_norm_relu(256, 512, (1, 6, 6)),
        )

    def embed_video(self, faces: Tensor) -> Tensor:
        """Embed each five consecutive faces: (B 3 T 224 224) BGR, 0..255 -> (B T-4 EMBEDDING_DIM)."""
        features = self.netcnnlip(faces).flatten(2).transpose(1, 2)  # (B T-4 512)
        return self.netfclip(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def embed_audio(self, cepstra: Tensor) -> Tensor:
        """Embed MFCC (B 1 13 20) -> (B EMBEDDING_DIM)."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))


@cache
def load_syncnet(path: Path) -> SyncNet:
    """Load the published weights, once a process.

    Args:
        path: A pickle of torch.save (loaded as weights only), or a .safetensors file.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: The file is missing, of another kind, or has other weights.
    """
    return load_published_weights(SyncNet(), path, PUBLISHED)


@dataclass
class SyncNetScore:
    """How face and sound fit together."""

    offset_frames: int  # positive: the sound comes late; the published code has the other sign
    confidence: float  # LSE-C: the median of the distances at all offsets minus the smallest
    distance: float  # LSE-D: the smallest mean distance


def score_embeddings(faces: Tensor, sounds: Tensor) -> SyncNetScore:
    """Score the embeddings of faces and sound of the same times.

    Beyond the ends there are zeros, as in the published code.

    Args:
        faces: (N EMBEDDING_DIM).
        sounds: (N EMBEDDING_DIM).

    Returns:
        Best offset, its confidence and its distance.
    """
    padded = nn.functional.pad(sounds, (0, 0, REACH_FRAMES, REACH_FRAMES))
    moved = padded.unfold(0, len(faces), 1).transpose(1, 2)  # (2 REACH_FRAMES + 1 N DIM)
    distances = torch.stack([nn.functional.pairwise_distance(faces, other).mean() for other in moved])
    least, place = distances.min(0)
    return SyncNetScore(int(place) - REACH_FRAMES, float(distances.median() - least), float(least))


def embed_audio(net: SyncNet, wave: np.ndarray, count: int) -> Tensor:
    """Embed the sound that starts with each frame.

    Args:
        net: The SyncNet.
        wave: (S,) samples in [-1, 1] at 16 kHz.
        count: Number of frames.

    Returns:
        (count EMBEDDING_DIM).
    """
    device, samples = next(net.parameters()).device, (wave * 32768).round().clip(-32768, 32767)
    columns = torch.from_numpy(mfcc(samples)).float().T[None].to(device)  # (1 13 N)
    pieces = columns.unfold(2, CEPSTRA_FRAMES, WINDOWS_PER_FRAME)[:, :, :count].movedim(2, 0)  # (count 1 13 20)
    return torch.cat([net.embed_audio(part) for part in pieces.split(BATCH)])


class SyncNetScorer:
    """Compares the faces of a video, given one by one, with its sound."""

    def __init__(self, net: SyncNet):
        self.net = net
        self._faces: list[Tensor] = []  # the last of those that were embedded, then those that wait
        self._waiting = 0
        self._embeddings: list[Tensor] = []

    def add(self, face: np.ndarray) -> None:
        """Add the next crop (224 224 3) uint8 RGB of `emo.face.crop.crop_for_syncnet`, at 25 per second."""
        self._faces.append(torch.from_numpy(face[..., ::-1].copy()))
        self._waiting += 1
        if self._waiting == BATCH:
            self._embed()

    @torch.no_grad()
    def _embed(self) -> None:
        """Embeds each FRAMES consecutive faces that were not yet."""
        self._waiting = 0
        if len(self._faces) >= FRAMES:
            device = next(self.net.parameters()).device
            faces = torch.stack(self._faces).movedim(-1, 0)[None].to(device).float()
            self._embeddings.append(self.net.embed_video(faces)[0].cpu())
            self._faces = self._faces[1 - FRAMES :]

    def embeddings(self) -> Tensor:
        """Return the embeddings (N EMBEDDING_DIM) of each FRAMES consecutive faces."""
        if self._waiting:
            self._embed()
        return torch.cat([torch.zeros(0, EMBEDDING_DIM), *self._embeddings])

    @torch.no_grad()
    def finish(self, wave: np.ndarray) -> SyncNetScore:
        """Return the score with the sound of the same time.

        Args:
            wave: (S,) float mono in [-1, 1] at 16 kHz.

        Returns:
            Confidence (LSE-C), distance (LSE-D) and offset in frames.

        Raises:
            InputError: There are fewer than six frames with sound.
        """
        faces = self.embeddings()
        count = min(len(faces) - 1, len(wave) // SAMPLES_PER_FRAME - FRAMES)  # the published code leaves the last out
        if count < 1:
            raise InputError(f"SyncNet needs {FRAMES + 1} frames and their sound; {max(0, count + FRAMES)} are there")
        return score_embeddings(faces[:count], embed_audio(self.net, wave, count).cpu())


def score_syncnet(net: SyncNet, faces: Iterable[np.ndarray], wave: np.ndarray) -> SyncNetScore:
    """Score face crops against their sound, see `SyncNetScorer`.

    Args:
        net: The SyncNet.
        faces: Crops (224 224 3) uint8 RGB, 25 per second.
        wave: (S,) samples at 16 kHz.

    Returns:
        Best offset, its confidence and its distance.
    """
    scorer = SyncNetScorer(net)
    for face in faces:
        scorer.add(face)
    return scorer.finish(wave)
