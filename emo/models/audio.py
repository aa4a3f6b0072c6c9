"""What a frame hears: features of the sound, laid on the video's frames by time, then audio tokens.

Time is the video's: frame f is centred at (f + 0.5) / fps seconds, sample s lies at s / sample_rate; all in
integers or float64, so nothing drifts in ten minutes. Outside the wave there is silence.
Shapes: B waves, S samples, T frames, W layers or steps of the encoder's output, D their width.
"""

from functools import cache
from math import floor, prod
from typing import Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.audio_utils import mel_filter_bank

from emo.core.timing import SAMPLE_RATE


def frame_centers(first_frame: int, num_frames: int, fps: float) -> Tensor:
    """(T,) float64: the samples, at SAMPLE_RATE, at which the frames are centred."""
    frames = torch.arange(first_frame, first_frame + num_frames, dtype=torch.float64)
    return (frames + 0.5) * SAMPLE_RATE / fps


def cut(wave: Tensor, first: int, last: int) -> Tensor:
    """Samples first..last-1 of wave (B S), silence where it has none."""
    segment = wave.new_zeros(len(wave), last - first)
    begin, end = max(first, 0), min(last, wave.shape[1])
    if begin < end:
        segment[:, begin - first : end - first] = wave[:, begin:end]
    return segment


