"""Attention layers of the UNet: spatial, temporal, and audio attention by region.

Parameter names follow diffusers, so weights of Stable Diffusion 1.5 and AnimateDiff load by name.

Shapes: B clips, F frames, N = B*F, M motion frames, T = M + F, H x W latent pixels, L = H*W tokens of a layer, C
channels of the layer, I channels inside, A audio tokens of width D, S reference tokens, R sets of them (frame f uses
set f % R), E width of a frame token, K regions, P resolutions of the UNet.
"""

import math
from typing import NamedTuple, cast

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from torch import Tensor, nn


def zero_module(layer: nn.Module) -> nn.Module:
    """Set the weights of a layer to zero: a branch that ends in it changes nothing at first (2105.05233)."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Attention(nn.Module):
    """Multi-head attention."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None):
        """
        Args:
            dim: Channels of the queries and of the output.
            heads: Number of heads.
            context_dim: Channels of the context; None: dim.
        """
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: Tensor, context: Tensor, shared: Tensor | None = None) -> Tensor:
        """Attends.

        Args:
            x: Queries (N L C).
            context: (N S D).
            shared: More context for all frames of a clip, projected once per clip: (B S C), or (B R S C), R sets of
                which frame f uses set f % R.

        Returns:
            (N L C).
        """
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        if shared is not None:
            k, v = concat_shared(k, self.to_k(shared)), concat_shared(v, self.to_v(shared))
        q, k, v = (t.unflatten(-1, (self.heads, -1)) for t in (q, k, v))
        return self.to_out[0](dispatch_attention_fn(q, k, v).flatten(-2))


def concat_shared(own: Tensor, shared: Tensor) -> Tensor:
    """Append a clip's shared tokens to those of each of its frames.

    Args:
        own: (N L C).
        shared: (B S C), or (B R S C), R sets of which frame f uses set f % R.

    Returns:
        (N L+S C).
    """
    own = own.unflatten(0, (len(shared), -1))
    if shared.ndim == 3:
        shared = shared[:, None].expand(-1, own.shape[1], -1, -1)
    else:
        shared = shared[:, torch.arange(own.shape[1], device=own.device) % shared.shape[1]]
    return torch.cat([own, shared], dim=2).flatten(0, 1)


