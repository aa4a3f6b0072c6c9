"""EMO's UNet: SD 1.5's, whose layers also attend to a reference, to the audio and to the frames before.

Shapes: B clips, F frames, M motion frames, H x W latent pixels, C channels, L = H*W tokens of a layer,
A audio tokens of width D, I identity tokens, S reference tokens, E width of a speed token.
"""

from itertools import repeat
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from einops import rearrange
from torch import Tensor, nn

from emo.models.layers import (
    FrameEncoding,
    RegionalTransformer,
    Regions,
    SpatialTransformer,
    TemporalTransformer,
    zeroed,
)


class Feature(NamedTuple):
    """What one layer saw."""

    tokens: Tensor | None  # (BF L C) before spatial attention; None where the layer has none
    map: Tensor  # (BF C H W) before temporal attention


class Widths(NamedTuple):
    """What all layers of a UNet share."""

    emb_dim: int
    heads: int
    groups: int
    audio_dim: int | None
    max_frames: int | None
    speed_dim: int | None
    identity_dim: int | None
    audio_regions: int
    frame_norm: bool
    temporal_groups: int


class Stage(nn.Module):
    """The layers of one resolution, each a ResNet block, spatial and temporal attention, then a resize."""

    def __init__(
        self,
        pairs: list[tuple[int, int]],  # channels into and out of each layer
        attends: int,  # that many layers, the first ones, have spatial attention
        moves: int,  # and that many temporal attention
        widths: Widths,
        resize: str | None = None,
        tokens_only: bool = False,  # the last spatial attention ends at its tokens
        inner: list[int] | None = None,  # channels inside each regional audio attention; None: those of the layer
    ):
        super().__init__()
        emb_dim, heads, groups, audio_dim, max_frames, speed_dim, identity_dim, regions, frame_norm, parts = widths
        dims = [out_dim for _, out_dim in pairs]
        context_dim = audio_dim if identity_dim is None and not regions else identity_dim
        self.resnets = nn.ModuleList(
            ResnetBlock2D(in_channels=i, out_channels=o, temb_channels=emb_dim, groups=groups, eps=1e-5)
            for i, o in pairs
        )
        for resnet in self.resnets:
            zeroed(resnet.conv2)  # as in 2105.05233: a network from scratch learns several times faster
        self.attentions = nn.ModuleList(
            SpatialTransformer(dim, heads, groups, context_dim, tokens_only and i == attends - 1)
            for i, dim in enumerate(dims[:attends])
        )
        self.audio_modules = nn.ModuleList(
            RegionalTransformer(dim, inside, heads, groups, audio_dim, regions)
            for dim, inside in zip(dims[: attends if regions else 0], inner or dims, strict=False)
        )
        self.motion_modules = nn.ModuleList(
            TemporalTransformer(dim, heads, parts, max_frames, speed_dim, frame_norm)
            for dim in dims[: 0 if max_frames is None else moves]
        )
        if resize == "down":
            self.downsamplers = nn.ModuleList([Downsample2D(dims[-1], use_conv=True, name="op")])
        if resize == "up":
            self.upsamplers = nn.ModuleList([Upsample2D(dims[-1], use_conv=True)])

    def layer(
        self,
        i: int,
        x: Tensor,
        emb: Tensor,
        audio: Tensor | None,
        reference: Tensor | None,
        motion: Tensor | None,
        speed: Tensor | None,
        num_frames: int,
        identity: Tensor | None = None,
        masks: Tensor | None = None,
        scales: Tensor | None = None,
    ) -> tuple[Tensor, Feature]:
        """Layer i: x (BF C H W), emb (BF emb_dim), audio (BF A D), identity (BF I D), masks (B K H W), scales (B K),
        the rest as in UNet.forward, for this layer."""
        x, tokens = self.resnets[i](x, emb), None
        if i < len(self.attentions):
            heard = audio if identity is None and not len(self.audio_modules) else identity
            x, tokens = self.attentions[i](x, heard, reference)
        if i < len(self.audio_modules):
            x = self.audio_modules[i](x, audio, masks, scales)
        feature = Feature(tokens, x)
        if i < len(self.motion_modules):
            x = self.motion_modules[i](x, motion, speed, num_frames)
        return x, feature