class AudioEncoder(ModelMixin, ConfigMixin):
    """Wave -> features per frame. `feature_shape` is (W, D); a frame hears from `past_seconds` before its centre
    to `future_seconds` after it."""

    sample_rate = SAMPLE_RATE
    past_seconds: float
    future_seconds: float
    feature_shape: tuple[int, int]

    def forward(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        """wave (B S), whose first sample lies at `start_seconds` of the video, -> (B T W D), the features of
        frames first_frame .. first_frame + num_frames - 1."""
        raise NotImplementedError


N_FFT, WINDOW, HOP = 512, 400, 160  # samples
LIP_POINTS = 20  # of the 68 iBUG points, the last
LEVEL_SECONDS = 4.0  # how far back the loudest moment is looked for
LEAST_LEVEL = 10**-3.5  # mean square


@cache
def mel_filters(n_mels: int) -> Tensor:
    """(257 n_mels) triangles from 50 to 8000 Hz."""
    filters = mel_filter_bank(N_FFT // 2 + 1, n_mels, 50.0, SAMPLE_RATE / 2, SAMPLE_RATE, mel_scale="htk")
    return torch.from_numpy(filters).float()


class ConvBlock(nn.Module):
    """Two convolutions over time beside the identity."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, dim), nn.Conv1d(dim, dim, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, dim), nn.Conv1d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(nn.functional.silu(self.norm1(x)))
        return x + self.conv2(nn.functional.silu(self.norm2(y)))


class MelEncoder(AudioEncoder):
    """The small ear: a patch of log-mel columns, 10 ms apart and centred on the frame, to a small bounded code.

    The columns are cut for each frame anew, so the patch is exact at any frame rate. They are measured against the
    loudest moment of the last seconds: the same words said louder, or recorded further away, are the same code.
    The code is narrow and lies in -1..1, so a voice unlike the training's still gives a code the picture knows. It is
    learnt by reading the lips' points from it, with a linear head, so that it is graded as the mouth is: a deeper head
    leaves nearly all of it at -1 or 1.
    """

    @register_to_config
    def __init__(
        self,
        n_mels: int = 64,
        columns: int = 52,
        widths: tuple[int, int] = (128, 192),
        dim: int = 128,
        code_dim: int = 16,
    ):
        super().__init__()
        fine, coarse = widths
        self.past_seconds = LEVEL_SECONDS + WINDOW / SAMPLE_RATE
        self.future_seconds = ((columns - 1) / 2 * HOP + WINDOW / 2) / SAMPLE_RATE
        self.feature_shape = (1, code_dim)
        self.net = nn.Sequential(
            nn.Conv1d(n_mels, fine, 3, padding=1),
            ConvBlock(fine),
            nn.Conv1d(fine, coarse, 4, stride=2, padding=1),
            ConvBlock(coarse),
            nn.Conv1d(coarse, coarse, 4, stride=2, padding=1),
            ConvBlock(coarse),
            nn.Conv1d(coarse, dim, 1),
        )
        self.norm = nn.LayerNorm(dim)
        self.code = nn.Linear(columns // 4 * dim, code_dim)
        self.lips = nn.Linear(code_dim, 2 * LIP_POINTS)

    def level(self, wave: Tensor, centers: Tensor, start: int) -> Tensor:
        """(B T) the mean square of the loudest 25 ms from LEVEL_SECONDS before each centre to the patch's end;
        wave (B S) starts at sample `start`. Of a near-silent sound it is LEAST_LEVEL."""
        ahead = (self.config.columns - 1) // 2 - WINDOW // HOP
        last = (centers / HOP).floor().long() + ahead  # (T,) blocks of 25 ms, 10 ms apart from time 0
        behind = round(LEVEL_SECONDS * SAMPLE_RATE) // HOP + ahead
        first = int(last[0]) - behind
        segment = cut(wave, first * HOP - start, int(last[-1]) * HOP + WINDOW - start)
        blocks = segment.unfold(1, WINDOW, HOP).square().mean(2)  # (B N)
        loudest = blocks.unfold(1, behind + 1, 1).amax(2)[:, (last - last[0]).to(wave.device)]
        return loudest.clamp(min=LEAST_LEVEL)

    def log_mel(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        """Arguments of `forward` -> (B T n_mels columns) float32; column j lies
        (j - (columns - 1) / 2) * 10 ms after the frame's centre. Silence is -2, loud vowels reach 3."""
        n_mels, columns = self.config.n_mels, self.config.columns
        offsets = torch.arange(columns) * HOP - (columns - 1) * HOP // 2
        centers = frame_centers(first_frame, num_frames, fps)
        positions = centers.round().long()[:, None] + offsets  # (T columns)
        unique, places = positions.unique(return_inverse=True)  # at 25 fps, frames share columns
        first, last = int(unique[0]) - WINDOW // 2, int(unique[-1]) + WINDOW // 2
        start = round(start_seconds * SAMPLE_RATE)
        segment = cut(wave.float(), first - start, last - start)
        windows = segment.unfold(1, WINDOW, 1)[:, (unique - WINDOW // 2 - first).to(wave.device)]
        hann = torch.hann_window(WINDOW, device=wave.device)  # its peak is sample WINDOW / 2
        power = torch.fft.rfft(windows * hann, N_FFT).abs().square() / hann.square().sum()
        mel = (power @ mel_filters(n_mels).to(wave.device))[:, places.to(wave.device)]  # (B T columns n_mels)
        mel = (mel / self.level(wave.float(), centers, start)[..., None, None] + 1e-6).log10()
        return ((mel + 3) / 1.5).transpose(2, 3).contiguous()

    def embed(self, mel: Tensor) -> Tensor:
        """(N n_mels columns) -> (N 1 code_dim), in -1..1."""
        seen = self.norm(self.net(mel.to(self.dtype)).transpose(1, 2))
        return self.code(seen.flatten(1)).tanh()[:, None]

    def read_lips(self, code: Tensor) -> Tensor:
        """(N 1 code_dim) -> (N 20 2): the lips' points relative to their means, in fortieths of the crop's side."""
        return self.lips(code.flatten(1)).unflatten(1, (LIP_POINTS, 2))

    def forward(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        mel = self.log_mel(wave, first_frame, num_frames, fps, start_seconds)
        return self.embed(mel.flatten(0, 1)).unflatten(0, mel.shape[:2])


class Wav2VecEncoder(AudioEncoder):
    """wav2vec 2.0 (arXiv 2006.11477), frozen: the hidden states of all its layers, W = layers + 1.

    Its features lie on a grid of their own (20 ms for the public models) that starts at the video's sample 0
    wherever the wave starts; a frame gets the two features around its centre, mixed by time. With `at_frames` the
    convolutions' features are so mixed, the layers above them see frames, and the lowest state is left out, W = layers:
    so Hallo (arXiv 2406.08801) hears.
    """

    @register_to_config
    def __init__(
        self, wav2vec: dict, margin_seconds: float = 1.0, segment_seconds: float = 20.0, at_frames: bool = False
    ):
        """wav2vec: a Wav2Vec2Config as a dict. Long sound is heard in segments of `segment_seconds`, each
        with `margin_seconds` more on both sides. Raises ValueError for `at_frames` with the norms of large models."""
        super().__init__()
        config = Wav2Vec2Config(**wav2vec)
        if at_frames and config.do_stable_layer_norm:
            raise ValueError("at_frames=true: not for wav2vec 2.0 with do_stable_layer_norm")
        self.model = Wav2Vec2Model(config).requires_grad_(False).eval()
        self.past_seconds = self.future_seconds = margin_seconds
        self.segment_seconds = segment_seconds
        self.feature_shape = (config.num_hidden_layers + (not at_frames), config.hidden_size)
        self.stride = prod(config.conv_stride)  # samples from one feature to the next
        reach = [(k - 1) * prod(config.conv_stride[:i]) for i, k in enumerate(config.conv_kernel)]
        self.reach = 1 + sum(reach)  # samples under one feature; the first starts at sample 0

    @classmethod
    def from_wav2vec(cls, name_or_path: str, **options) -> Self:
        """From a model of transformers: a folder or a name on the Hub. Raises ValueError when a weight is missing."""
        model, info = Wav2Vec2Model.from_pretrained(name_or_path, output_loading_info=True)
        if missing := sorted(set(info["missing_keys"]) - {"masked_spec_embed"}):  # that one is for training
            raise ValueError(f"it lacks {missing[0]!r}, {len(missing)} such")
        config = model.config.to_dict()
        config.pop("_name_or_path", None)  # where it lay is nobody's business
        encoder = cls(config, **options)
        encoder.model.load_state_dict(model.state_dict())
        return encoder

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        start = round(start_seconds * SAMPLE_RATE)
        centers = frame_centers(first_frame, num_frames, fps)
        positions = (centers - (self.reach - 1) / 2) / self.stride  # (T,) in features
        parts = positions.split(max(1, floor(self.segment_seconds * fps)))
        step = SAMPLE_RATE / fps / self.stride
        return torch.cat([self.lay(wave, part, start, step) for part in parts], dim=1)

    def lay(self, wave: Tensor, positions: Tensor, start: int, step: float) -> Tensor:
        """Features (B T W D) at `positions` (T,) of the grid, `step` apart; the wave starts at sample `start`."""
        margin = round(self.past_seconds * SAMPLE_RATE / self.stride)
        first, last = floor(positions[0]) - margin, floor(positions[-1]) + 1 + margin
        begin, end = first * self.stride - start, last * self.stride + self.reach - start
        wave = wave.float()
        heard = wave[:, max(begin, 0) : max(end, 0)]
        if heard.shape[1]:  # as Wav2Vec2FeatureExtractor: what was padded takes no part and stays silent
            variance, mean = torch.var_mean(heard, dim=1, correction=0, keepdim=True)
            wave = (wave - mean) / (variance + 1e-7).sqrt()
        segment = cut(wave, begin, end).to(self.dtype)
        if not self.config.at_frames:
            states = self.model(segment, output_hidden_states=True).hidden_states
            return between(torch.stack(states, dim=2), positions - first)
        more = floor(margin / step)  # frames on each side
        places = positions[0] + step * torch.arange(-more, len(positions) + more)
        fine = self.model.feature_extractor(segment).transpose(1, 2)  # (B last-first+1 D)
        return self.layers_above(between(fine, places - first))[:, more : more + len(positions)]

    def layers_above(self, features: Tensor) -> Tensor:
        """What the convolutions gave, laid on N frames (B N D), -> the states of the layers (B N W D)."""
        encoder, states = self.model.encoder, []
        x = self.model.feature_projection(features)[0]
        x = encoder.layer_norm(x + encoder.pos_conv_embed(x))
        for layer in encoder.layers:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x  # transformers 4
            states.append(x)
        return torch.stack(states, dim=2)


def between(values: Tensor, places: Tensor) -> Tensor:
    """values (B N ...) at fractional `places` (T,) of 0..N-1 -> (B T ...)."""
    lower = places.floor()
    share = (places - lower).to(values).view(-1, *[1] * (values.ndim - 2))
    index = lower.long().to(values.device)
    return torch.lerp(values[:, index], values[:, index + 1], share)


class AudioProjection(nn.Module):
    """The features of the frames around a frame -> its audio tokens (EMO, section 3.2: f - m .. f + m).

    Frames without sound to follow have zero features.
    """

    def __init__(self, feature_shape: tuple[int, int], margin: int, num_tokens: int, token_dim: int, hidden: int = 512):
        super().__init__()
        self.margin, self.num_tokens = margin, num_tokens
        self.mlp = nn.Sequential(
            nn.Linear((2 * margin + 1) * feature_shape[0] * feature_shape[1], hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_tokens * token_dim),
        )
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, features: Tensor) -> Tensor:
        """(B F+2m W D), m frames more on each side -> tokens (B F num_tokens token_dim)."""
        windows = features.flatten(2).unfold(1, 2 * self.margin + 1, 1)  # (B F WD 2m+1)
        tokens = self.mlp(windows.transpose(2, 3).flatten(2))
        return self.norm(tokens.unflatten(2, (self.num_tokens, -1)))


class NoProjection(nn.Module):
    """Of a model without audio attention: there are no tokens."""

    def forward(self, features: Tensor) -> None:
        return None
