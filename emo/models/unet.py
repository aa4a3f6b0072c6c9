"""The UNet of Stable Diffusion 1.5, whose layers also attend to a reference, to audio, over time and to frame tokens.

The same class is EMO's backbone and, without audio, time and output layer, its ReferenceNet (EMO, 2402.17485, section
3.2).

Shapes: B clips, F frames, M motion frames, H x W latent pixels, C channels, L = H*W tokens of a layer, A audio tokens
of width D, I identity tokens, S reference tokens, E width of a frame token.
"""

from collections.abc import Iterable
from itertools import repeat
from typing import Any, NamedTuple, cast

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
    AudioRegions,
    FramePositionEncoding,
    RegionalTransformer,
    SpatialTransformer,
    TemporalTransformer,
    zero_module,
)


class LayerFeatures(NamedTuple):
    """Features of one layer of a ReferenceNet.

    Attributes:
        tokens: (BF L C) before spatial attention; None where the layer has none.
        map: (BF C H W) before temporal attention.
    """

    tokens: Tensor | None
    map: Tensor


class LayerSizes(NamedTuple):
    """Sizes that all layers of a UNet share; None: no such attention."""

    emb_dim: int
    heads: int
    groups: int
    audio_dim: int | None
    max_frames: int | None
    frame_token_dim: int | None
    identity_dim: int | None
    audio_regions: int
    frame_norm: bool
    temporal_groups: int


class UNetBlock(nn.Module):
    """The layers of one resolution, each a ResNet block, spatial, regional and temporal attention, then a change of
    resolution."""

    downsamplers: nn.ModuleList
    upsamplers: nn.ModuleList

    def __init__(
        self,
        pairs: list[tuple[int, int]],
        num_attention: int,
        num_temporal: int,
        sizes: LayerSizes,
        resize: str | None = None,
        tokens_only: bool = False,
        inner: list[int] | None = None,
    ):
        """
        Args:
            pairs: Channels into and out of each layer.
            num_attention: How many layers, from the first, have spatial attention.
            num_temporal: How many layers, from the first, have temporal attention.
            sizes: Sizes of all layers.
            resize: "down" or "up" after the layers; None: none.
            tokens_only: Whether the last spatial attention ends at its tokens.
            inner: Channels inside each regional audio attention; None: those of the layer.
        """
        super().__init__()
        (
            emb_dim,
            heads,
            groups,
            audio_dim,
            max_frames,
            frame_token_dim,
            identity_dim,
            regions,
            frame_norm,
            temporal_groups,
        ) = sizes
        dims = [out_dim for _, out_dim in pairs]
        context_dim = audio_dim if identity_dim is None and not regions else identity_dim
        self.resnets = nn.ModuleList(
            ResnetBlock2D(in_channels=i, out_channels=o, temb_channels=emb_dim, groups=groups, eps=1e-5)
            for i, o in pairs
        )
        for resnet in self.resnets:
            zero_module(resnet.conv2)  # as in 2105.05233: a new network trains several times faster
        self.attentions = nn.ModuleList(
            SpatialTransformer(dim, heads, groups, context_dim, tokens_only and i == num_attention - 1)
            for i, dim in enumerate(dims[:num_attention])
        )
        self.audio_modules = nn.ModuleList(
            RegionalTransformer(dim, inside, heads, groups, audio_dim, regions)
            for dim, inside in zip(dims[: num_attention if regions else 0], inner or dims, strict=False)
        )
        self.motion_modules = nn.ModuleList(
            TemporalTransformer(dim, heads, temporal_groups, max_frames, frame_token_dim, frame_norm)
            for dim in dims[: 0 if max_frames is None else num_temporal]
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
        frame_tokens: Tensor | None,
        num_frames: int,
        identity: Tensor | None = None,
        masks: Tensor | None = None,
        scales: Tensor | None = None,
    ) -> tuple[Tensor, LayerFeatures]:
        """Runs one layer.

        Args:
            i: Number of the layer.
            x: (BF C H W).
            emb: Time embedding (BF emb_dim).
            audio: Audio tokens (BF A D).
            reference, motion, frame_tokens: See UNet.forward, of this layer.
            num_frames: F.
            identity: Identity tokens (BF I D).
            masks: Masks of the regions (B K H W).
            scales: Scales of the regions (B K).

        Returns:
            (BF C H W), and the layer's features.
        """
        x, tokens = self.resnets[i](x, emb), None
        if i < len(self.attentions):
            context = audio if identity is None and not len(self.audio_modules) else identity
            x, tokens = self.attentions[i](x, context, reference)
        if i < len(self.audio_modules):
            x = self.audio_modules[i](x, audio, masks, scales)
        features = LayerFeatures(tokens, x)
        if i < len(self.motion_modules):
            x = self.motion_modules[i](x, motion, frame_tokens, num_frames)
        return x, features