class UNet(ModelMixin, ConfigMixin):
    """Predicts the noise in a clip. Without audio, time and head it is the ReferenceNet: what its layers see
    counts, and it ends at the tokens of the last one, so that every parameter has a use.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int | None = 4,  # None: no head, for a ReferenceNet
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        audio_dim: int | None = 768,  # width of an audio token; None: no audio attention
        max_frames: int | None = 32,  # motion frames and frames of a clip together; None: no temporal attention
        speed_dim: int | None = None,  # width of a speed token; None: no speed layers
        embedded_tokens: int | None = None,  # audio tokens that also shift every ResNet block; None: none do
        identity_dim: int | None = None,  # width of an identity token, which spatial attention then attends to
        audio_regions: int = 0,  # in which the sound is attended to by layers of their own; 0: in spatial attention
        frame_norm: bool = False,  # temporal layers norm each frame by itself
        temporal_norm_groups: int | None = None,  # of temporal layers; None: norm_num_groups
        sparse_time: bool = False,  # temporal layers only beside spatial attention
    ):
        """Raises ValueError where sound and identity would share a layer."""
        super().__init__()
        if identity_dim is not None and audio_dim is not None and not audio_regions:
            raise ValueError(f"identity_dim={identity_dim}: where there is sound it needs audio_regions")
        dims, depth, last = block_out_channels, layers_per_block, len(block_out_channels) - 1
        emb_dim = 4 * dims[0]
        context = audio_dim, max_frames, speed_dim, identity_dim, audio_regions, frame_norm
        temporal_groups = temporal_norm_groups or norm_num_groups
        widths = Widths(emb_dim, num_attention_heads, norm_num_groups, *context, temporal_groups)
        self.time_proj = Timesteps(dims[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(dims[0], emb_dim)
        if embedded_tokens is not None:  # a fresh one changes nothing
            self.audio_embedding = zeroed(nn.Linear(embedded_tokens * audio_dim, emb_dim))
        self.conv_in = nn.Conv2d(in_channels, dims[0], 3, padding=1)

        width, skips, down, up = dims[0], [dims[0]], [], []
        for i, dim in enumerate(dims):  # the coarsest resolution has no spatial attention
            pairs = [(width if j == 0 else dim, dim) for j in range(depth)]
            attends, inner = depth * (i < last), [in_dim for in_dim, _ in pairs]  # as wide inside as Hallo's
            moves, resize = attends if sparse_time else depth, "down" if i < last else None
            down.append(Stage(pairs, attends, moves, widths, resize, inner=inner))
            skips += [dim] * (depth + (i < last))
            width = dim
        self.down_blocks = nn.ModuleList(down)
        self.mid_block = Stage([(width, width)] * 2, 1, 1, widths)
        for i, dim in reversed(list(enumerate(dims))):
            pairs = [((width if j == 0 else dim) + skips.pop(), dim) for j in range(depth + 1)]
            attends, resize = (depth + 1) * (i < last), "up" if i > 0 else None
            moves, inner = attends if sparse_time else depth + 1, [dims[max(i - 1, 0)]] * (depth + 1)
            up.append(Stage(pairs, attends, moves, widths, resize, out_channels is None and i == 0, inner))
            width = dim
        self.up_blocks = nn.ModuleList(up)

        if out_channels is not None:
            self.conv_norm_out = nn.GroupNorm(norm_num_groups, dims[0], eps=1e-5)
            self.conv_out = zeroed(nn.Conv2d(dims[0], out_channels, 3, padding=1))
        if max_frames is not None and speed_dim is not None:
            self.speed_pos = FrameEncoding(speed_dim, max_frames, persistent=False)
        self.gradient_checkpointing = False

    @property
    def levels(self) -> list[int]:
        """The resolution of each layer, 0 the finest, in the order of their features."""
        depth, all_ = self.config.layers_per_block, range(len(self.config.block_out_channels))
        down, up = ([level for level in all_ for _ in range(count)] for count in (depth, depth + 1))
        return [*down, all_[-1], all_[-1], *reversed(up)]

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor | None = None,
        reference: list[Tensor | None] | None = None,
        motion: list[Tensor | None] | None = None,
        speed: Tensor | None = None,
        located: Tensor | None = None,
        identity: Tensor | None = None,
        regions: Regions | None = None,
    ) -> tuple[Tensor | None, list[Feature]]:
        """sample (B F C H W), timestep () or (B,), audio (B F A D), speed (B F E), located (B C H W) to be
        added after the first convolution, identity (B F I D), and for each layer reference (B S C) and motion
        (B M C H W) -> the prediction (B F C H W) and no features; without a head None and what each layer saw."""
        num_frames, features = sample.shape[1], []
        references = repeat(None) if reference is None else iter(reference)
        motions = repeat(None) if motion is None else iter(motion)
        emb = self.time_embedding(self.time_proj(timestep.expand(len(sample))).to(sample.dtype))
        emb = emb.repeat_interleave(num_frames, dim=0)
        audio = None if audio is None else audio.flatten(0, 1)
        if self.config.embedded_tokens is not None:
            emb = emb + self.audio_embedding(audio.flatten(1))
        speed = None if speed is None else self.speed_pos(speed, first=motion[0].shape[1] if motion else 0)
        identity = None if identity is None else identity.flatten(0, 1)
        last = len(self.down_blocks) - 1

        def run(stage: Stage, i: int, x: Tensor, level: int) -> Tensor:
            region = (None, None) if regions is None else (regions.masks[level], regions.scales[:, level])
            args = (i, x, emb, audio, next(references), next(motions), speed, num_frames, identity, *region)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x, feature = self._gradient_checkpointing_func(stage.layer, *args)
            else:
                x, feature = stage.layer(*args)
            if self.config.out_channels is None:
                features.append(feature)
            return x

        x = self.conv_in(sample.flatten(0, 1))
        if located is not None:
            x = (x.unflatten(0, (-1, num_frames)) + located[:, None]).flatten(0, 1)
        skips = [x]
        for level, stage in enumerate(self.down_blocks):
            for i in range(len(stage.resnets)):
                skips.append(x := run(stage, i, x, level))
            if hasattr(stage, "downsamplers"):
                skips.append(x := stage.downsamplers[0](x))
        for i in range(len(self.mid_block.resnets)):
            x = run(self.mid_block, i, x, last)
        for level, stage in enumerate(self.up_blocks):
            for i in range(len(stage.resnets)):
                x = run(stage, i, torch.cat([x, skips.pop()], dim=1), last - level)
            if hasattr(stage, "upsamplers"):
                x = stage.upsamplers[0](x, output_size=skips[-1].shape[-2:])

        if self.config.out_channels is None:
            return None, features
        x = self.conv_out(nn.functional.silu(self.conv_norm_out(x)))
        return rearrange(x, "(b f) c h w -> b f c h w", f=num_frames), features
