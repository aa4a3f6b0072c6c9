"""Audio encoders, samples to features of each video frame, and the projection of features to audio tokens.

Times are the video's: frame f is centered at (f + 0.5) / fps seconds, sample s lies at s / sample_rate. They are
integers or float64, so nothing drifts in ten minutes. Outside the samples there is silence.

Shapes: B waves, S samples, T frames, W layers or steps of the encoder's output, D their width.
"""

from functools import cache
from math import floor, prod
from typing import Any, Self, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.audio_utils import mel_filter_bank

from emo.core.timing import SAMPLE_RATE


def frame_centers(first_frame: int, num_frames: int, fps: float) -> Tensor:
    """Positions of frame centers.

    Args:
        first_frame: Number of the first frame.
        num_frames: T.
        fps: Frames per second.

    Returns:
        (T,) float64, in samples at SAMPLE_RATE.
    """
    frames = torch.arange(first_frame, first_frame + num_frames, dtype=torch.float64)
    return (frames + 0.5) * SAMPLE_RATE / fps


def slice_samples(wave: Tensor, first: int, last: int) -> Tensor:
    """Cut samples first .. last - 1 out of a wave, with zeros beyond its ends.

    Args:
        wave: (B S) samples.
        first: Index of the first sample; may be negative.
        last: Index after the last sample.

    Returns:
        (B last - first) samples.
    """
    segment = wave.new_zeros(len(wave), last - first)
    begin, end = max(first, 0), min(last, wave.shape[1])
    if begin < end:
        segment[:, begin - first : end - first] = wave[:, begin:end]
    return segment


