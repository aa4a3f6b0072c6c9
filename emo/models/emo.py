"""EMOModel: all that is trained, one module. Noisy latents, sound and a portrait -> the prediction.

Shapes: B clips, F frames of the window, M motion frames before it, m margin of frames on each side,
C H W latents, W D layers and width of the audio features, S tokens of a layer, A audio tokens, I identity tokens,
E width of a speed token, G width of a face's embedding.
"""

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from emo.models.audio import AudioProjection, NoProjection
from emo.models.conditioners import FaceLocator, IdentityProjection, PixelLocator, SpeedEncoder
from emo.models.layers import Regions
from emo.models.unet import UNet


@dataclass
class Conditions:
    """What a window is made from. None is a condition left out: the same as its null."""

    reference: Tensor | None = None  # (B C H W) the portrait's latents; null: zeros
    audio: Tensor | None = None  # (B F+2m W D) features of the sound; null: zeros
    motion: Tensor | None = None  # (B M C H W) latents of the frames before; null, and a missing frame: zeros
    face_region: Tensor | None = None  # (B 1 H W) 1 where the face may be, or in pixels for a PixelLocator; null: ones
    head_speed: Tensor | None = None  # (B F+2m) rad/s; null, and an unknown speed: NaN
    identity: Tensor | None = None  # (B G) the face's embedding; null: zeros
    motion_identity: Tensor | None = None  # (B M G) whose faces the motion frames are said to show; null: identity
    regions: Regions | None = None  # where face and lips are; null: all is everywhere


@dataclass
class Seen:
    """All that the conditions say, independent of the noise: computed once per window, used in every step."""

    latents: Tensor  # (B C H W) the portrait's
    reference: list[Tensor | None] | None  # for each layer the portrait's tokens (B S C), or (B R S C), taken in turn
    audio: Tensor | None  # (B F A D) audio tokens; None: no audio attention
    located: Tensor  # (B C H W) added after the first convolution
    motion: list[Tensor | None] | None = None  # (B M C H W), or zeros (B M 1 1 1), for each layer; None: no time
    speed: Tensor | None = None  # (B F E) speed tokens; None: no speed layers
    identity: Tensor | None = None  # (B I D) identity tokens; None: none
    regions: Regions | None = None  # None: no regional audio attention