class SpatialBlock(nn.Module):
    """The tokens of a frame attend to the frame and the reference, then to a context: audio tokens or identity tokens.

    A new attention to the context changes nothing: a model that gains audio starts as the one for stills.
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None, tokens_only: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        if tokens_only:
            return
        self.attn1 = Attention(dim, heads)
        if context_dim is not None:
            self.norm2, self.attn2 = nn.LayerNorm(dim), Attention(dim, heads, context_dim)
            zero_module(self.attn2.to_out)
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x: Tensor, tokens: Tensor, context: Tensor | None, reference: Tensor | None) -> Tensor:
        """Attends and transforms.

        Args:
            x: (N L C).
            tokens: Normalized x (N L C).
            context: (N A D); None: none.
            reference: (B S C) or (B R S C); None: none.

        Returns:
            (N L C).
        """
        x = x + self.attn1(tokens, tokens, reference)
        if context is not None:
            x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A SpatialBlock on feature maps of frames; a new one changes nothing.

    With `tokens_only` it ends at its tokens, as the last one of a ReferenceNet, behind which nothing is used.
    """

    def __init__(self, dim: int, heads: int, groups: int, context_dim: int | None, tokens_only: bool = False):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, dim, 1)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(dim, heads, context_dim, tokens_only)])
        self.proj_out = None if tokens_only else zero_module(nn.Conv2d(dim, dim, 1))

    def forward(self, x: Tensor, context: Tensor | None, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attends and transforms.

        Args:
            x: (N C H W).
            context: (N A D); None: none.
            reference: (B S C) or (B R S C); None: none.

        Returns:
            The features (N C H W), and the tokens (N L C) that a ReferenceNet gives to the backbone.
        """
        block, size = cast(SpatialBlock, self.transformer_blocks[0]), x.shape[-2:]
        y = rearrange(self.proj_in(self.norm(x)), "n c h w -> n (h w) c")
        tokens = block.norm1(y)
        if self.proj_out is None:
            return x, tokens
        y = block(y, tokens, context, reference)
        return x + self.proj_out(rearrange(y, "n (h w) c -> n c h w", h=size[0])), tokens


class FramePositionEncoding(nn.Module):
    """Adds a sinusoidal encoding of each frame's index."""

    pe: Tensor

    def __init__(self, dim: int, max_frames: int, persistent: bool = True):
        super().__init__()
        frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        angle = torch.arange(max_frames)[:, None] * frequency
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None]
        self.register_buffer("pe", table, persistent=persistent)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Add the encodings of consecutive frames.

        Args:
            x: (N T C).
            first: Number of the first frame.

        Returns:
            (N T C) x with the encodings added.
        """
        return x + self.pe[:, first : first + x.shape[1]]


class TemporalBlock(nn.Module):
    """A pixel attends over its frames, twice, as in AnimateDiff, then to the frame tokens of head speed and controls.

    A new attention to frame tokens changes nothing.
    """

    def __init__(self, dim: int, heads: int, max_frames: int, frame_token_dim: int | None):
        super().__init__()
        self.pos_embed = FramePositionEncoding(dim, max_frames)
        self.norm1, self.attn1 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.attn2 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)
        if frame_token_dim is not None:
            self.norm_speed, self.attn_speed = nn.LayerNorm(dim), Attention(dim, heads, frame_token_dim)
            zero_module(self.attn_speed.to_out)

    def forward(self, x: Tensor, frame_tokens: Tensor | None) -> Tensor:
        """Attends and transforms.

        Args:
            x: (BL T C).
            frame_tokens: Frame tokens (B F E); None: none.

        Returns:
            (BL T C).
        """
        frames = self.pos_embed(self.norm1(x))
        x = x + self.attn1(frames, frames)
        frames = self.pos_embed(self.norm2(x))
        x = x + self.attn2(frames, frames)
        if frame_tokens is not None:
            frames = self.pos_embed(self.norm_speed(x))
            queries = frames.reshape(
                len(frame_tokens), -1, x.shape[-1]
            )  # all pixels of a clip attend to the same tokens
            x = x + self.attn_speed(queries, frame_tokens).view_as(x)
        return x + self.ff(self.norm3(x))


class TemporalTransformer(nn.Module):
    """A TemporalBlock over the motion frames and the frames of the clip, of which only the latter are returned.

    The GroupNorm spans all T frames, so motion frames enter its statistics; with `frame_norm` it normalizes each frame
    by itself. A new one changes nothing: a video model starts as the image model that it grows from (AnimateDiff,
    2307.04725, section 4.2).
    """

    def __init__(
        self, dim: int, heads: int, groups: int, max_frames: int, frame_token_dim: int | None, frame_norm: bool
    ):
        super().__init__()
        self.frame_norm = frame_norm
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(dim, heads, max_frames, frame_token_dim)])
        self.proj_out = zero_module(nn.Linear(dim, dim))

    def forward(self, x: Tensor, motion: Tensor | None, frame_tokens: Tensor | None, num_frames: int) -> Tensor:
        """Attend over time.

        Args:
            x: (BF C H W).
            motion: (B M C H W), or what expands to it; None: no motion frames.
            frame_tokens: Frame tokens (B F E); None: none.
            num_frames: F.

        Returns:
            (BF C H W).
        """
        size = x.shape[-2:]
        y = rearrange(x, "(b f) c h w -> b f c h w", f=num_frames)
        y = y if motion is None else torch.cat([motion.expand(-1, -1, *y.shape[2:]), y], dim=1)
        if self.frame_norm:
            y = rearrange(self.norm(y.flatten(0, 1)), "(b t) c h w -> (b h w) t c", t=y.shape[1])
        else:
            y = rearrange(self.norm(rearrange(y, "b t c h w -> b c t h w")), "b c t h w -> (b h w) t c")
        y = self.transformer_blocks[0](self.proj_in(y), frame_tokens)
        y = self.proj_out(y[:, -num_frames:])
        return x + rearrange(y, "(b h w) f c -> (b f) c h w", h=size[0], w=size[1])


class AudioRegions(NamedTuple):
    """Where each region of a frame is, and how strongly it follows the audio.

    Attributes:
        masks: For each resolution of the UNet, finest first: (B K H W) in [0, 1].
        scales: (B P K), a factor for each resolution and region.
    """

    masks: list[Tensor]
    scales: Tensor


class RegionalBlock(nn.Module):
    """The tokens of a frame attend to the frame, then region by region to its audio (Hallo, 2406.08801, section 3.2).

    New regions change nothing.
    """

    def __init__(self, dim: int, heads: int, audio_dim: int, regions: int):
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = nn.ModuleList(Attention(dim, heads, audio_dim) for _ in range(regions))
        self.mix = nn.ModuleList(zero_module(nn.Linear(dim, dim)) for _ in range(regions))
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """Attends and transforms.

        Args:
            x: (N L I).
            audio: Audio tokens (N A D).
            masks: (N K L) in [0, 1].
            scales: (N K).

        Returns:
            (N L I).
        """
        tokens = self.norm1(x)
        x = x + self.attn1(tokens, tokens)
        tokens = self.norm2(x)
        for k, (attend, mix) in enumerate(zip(self.attn2, self.mix, strict=True)):
            x = x + scales[:, k, None, None] * mix(attend(tokens, audio) * masks[:, k, :, None])
        return x + self.ff(self.norm3(x))


class RegionalTransformer(nn.Module):
    """A RegionalBlock on feature maps of frames, with I channels inside; a new one changes nothing."""

    def __init__(self, dim: int, inner_dim: int, heads: int, groups: int, audio_dim: int, regions: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, inner_dim, 1)
        self.transformer_blocks = nn.ModuleList([RegionalBlock(inner_dim, heads, audio_dim, regions)])
        self.proj_out = zero_module(nn.Conv2d(inner_dim, dim, 1))

    def forward(self, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """Attends to the audio.

        Args:
            x: (N C H W).
            audio: Audio tokens (N A D).
            masks: (B K H W) in [0, 1].
            scales: (B K).

        Returns:
            (N C H W).
        """
        frames, height = len(x) // len(masks), x.shape[-2]
        masks, scales = (t.repeat_interleave(frames, dim=0) for t in (masks.flatten(2), scales))
        y = rearrange(self.proj_in(self.norm(x)), "n c h w -> n (h w) c")
        y = self.transformer_blocks[0](y, audio, masks, scales)
        return x + self.proj_out(rearrange(y, "n (h w) c -> n c h w", h=height))