class AudioEncoder(ModelMixin, ConfigMixin):
    """Base class of encoders that turn samples into features of each frame.

    Attributes:
        sample_rate: Hz.
        past_seconds: How far before a frame's center its features reach.
        future_seconds: How far after a frame's center they reach.
        feature_shape: (W, D).
    """

    config: Any
    sample_rate = SAMPLE_RATE
    past_seconds: float
    future_seconds: float
    feature_shape: tuple[int, int]

    def forward(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        """Encode frames first_frame .. first_frame + num_frames - 1.

        Args:
            wave: (B S) in [-1, 1].
            first_frame: Number of the first frame; it may be negative.
            num_frames: T.
            fps: Frames per second.
            start_seconds: Time of the wave's first sample in the video.

        Returns:
            Features (B T W D).
        """
        raise NotImplementedError


N_FFT, WINDOW_SAMPLES, HOP_SAMPLES = 512, 400, 160  # samples
NUM_LIP_POINTS = 20  # of the 68 landmarks, the last
LEVEL_WINDOW_SECONDS = 4.0  # before a frame, in which the loudest moment is found
MIN_LEVEL = 10**-3.5  # mean square, of near-silence


@cache
def mel_filters(n_mels: int) -> Tensor:
    """Triangular filters (257 n_mels) from 50 to 8000 Hz."""
    filters = mel_filter_bank(N_FFT // 2 + 1, n_mels, 50.0, SAMPLE_RATE / 2, SAMPLE_RATE, mel_scale="htk")
    return torch.from_numpy(filters).float()


class ConvBlock(nn.Module):
    """A residual block of two convolutions over time."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, dim), nn.Conv1d(dim, dim, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, dim), nn.Conv1d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features (N C columns)."""
        y = self.conv1(nn.functional.silu(self.norm1(x)))
        return x + self.conv2(nn.functional.silu(self.norm2(y)))


class MelEncoder(AudioEncoder):
    """The mel audio encoder: a patch of log-mel columns, 10 ms apart and around the frame, to a small bounded code.

    The patch is centered on the frame, or ends `future_columns` after it: a live face waits for what it looks ahead.

    The columns are computed for each frame anew, so the patch is exact at any frame rate. They are normalized by the
    loudest moment of the last seconds: the same words louder, or recorded further away, give the same code. The code is
    narrow and lies in [-1, 1], so a voice unlike those of the training still gives a code that the model knows. It is
    trained to predict the lip landmarks by a linear head, which keeps it graded as the mouth is (a deeper head
    saturates nearly all of it).
    """

    @register_to_config
    def __init__(
        self,
        n_mels: int = 64,
        columns: int = 52,
        widths: tuple[int, int] = (128, 192),
        dim: int = 128,
        code_dim: int = 16,
        future_columns: int | None = None,
    ):
        """
        Args:
            n_mels: Mel bands.
            columns: Number of columns of a patch, 10 ms apart.
            widths: Channels of the fine and the coarse convolutions.
            dim: Channels of the last convolution.
            code_dim: D, width of the code.
            future_columns: Columns after the frame's center: N look ahead by N * 10 + 12.5 ms; None: half of them.

        Raises:
            ValueError: When there are not as many columns.
        """
        super().__init__()
        if future_columns is not None and not 0 <= future_columns < columns:
            raise ValueError(f"future_columns={future_columns}: give 0 to {columns - 1}, there are {columns} columns")
        fine, coarse = widths
        self.past_seconds = LEVEL_WINDOW_SECONDS + WINDOW_SAMPLES / SAMPLE_RATE
        self.future_seconds = (self.last_column * HOP_SAMPLES + WINDOW_SAMPLES / 2) / SAMPLE_RATE
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
        self.lips = nn.Linear(code_dim, 2 * NUM_LIP_POINTS)

    @property
    def last_column(self) -> float:
        """Position of the last column after the frame's center, in columns."""
        future = self.config.get("future_columns")
        return (self.config.columns - 1) / 2 if future is None else float(future)

    def peak_level(self, wave: Tensor, centers: Tensor, start: int) -> Tensor:
        """Mean square of the loudest 25 ms from LEVEL_WINDOW_SECONDS before each frame to the end of its patch.

        Args:
            wave: (B S).
            centers: (T,) of the frames, in samples of the video.
            start: Position of the wave's first sample in the video.

        Returns:
            (B T), at least MIN_LEVEL.
        """
        ahead = floor(self.last_column) - WINDOW_SAMPLES // HOP_SAMPLES
        last = (centers / HOP_SAMPLES).floor().long() + ahead  # (T,) blocks of 25 ms, 10 ms apart from time 0
        behind = round(LEVEL_WINDOW_SECONDS * SAMPLE_RATE) // HOP_SAMPLES + ahead
        first = int(last[0]) - behind
        segment = slice_samples(wave, first * HOP_SAMPLES - start, int(last[-1]) * HOP_SAMPLES + WINDOW_SAMPLES - start)
        blocks = segment.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES).square().mean(2)  # (B N)
        loudest = blocks.unfold(1, behind + 1, 1).amax(2)[:, (last - last[0]).to(wave.device)]
        return loudest.clamp(min=MIN_LEVEL)

    def log_mel(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        """Log-mel patches, of the arguments of `forward`.

        Args:
            wave: (B S) samples at SAMPLE_RATE.
            first_frame: Index of the first frame.
            num_frames: Number of frames T.
            fps: Frames per second.
            start_seconds: Time of the first sample of `wave`.

        Returns:
            (B T n_mels columns) float32, 10 ms apart; the last column lies `last_column` after the frame's center.
            Silence is -2, loud vowels reach 3.
        """
        n_mels, columns = self.config.n_mels, self.config.columns
        offsets = torch.arange(1 - columns, 1) * HOP_SAMPLES + int(self.last_column * HOP_SAMPLES)
        centers = frame_centers(first_frame, num_frames, fps)
        positions = centers.round().long()[:, None] + offsets  # (T columns)
        unique, places = positions.unique(return_inverse=True)  # at 25 fps, frames share columns
        first, last = int(unique[0]) - WINDOW_SAMPLES // 2, int(unique[-1]) + WINDOW_SAMPLES // 2
        start = round(start_seconds * SAMPLE_RATE)
        segment = slice_samples(wave.float(), first - start, last - start)
        windows = segment.unfold(1, WINDOW_SAMPLES, 1)[:, (unique - WINDOW_SAMPLES // 2 - first).to(wave.device)]
        hann = torch.hann_window(WINDOW_SAMPLES, device=wave.device)  # its peak is sample WINDOW / 2
        power = torch.fft.rfft(windows * hann, N_FFT).abs().square() / hann.square().sum()
        mel = (power @ mel_filters(n_mels).to(wave.device))[:, places.to(wave.device)]  # (B T columns n_mels)
        mel = (mel / self.peak_level(wave.float(), centers, start)[..., None, None] + 1e-6).log10()
        return ((mel + 3) / 1.5).transpose(2, 3).contiguous()

    def extract_features(self, mel: Tensor) -> Tensor:
        """Compute the features below the code of log-mel patches (N n_mels columns): (N columns/4*dim)."""
        return self.norm(self.net(mel.to(self.dtype)).transpose(1, 2)).flatten(1)

    def embed_features(self, features: Tensor) -> Tensor:
        """Turn the features of `extract_features` into codes (N 1 code_dim) in [-1, 1]."""
        return self.code(features).tanh()[:, None]

    def embed(self, mel: Tensor) -> Tensor:
        """Encode log-mel patches (N n_mels columns) as codes (N 1 code_dim) in [-1, 1]."""
        return self.embed_features(self.extract_features(mel))

    def predict_lips(self, code: Tensor) -> Tensor:
        """Predict the lip landmarks.

        Args:
            code: (N 1 code_dim).

        Returns:
            (N 20 2) relative to their means, in fortieths of the face crop's side.
        """
        return self.lips(code.flatten(1)).unflatten(1, (NUM_LIP_POINTS, 2))

    def forward(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        """Encode frames; see `AudioEncoder.forward`.

        Returns:
            (B T layers D) features of the frames.
        """
        mel = self.log_mel(wave, first_frame, num_frames, fps, start_seconds)
        return self.embed(mel.flatten(0, 1)).unflatten(0, mel.shape[:2])


class Wav2VecEncoder(AudioEncoder):
    """wav2vec 2.0 (arXiv 2006.11477), frozen: the hidden states of all its layers, W = layers + 1.

    Its features lie on a grid (20 ms for the public models) that starts at sample 0 of the video wherever the wave
    starts; a frame gets the two features around its center, interpolated. With `resample_to_frames` the features of the
    convolutions are interpolated and the transformer runs at the frame rate, without the lowest state, W = layers, as
    in Hallo (2406.08801).
    """

    @register_to_config
    def __init__(
        self,
        wav2vec: dict,
        margin_seconds: float = 1.0,
        segment_seconds: float = 20.0,
        resample_to_frames: bool = False,
    ):
        """
        Args:
            wav2vec: a Wav2Vec2Config as a dict.
            margin_seconds: More audio on both sides of a segment.
            segment_seconds: Long audio is encoded in segments of this length.
            resample_to_frames: Whether the transformer runs at the frame rate.

        Raises:
            ValueError: For `resample_to_frames` with `do_stable_layer_norm`, which large models have.
        """
        super().__init__()
        config = Wav2Vec2Config(**wav2vec)
        if resample_to_frames and config.do_stable_layer_norm:
            raise ValueError("resample_to_frames=true: not for wav2vec 2.0 with do_stable_layer_norm")
        self.model = Wav2Vec2Model(config).requires_grad_(False).eval()
        self.past_seconds = self.future_seconds = margin_seconds
        self.segment_seconds = segment_seconds
        self.feature_shape = (config.num_hidden_layers + (not resample_to_frames), config.hidden_size)
        self.stride = prod(config.conv_stride)  # samples from one feature to the next
        reach = [(k - 1) * prod(config.conv_stride[:i]) for i, k in enumerate(config.conv_kernel)]
        self.reach = 1 + sum(reach)  # samples under one feature; the first starts at sample 0

    @classmethod
    def from_wav2vec(cls, name_or_path: str, **options) -> Self:
        """Make an encoder of a model of transformers.

        Args:
            name_or_path: A folder or a Hub id.
            options: Options of the constructor.

        Returns:
            The encoder, with the model's weights.

        Raises:
            ValueError: When a weight is missing.
        """
        loaded = Wav2Vec2Model.from_pretrained(name_or_path, output_loading_info=True)
        model, info = cast(tuple[Wav2Vec2Model, dict[str, Any]], loaded)
        if missing := sorted(set(info["missing_keys"]) - {"masked_spec_embed"}):  # that one is for training
            raise ValueError(
                f"missing weight {missing[0]!r}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            )
        config = model.config.to_dict()
        config.pop("_name_or_path", None)  # a path of this machine
        encoder = cls(config, **options)
        encoder.model.load_state_dict(model.state_dict())
        return encoder

    def train(self, mode: bool = True) -> Self:
        """Keep evaluation mode, as the encoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, wave: Tensor, first_frame: int, num_frames: int, fps: float, start_seconds: float = 0.0
    ) -> Tensor:
        """Encode frames; see `AudioEncoder.forward`.

        Returns:
            (B T layers D) features of the frames.
        """
        start = round(start_seconds * SAMPLE_RATE)
        centers = frame_centers(first_frame, num_frames, fps)
        positions = (centers - (self.reach - 1) / 2) / self.stride  # (T,) in features
        parts = positions.split(max(1, floor(self.segment_seconds * fps)))
        step = SAMPLE_RATE / fps / self.stride
        return torch.cat([self.encode_segment(wave, part, start, step) for part in parts], dim=1)

    def encode_segment(self, wave: Tensor, positions: Tensor, start: int, step: float) -> Tensor:
        """Features of one segment of frames.

        Args:
            wave: (B S).
            positions: (T,) of the frames on the grid, `step` apart.
            start: Position of the wave's first sample in the video.
            step: From one frame to the next, in features.

        Returns:
            (B T W D).
        """
        margin = round(self.past_seconds * SAMPLE_RATE / self.stride)
        first, last = floor(positions[0]) - margin, floor(positions[-1]) + 1 + margin
        begin, end = first * self.stride - start, last * self.stride + self.reach - start
        wave = wave.float()
        given = wave[:, max(begin, 0) : max(end, 0)]
        if given.shape[1]:  # normalized as by Wav2Vec2FeatureExtractor: padding does not count and stays silent
            variance, mean = torch.var_mean(given, dim=1, correction=0, keepdim=True)
            wave = (wave - mean) / (variance + 1e-7).sqrt()
        segment = slice_samples(wave, begin, end).to(self.dtype)
        if not self.config.resample_to_frames:
            states = self.model(segment, output_hidden_states=True).hidden_states
            return interpolate_features(torch.stack(states, dim=2), positions - first)
        more = floor(margin / step)  # frames on each side
        places = positions[0] + step * torch.arange(-more, len(positions) + more)
        fine = self.model.feature_extractor(segment).transpose(1, 2)  # (B last-first+1 D)
        return self.run_transformer(interpolate_features(fine, places - first))[:, more : more + len(positions)]

    def run_transformer(self, features: Tensor) -> Tensor:
        """States of the transformer's layers (B N W D) for convolution features (B N D), one per frame."""
        encoder, states = self.model.encoder, []
        x = self.model.feature_projection(features)[0]
        x = encoder.layer_norm(x + encoder.pos_conv_embed(x))
        for layer in encoder.layers:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x  # transformers 4
            states.append(x)
        return torch.stack(states, dim=2)


def interpolate_features(values: Tensor, places: Tensor) -> Tensor:
    """Interpolate values linearly at fractional places.

    Args:
        values: (B N ...) values.
        places: (T,) places, 0 to N - 1.

    Returns:
        (B T ...) values at the places.
    """
    lower = places.floor()
    share = (places - lower).to(values).view(-1, *[1] * (values.ndim - 2))
    index = lower.long().to(values.device)
    return torch.lerp(values[:, index], values[:, index + 1], share)


class AudioProjection(nn.Module):
    """Projects the audio features of the frames f - m .. f + m to the audio tokens of frame f (EMO, section 3.2)."""

    def __init__(self, feature_shape: tuple[int, int], margin: int, num_tokens: int, token_dim: int, hidden: int = 512):
        """
        Args:
            feature_shape: (W, D) of the audio encoder.
            margin: Frames m on each side of a frame.
            num_tokens: Number of tokens of a frame.
            token_dim: Width of a token.
            hidden: Width of the hidden layers.
        """
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
        """Project features.

        Args:
            features: (B F+2m W D), with m more frames on each side; zeros are the null value.

        Returns:
            Tokens (B F num_tokens token_dim).
        """
        windows = features.flatten(2).unfold(1, 2 * self.margin + 1, 1)  # (B F WD 2m+1)
        tokens = self.mlp(windows.transpose(2, 3).flatten(2))
        return self.norm(tokens.unflatten(2, (self.num_tokens, -1)))


class NoAudioProjection(nn.Module):
    """Takes the place of an AudioProjection in a model without audio attention."""

    def forward(self, features: Tensor) -> None:
        """Return no tokens."""
        return None