class EMOModel(ModelMixin, ConfigMixin):
    """Backbone, ReferenceNet and the projections of the weak conditions. The defaults are SD 1.5's shapes.

    With `residual_scale` the model is anchored: what is diffused is the scaled difference to the portrait's
    latents, which the backbone sees beside the noisy ones: a small model keeps the person by construction.
    `residual_threshold` takes so much from the difference of each place, down to none (soft thresholding): a faint
    difference all over the picture is the model's doubt, not a movement.
    From `identity_dim` on stand what Hallo (arXiv 2406.08801) has and EMO lacks.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        audio_layers: int = 13,  # W
        audio_feature_dim: int = 768,  # D
        audio_tokens: int = 32,
        audio_token_dim: int | None = 768,  # None: no audio attention, for a model of stills
        audio_hidden_dim: int = 512,
        audio_margin: int = 2,  # frames on each side
        audio_embedding: bool = False,  # the tokens are also added to the time embedding, as a shift of every layer
        num_frames: int = 12,  # of a window
        num_motion_frames: int = 4,
        max_frames: int = 32,  # entries of the position table
        speed_margin: int = 2,  # frames on each side
        speed_token_dim: int | None = 256,  # None: no speed layers
        speed_centers: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6),  # rad/s
        speed_radii: tuple[float, ...] = (0.1,) * 9,  # rad/s
        temporal: bool = True,  # False: frames do not know each other, and there is no head speed
        residual_scale: float | None = None,
        residual_threshold: float = 0.0,  # of the diffused difference, RMS over channels; below it is the portrait
        identity_dim: int | None = None,  # of a face's embedding; None: no identity tokens
        identity_tokens: int = 4,
        identity_token_dim: int = 768,
        audio_regions: int = 0,  # in which the sound is attended to: the whole, face, lips; 0: as in EMO
        locator_widths: tuple[int, ...] | None = None,  # of a PixelLocator; None: a FaceLocator
        motion_tokens: bool = False,  # motion features are normed tokens, and before the first window is the portrait
        motion_levels: tuple[int, ...] | None = None,  # resolutions, 0 the finest, that see these; None: all
        frame_norm: bool = False,  # temporal layers norm each frame by itself
        temporal_norm_groups: int | None = None,  # None: norm_num_groups
        sparse_time: bool = False,  # temporal layers only beside spatial attention
    ):
        """Raises ValueError when window and motion frames exceed the position table, or an option lacks another."""
        super().__init__()
        if audio_embedding and audio_token_dim is None:
            raise ValueError("audio_embedding=true: needs an audio_token_dim")
        if motion_levels is not None and not motion_tokens:
            raise ValueError(f"motion_levels={motion_levels}: needs motion_tokens")
        if num_frames + num_motion_frames > max_frames:
            raise ValueError(
                f"{num_frames} frames and {num_motion_frames} motion frames exceed max_frames={max_frames}"
            )
        sizes = (tuple(block_out_channels), layers_per_block, num_attention_heads, norm_num_groups)
        identity_width = None if identity_dim is None else identity_token_dim
        self.unet = UNet(
            latent_channels * (1 if residual_scale is None else 2),
            latent_channels,
            *sizes,
            audio_dim=audio_token_dim,
            max_frames=max_frames if temporal else None,
            speed_dim=speed_token_dim if temporal else None,
            embedded_tokens=audio_tokens if audio_embedding else None,
            identity_dim=identity_width,
            audio_regions=audio_regions,
            frame_norm=frame_norm,
            temporal_norm_groups=temporal_norm_groups,
            sparse_time=sparse_time,
        )
        reference = {"audio_dim": None, "max_frames": None, "identity_dim": identity_width}
        self.reference_net = UNet(latent_channels, None, *sizes, **reference)
        width = block_out_channels[0]
        self.face_locator = FaceLocator(width) if locator_widths is None else PixelLocator(width, locator_widths)
        self.identity_projection = (
            None if identity_dim is None else IdentityProjection(identity_dim, identity_tokens, identity_token_dim)
        )
        feature_shape = (audio_layers, audio_feature_dim)
        self.audio_projection = (
            NoProjection()
            if audio_token_dim is None
            else AudioProjection(feature_shape, audio_margin, audio_tokens, audio_token_dim, audio_hidden_dim)
        )
        self.speed_encoder = (
            SpeedEncoder(speed_centers, speed_radii, speed_margin, speed_token_dim)
            if temporal and speed_token_dim is not None
            else None
        )

    def to_diffused(self, latents: Tensor, reference: Tensor) -> Tensor:
        """latents (B F C H W), the portrait's (B C H W) -> what is diffused (B F C H W)."""
        scale = self.config.residual_scale
        return latents if scale is None else (latents - reference[:, None]) * scale

    def from_diffused(self, diffused: Tensor, reference: Tensor) -> Tensor:
        """The inverse of `to_diffused`, without what is below the threshold."""
        scale, threshold = self.config.residual_scale, self.config.residual_threshold
        if scale is None:
            return diffused
        if threshold:
            size = diffused.square().mean(2, keepdim=True).sqrt()  # (B F 1 H W)
            diffused = diffused * (1 - threshold / size.clamp(min=threshold))
        return diffused / scale + reference[:, None]

    def identify(self, identity: Tensor | None, *size: int) -> Tensor | None:
        """A face's embedding (*size G), null: zeros, -> identity tokens (*size I D), None without them."""
        if self.identity_projection is None:
            return None
        zeros = torch.zeros(*size, self.config.identity_dim, device=self.device, dtype=self.dtype)
        return self.identity_projection(zeros if identity is None else identity)

    def look_at_portrait(self, reference: Tensor, identity: Tensor | None = None) -> list[Tensor | None]:
        """The portrait's latents (B C H W), and whose it is (B G) -> for each layer of the UNet its tokens (B S C)."""
        tokens = self.identify(None if identity is None else identity[:, None], len(reference), 1)
        _, features = self.reference_net(reference[:, None], reference.new_zeros(()), identity=tokens)
        return [feature.tokens for feature in features]

    def look_at_motion(self, motion: Tensor, identity: Tensor | None = None) -> list[Tensor | None]:
        """Latents of the motion frames (B M C H W), and whose they are (B M G) -> for each layer their maps
        (B M C H W); with `motion_tokens` None for a layer without tokens.

        Each frame is an image of its own. A frame of zeros is no frame (before EMO's first window there are
        none) and its maps are zeros.
        """
        tokens, shape = self.identify(identity, *motion.shape[:2]), motion.shape[:2]
        _, features = self.reference_net(motion, motion.new_zeros(()), identity=tokens)
        if self.config.motion_tokens:
            maps = [None if tokens is None else laid(tokens, map).unflatten(0, shape) for tokens, map in features]
            seeing = [level in self.motion_levels for level in self.reference_net.levels]
            return [map if sees else None for map, sees in zip(maps, seeing, strict=True)]
        present = motion.ne(0).flatten(2).any(2).to(motion.dtype)[..., None, None, None]
        return [feature.map.unflatten(0, shape) * present for feature in features]

    @property
    def motion_levels(self) -> list[int]:
        """The resolutions of the UNet, 0 the finest, that see the motion frames."""
        levels = self.config.motion_levels
        return list(range(len(self.config.block_out_channels)) if levels is None else levels)

    def motion_before(self, reference: Tensor) -> Tensor:
        """The portrait's latents (B C H W) -> those of the motion frames before the first window (B M C H W)."""
        frames = reference[:, None].expand(-1, self.config.num_motion_frames, -1, -1, -1)
        return frames if self.config.motion_tokens else torch.zeros_like(frames)

    def look(self, conditions: Conditions, shape: torch.Size, reference: list[Tensor | None] | None = None) -> Seen:
        """All that does not depend on the noise, for latents of `shape` (B F C H W).

        reference: what `look_at_portrait` gave, where it is known already.
        """
        (b, f, c, h, w), config = shape, self.config

        def given(value: Tensor | None, null: float, *size: int) -> Tensor:
            return torch.full(size, null, device=self.device, dtype=self.dtype) if value is None else value

        feature_shape = (config.audio_layers, config.audio_feature_dim)
        audio = given(conditions.audio, 0.0, b, f + 2 * config.audio_margin, *feature_shape)
        latents = given(conditions.reference, 0.0, b, c, h, w)
        reference = self.look_at_portrait(latents, conditions.identity) if reference is None else reference
        scale = 1 if config.locator_widths is None else 2 ** (len(config.locator_widths) - 1)
        seen = Seen(
            latents=latents,
            reference=reference,
            audio=self.audio_projection(audio),
            located=self.face_locator(given(conditions.face_region, 1.0, b, 1, scale * h, scale * w)),
            identity=self.identify(conditions.identity, b),
            regions=self.everywhere(shape) if conditions.regions is None else conditions.regions,
        )
        if self.speed_encoder is not None:
            head_speed = given(conditions.head_speed, float("nan"), b, f + 2 * config.speed_margin)
            seen.speed = self.speed_encoder(head_speed)
        if config.temporal:
            seen.motion = self.look_before(conditions, latents, len(reference))
        return seen

    def look_before(self, conditions: Conditions, latents: Tensor, layers: int) -> list[Tensor | None]:
        """What the motion frames show, for each of so many layers; the portrait's latents are (B C H W)."""
        motion, whose, count = conditions.motion, conditions.motion_identity, self.config.num_motion_frames
        if motion is None and not self.config.motion_tokens:
            return [latents.new_zeros(len(latents), count, 1, 1, 1)] * layers
        motion = self.motion_before(latents) if motion is None else motion
        if whose is None and conditions.identity is not None:
            whose = conditions.identity[:, None].expand(-1, motion.shape[1], -1)
        return self.look_at_motion(motion, whose)

    def everywhere(self, shape: torch.Size) -> Regions | None:
        """Every region all over latents of `shape` (B F C H W); None without regional audio attention."""
        (b, _, _, h, w), count = shape, self.config.audio_regions
        if not count:
            return None
        ones = torch.ones(b, count, h, w, device=self.device, dtype=self.dtype)
        levels = range(len(self.config.block_out_channels))
        masks = [ones[..., :: 2**level, :: 2**level] for level in levels]
        return Regions(masks, ones.new_ones(b, len(masks), count))

    def forward(self, sample: Tensor, timestep: Tensor, conditions: Conditions, seen: Seen | None = None) -> Tensor:
        """Noisy latents (B F C H W) as of `to_diffused`, timestep () or (B,) -> prediction (B F C H W).

        seen: what `look` made of the conditions; None: look now, as in training.
        """
        seen = self.look(conditions, sample.shape) if seen is None else seen
        if self.config.residual_scale is not None:
            sample = torch.cat([sample, seen.latents[:, None].expand_as(sample)], dim=2)
        whose = None if seen.identity is None else seen.identity[:, None].expand(-1, sample.shape[1], -1, -1)
        where = seen.motion, seen.speed, seen.located, whose, seen.regions
        return self.unet(sample, timestep, seen.audio, seen.reference, *where)[0]


def laid(tokens: Tensor, map: Tensor) -> Tensor:
    """tokens (N S C) as a map (N C H W) of another's size."""
    return tokens.transpose(1, 2).unflatten(2, map.shape[-2:])
