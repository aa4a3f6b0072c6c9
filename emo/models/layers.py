"""Layers of the UNet. Parameter names follow diffusers, so SD 1.5 and AnimateDiff weights load by name.

Layers of the UNet. Parameter names follow diffusers, so that SD 1.5 and AnimateDiff weights load by name.

Shapes: B clips, F frames, N = B*F, M motion frames, T = M + F, H x W latent pixels, L = H*W tokens,
C channels, A audio tokens of width D, S reference tokens, R references taken in turn, E width of a speed token.

Audio attention region by region, as in Hallo (arXiv 2406.08801, section 3.2): the whole picture, the face and the
lips each attend to the sound with weights of their own.

Shapes: B clips, F frames, N = B*F, H x W latent pixels, L = H*W tokens of a layer, C channels of the layer, I channels
inside, A audio tokens of width D, K regions, P resolutions of the UNet.
"""

import math
from typing import NamedTuple

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_dispatch import dispatch_attention_fn
from einops import rearrange
from torch import Tensor, nn


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with zero weights: a branch that ends in it changes nothing until it has learnt something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Attention(nn.Module):
    """Multi-head attention of x (N L C) over a context (N S D)."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: Tensor, context: Tensor, shared: Tensor | None = None) -> Tensor:
        """shared (B S C): more context, the same for the N / B frames of a clip; projected once per clip. Or (B R S C):
        R of them, which the frames take in turn."""
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        if shared is not None:
            k, v = join(k, self.to_k(shared)), join(v, self.to_v(shared))
        q, k, v = (t.unflatten(-1, (self.heads, -1)) for t in (q, k, v))
        return self.to_out[0](dispatch_attention_fn(q, k, v).flatten(-2))


def join(own: Tensor, shared: Tensor) -> Tensor:
    """own (N L C) and shared (B S C) or (B R S C) -> (N L+S C): a clip's shared tokens behind each frame's own."""
    own = own.unflatten(0, (len(shared), -1))
    if shared.ndim == 3:
        shared = shared[:, None].expand(-1, own.shape[1], -1, -1)
    else:
        shared = shared[:, torch.arange(own.shape[1], device=own.device) % shared.shape[1]]
    return torch.cat([own, shared], dim=2).flatten(0, 1)


class SpatialBlock(nn.Module):
    """The tokens of a frame attend to the frame and the reference, then to a context: the frame's audio, or a face.

    Fresh attention to the context changes nothing: a model which comes to hear starts as the one of stills.
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None, tokens_only: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        if tokens_only:
            return
        self.attn1 = Attention(dim, heads)
        if context_dim is not None:
            self.norm2, self.attn2 = nn.LayerNorm(dim), Attention(dim, heads, context_dim)
            zeroed(self.attn2.to_out)
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x: Tensor, tokens: Tensor, context: Tensor | None, reference: Tensor | None) -> Tensor:
        """x (N L C), its normed tokens (N L C), context (N A D), reference (B S C), (B R S C) -> (N L C)."""
        x = x + self.attn1(tokens, tokens, reference)
        if context is not None:
            x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """SpatialBlock on the feature maps of frames. With `tokens_only` it ends at its tokens: a ReferenceNet's
    last, behind which nothing is used. A fresh one changes nothing (2105.05233's `zero_module`)."""

    def __init__(self, dim: int, heads: int, groups: int, context_dim: int | None, tokens_only: bool = False):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, dim, 1)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(dim, heads, context_dim, tokens_only)])
        self.proj_out = None if tokens_only else zeroed(nn.Conv2d(dim, dim, 1))

    def forward(self, x: Tensor, context: Tensor | None, reference: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (N C H W), context (N A D), reference (B S C), (B R S C) -> (N C H W), and the tokens (N L C) that a
        reference is made of."""
        block, size = self.transformer_blocks[0], x.shape[-2:]
        y = rearrange(self.proj_in(self.norm(x)), "n c h w -> n (h w) c")
        tokens = block.norm1(y)
        if self.proj_out is None:
            return x, tokens
        y = block(y, tokens, context, reference)
        return x + self.proj_out(rearrange(y, "n (h w) c -> n c h w", h=size[0])), tokens


class FrameEncoding(nn.Module):
    """Adds a sinusoidal encoding of the frame's index to (N T C)."""

    def __init__(self, dim: int, max_frames: int, persistent: bool = True):
        super().__init__()
        frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        angle = torch.arange(max_frames)[:, None] * frequency
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[None]
        self.register_buffer("pe", table, persistent=persistent)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """x (N T C), whose frames are number `first` and on."""
        return x + self.pe[:, first : first + x.shape[1]]


class TemporalBlock(nn.Module):
    """A pixel attends over its frames, twice, as in AnimateDiff, then to the speed of the head in each frame.

    A fresh speed layer changes nothing.
    """

    def __init__(self, dim: int, heads: int, max_frames: int, speed_dim: int | None):
        super().__init__()
        self.pos_embed = FrameEncoding(dim, max_frames)
        self.norm1, self.attn1 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.attn2 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)
        if speed_dim is not None:
            self.norm_speed, self.attn_speed = nn.LayerNorm(dim), Attention(dim, heads, speed_dim)
            zeroed(self.attn_speed.to_out)

    def forward(self, x: Tensor, speed: Tensor | None) -> Tensor:
        """x (BL T C), speed (B F E) -> (BL T C)."""
        frames = self.pos_embed(self.norm1(x))
        x = x + self.attn1(frames, frames)
        frames = self.pos_embed(self.norm2(x))
        x = x + self.attn2(frames, frames)
        if speed is not None:
            frames = self.pos_embed(self.norm_speed(x))
            queries = frames.reshape(len(speed), -1, x.shape[-1])  # all pixels of a clip ask the same tokens
            x = x + self.attn_speed(queries, speed).view_as(x)
        return x + self.ff(self.norm3(x))