class UNet(ModelMixin, ConfigMixin):
    """Predicts what the scheduler needs, for a clip; without an output layer it is a ReferenceNet.

    A ReferenceNet's result are the features of its layers. It ends at the tokens of the last one, so every parameter is
    used.
    """

    config: Any
    _gradient_checkpointing_func: Any
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int | None = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        audio_dim: int | None = 768,
        max_frames: int | None = 32,
        frame_token_dim: int | None = None,
        embedded_tokens: int | None = None,
        identity_dim: int | None = None,
        audio_regions: int = 0,
        frame_norm: bool = False,
        temporal_norm_groups: int | None = None,
        sparse_temporal: bool = False,
        patch_size: int = 1,
        embeds_frames: bool = False,
    ):
        """
        Args:
            in_channels: Number of channels of the latents.
            out_channels: Number of channels of the prediction; None: a ReferenceNet.
            block_out_channels: Channels of each resolution, finest first.
            layers_per_block: Layers of a resolution in the down path; one more in the up path.
            num_attention_heads: Heads of every attention layer.
            norm_num_groups: Groups of every GroupNorm.
            audio_dim: Width of an audio token; None: no audio attention.
            max_frames: Motion frames and frames of a clip together; None: no temporal attention.
            frame_token_dim: Width of a frame token; None: no attention to frame tokens.
            embedded_tokens: Audio tokens of a frame that are also added to the time embedding; None: none.
            identity_dim: Width of an identity token, to which spatial attention attends; None: none.
            audio_regions: Regions with audio attention of their own; 0: spatial attention attends to the audio.
            frame_norm: Whether temporal layers normalize each frame by itself.
            temporal_norm_groups: Groups of the temporal layers' GroupNorm; None: norm_num_groups.
            sparse_temporal: Whether only layers with spatial attention have temporal layers.
            patch_size: Latent pixels along a side of what becomes one pixel of the layers, as in transformers that
                diffuse (arXiv 2212.09748): twice as many cost a quarter.
            embeds_frames: Whether frame tokens are also added to the time embedding.

        Raises:
            ValueError: When audio and identity would share a layer.
        """
        super().__init__()
        if identity_dim is not None and audio_dim is not None and not audio_regions:
            raise ValueError(f"identity_dim={identity_dim}: with audio it needs audio_regions")
        dims, depth, last = block_out_channels, layers_per_block, len(block_out_channels) - 1
        emb_dim = 4 * dims[0]
        context = audio_dim, max_frames, frame_token_dim, identity_dim, audio_regions, frame_norm
        temporal_groups = temporal_norm_groups or norm_num_groups
        sizes = LayerSizes(emb_dim, num_attention_heads, norm_num_groups, *context, temporal_groups)
        self.time_proj = Timesteps(dims[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(dims[0], emb_dim)
        if embedded_tokens is not None:  # a new one changes nothing
            assert audio_dim is not None  # the tokens are audio
            self.audio_embedding = zero_module(nn.Linear(embedded_tokens * audio_dim, emb_dim))
        if embeds_frames:
            assert frame_token_dim is not None
            self.frame_embedding = nn.Linear(frame_token_dim, emb_dim)  # not zero, as the controls' encoders are
        self.conv_in = nn.Conv2d(in_channels * patch_size**2, dims[0], 3, padding=1)

        width, skips, down, up = dims[0], [dims[0]], [], []
        for i, dim in enumerate(dims):  # the coarsest resolution has no spatial attention
            pairs = [(width if j == 0 else dim, dim) for j in range(depth)]
            num_attention, inner = depth * (i < last), [in_dim for in_dim, _ in pairs]  # as wide inside as Hallo's
            num_temporal, resize = num_attention if sparse_temporal else depth, "down" if i < last else None
            down.append(UNetBlock(pairs, num_attention, num_temporal, sizes, resize, inner=inner))
            skips += [dim] * (depth + (i < last))
            width = dim
        self.down_blocks = nn.ModuleList(down)
        self.mid_block = UNetBlock([(width, width)] * 2, 1, 1, sizes)
        for i, dim in reversed(list(enumerate(dims))):
            pairs = [((width if j == 0 else dim) + skips.pop(), dim) for j in range(depth + 1)]
            num_attention, resize = (depth + 1) * (i < last), "up" if i > 0 else None
            num_temporal = num_attention if sparse_temporal else depth + 1
            tokens_only, inner = out_channels is None and i == 0, [dims[max(i - 1, 0)]] * (depth + 1)
            up.append(UNetBlock(pairs, num_attention, num_temporal, sizes, resize, tokens_only, inner))
            width = dim
        self.up_blocks = nn.ModuleList(up)

        if out_channels is not None:
            self.conv_norm_out = nn.GroupNorm(norm_num_groups, dims[0], eps=1e-5)
            self.conv_out = zero_module(nn.Conv2d(dims[0], out_channels * patch_size**2, 3, padding=1))
        if max_frames is not None and frame_token_dim is not None:
            self.speed_pos = FramePositionEncoding(frame_token_dim, max_frames, persistent=False)
        self.gradient_checkpointing = False

    @property
    def levels(self) -> list[int]:
        """The resolution of each layer, 0 the finest, in the order of their features."""
        depth, all_ = self.config.layers_per_block, range(len(self.config.block_out_channels))
        down, up = ([level for level in all_ for _ in range(count)] for count in (depth, depth + 1))
        return [*down, all_[-1], all_[-1], *reversed(up)]

    def embed_frames(
        self, sample: Tensor, timestep: Tensor, audio: Tensor | None, frame_tokens: Tensor | None
    ) -> Tensor:
        """Embed the timestep and, where the configuration says so, each frame's audio tokens and frame token.

        Args:
            sample: Noisy latents (B F C H W); only their shape and type are used.
            timestep: () or (B,).
            audio: Audio tokens (B F A D).
            frame_tokens: Frame tokens (B F E).

        Returns:
            (BF emb_dim), which every ResNet block reads.
        """
        emb = self.time_embedding(self.time_proj(timestep.expand(len(sample))).to(sample.dtype))
        emb = emb.repeat_interleave(sample.shape[1], dim=0)
        if self.config.embedded_tokens is not None:
            assert audio is not None
            emb = emb + self.audio_embedding(audio.flatten(2)).flatten(0, 1)
        if self.config.get("embeds_frames"):
            assert frame_tokens is not None
            emb = emb + self.frame_embedding(frame_tokens).flatten(0, 1)
        return emb

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor | None = None,
        reference: list[Tensor | None] | None = None,
        motion: list[Tensor | None] | None = None,
        frame_tokens: Tensor | None = None,
        face_features: Tensor | None = None,
        identity: Tensor | None = None,
        regions: AudioRegions | None = None,
    ) -> tuple[Tensor | None, list[LayerFeatures]]:
        """Run the network.

        Args:
            sample: Noisy latents (B F C H W).
            timestep: () or (B,).
            audio: Audio tokens (B F A D).
            reference: For each layer the reference tokens (B S C) or (B R S C).
            motion: For each layer the maps of the motion frames (B M C H W).
            frame_tokens: Frame tokens (B F E).
            face_features: Added after the first convolution (B C H W).
            identity: Identity tokens (B F I D).
            regions: Regions of the audio attention.

        Returns:
            The prediction (B F C H W) and no features; without an output layer None and the features of each layer.
        """
        num_frames, features = sample.shape[1], []
        references = repeat(None) if reference is None else iter(reference)
        motions = repeat(None) if motion is None else iter(motion)
        emb = self.embed_frames(sample, timestep, audio, frame_tokens)
        audio = None if audio is None else audio.flatten(0, 1)
        if frame_tokens is not None:
            first = cast(Tensor, motion[0]).shape[1] if motion else 0  # with frame tokens each layer has a map
            frame_tokens = self.speed_pos(frame_tokens, first=first)
        identity = None if identity is None else identity.flatten(0, 1)
        last = len(self.down_blocks) - 1

        def run(stage: UNetBlock, i: int, x: Tensor, level: int) -> Tensor:
            region = (None, None) if regions is None else (regions.masks[level], regions.scales[:, level])
            args = (i, x, emb, audio, next(references), next(motions), frame_tokens, num_frames, identity, *region)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x, feature = self._gradient_checkpointing_func(stage.layer, *args)
            else:
                x, feature = stage.layer(*args)
            if self.config.out_channels is None:
                features.append(feature)
            return x

        patch = self.config.get("patch_size", 1)
        x = self.conv_in(nn.functional.pixel_unshuffle(sample.flatten(0, 1), patch))
        if face_features is not None:
            face_features = nn.functional.avg_pool2d(face_features, patch) if patch > 1 else face_features
            x = (x.unflatten(0, (-1, num_frames)) + face_features[:, None]).flatten(0, 1)
        skips = [x]
        for level, stage in enumerate(cast(Iterable[UNetBlock], self.down_blocks)):
            for i in range(len(stage.resnets)):
                skips.append(x := run(stage, i, x, level))
            if hasattr(stage, "downsamplers"):
                skips.append(x := stage.downsamplers[0](x))
        for i in range(len(self.mid_block.resnets)):
            x = run(self.mid_block, i, x, last)
        for level, stage in enumerate(cast(Iterable[UNetBlock], self.up_blocks)):
            for i in range(len(stage.resnets)):
                x = run(stage, i, torch.cat([x, skips.pop()], dim=1), last - level)
            if hasattr(stage, "upsamplers"):
                x = stage.upsamplers[0](x, output_size=skips[-1].shape[-2:])

        if self.config.out_channels is None:
            return None, features
        x = self.conv_out(nn.functional.silu(self.conv_norm_out(x)))
        x = nn.functional.pixel_shuffle(x, patch)
        return rearrange(x, "(b f) c h w -> b f c h w", f=num_frames), features