class TemporalTransformer(nn.Module):
    """TemporalBlock over the motion frames and then the frames of the clip; only the latter return.

    The group norm spans all T frames: motion frames enter its statistics; with `frame_norm` it is each frame's own. A
    fresh one changes nothing, so that a video model starts as the image model it grows from (AnimateDiff, arXiv
    2307.04725, section 4.2).
    """

    def __init__(self, dim: int, heads: int, groups: int, max_frames: int, speed_dim: int | None, frame_norm: bool):
        super().__init__()
        self.frame_norm = frame_norm
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(dim, heads, max_frames, speed_dim)])
        self.proj_out = zeroed(nn.Linear(dim, dim))

    def forward(self, x: Tensor, motion: Tensor | None, speed: Tensor | None, num_frames: int) -> Tensor:
        """x (BF C H W), motion (B M C H W), or anything that expands to it, speed (B F E) -> (BF C H W)."""
        size = x.shape[-2:]
        y = rearrange(x, "(b f) c h w -> b f c h w", f=num_frames)
        y = y if motion is None else torch.cat([motion.expand(-1, -1, *y.shape[2:]), y], dim=1)
        if self.frame_norm:
            y = rearrange(self.norm(y.flatten(0, 1)), "(b t) c h w -> (b h w) t c", t=y.shape[1])
        else:
            y = rearrange(self.norm(rearrange(y, "b t c h w -> b c t h w")), "b c t h w -> (b h w) t c")
        y = self.transformer_blocks[0](self.proj_in(y), speed)
        y = self.proj_out(y[:, -num_frames:])
        return x + rearrange(y, "(b h w) f c -> (b f) c h w", h=size[0], w=size[1])


class Regions(NamedTuple):
    """Where each region lies, and how strongly it follows the sound."""

    masks: list[Tensor]  # for each resolution of the UNet, fine to coarse: (B K H W) in 0..1
    scales: Tensor  # (B P K) at each of the P resolutions


class RegionalBlock(nn.Module):
    """The tokens of a frame attend to the frame, then in every region to its audio. Fresh regions change nothing."""

    def __init__(self, dim: int, heads: int, audio_dim: int, regions: int):
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = nn.ModuleList(Attention(dim, heads, audio_dim) for _ in range(regions))
        self.mix = nn.ModuleList(zeroed(nn.Linear(dim, dim)) for _ in range(regions))
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """x (N L I), audio (N A D), masks (N K L), scales (N K) -> (N L I)."""
        tokens = self.norm1(x)
        x = x + self.attn1(tokens, tokens)
        tokens = self.norm2(x)
        for k, (attend, mix) in enumerate(zip(self.attn2, self.mix, strict=True)):
            x = x + scales[:, k, None, None] * mix(attend(tokens, audio) * masks[:, k, :, None])
        return x + self.ff(self.norm3(x))


class RegionalTransformer(nn.Module):
    """RegionalBlock on the feature maps of frames, I channels wide inside. A fresh one changes nothing."""

    def __init__(self, dim: int, inner_dim: int, heads: int, groups: int, audio_dim: int, regions: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, inner_dim, 1)
        self.transformer_blocks = nn.ModuleList([RegionalBlock(inner_dim, heads, audio_dim, regions)])
        self.proj_out = zeroed(nn.Conv2d(inner_dim, dim, 1))

    def forward(self, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """x (N C H W), audio (N A D), masks (B K H W), scales (B K) -> (N C H W)."""
        frames, height = len(x) // len(masks), x.shape[-2]
        masks, scales = (t.repeat_interleave(frames, dim=0) for t in (masks.flatten(2), scales))
        y = rearrange(self.proj_in(self.norm(x)), "n c h w -> n (h w) c")
        y = self.transformer_blocks[0](y, audio, masks, scales)
        return x + self.proj_out(rearrange(y, "n (h w) c -> n c h w", h=height))
