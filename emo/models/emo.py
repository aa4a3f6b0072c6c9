"""EMOModel: all that is trained, one module. Noisy latents, sound and a portrait -> the prediction.

Shapes: B clips, F frames of the window, M motion frames before it, m margin of frames on each side,
C H W latents, W D layers and width of the audio features, S tokens of a layer, A audio tokens, E width of a
speed token.
"""

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from emo.models.audio import AudioProjection, NoProjection
from emo.models.conditioners import FaceLocator, SpeedEncoder
from emo.models.unet import UNet


@dataclass
class Conditions:
    """What a window is made from. None is a condition left out: the same as its null."""

    reference: Tensor | None = None  # (B C H W) the portrait's latents; null: zeros
    audio: Tensor | None = None  # (B F+2m W D) features of the sound; null: zeros
    motion: Tensor | None = None  # (B M C H W) latents of the frames before; null, and a missing frame: zeros
    face_region: Tensor | None = None  # (B 1 H W) 1 where the face may be; null: ones
    head_speed: Tensor | None = None  # (B F+2m) rad/s; null, and an unknown speed: NaN


@dataclass
class Seen:
    """All that the conditions say, independent of the noise: computed once per window, used in every step."""

    latents: Tensor  # (B C H W) the portrait's
    reference: list[Tensor | None]  # (B S C) tokens of the portrait, for each layer
    audio: Tensor | None  # (B F A D) audio tokens; None: no audio attention
    located: Tensor  # (B C H W) added after the first convolution
    motion: list[Tensor] | None = None  # (B M C H W), or zeros (B M 1 1 1), for each layer; None: no time
    speed: Tensor | None = None  # (B F E) speed tokens; None: no speed layers


class EMOModel(ModelMixin, ConfigMixin):
    """Backbone, ReferenceNet and the projections of the weak conditions. The defaults are SD 1.5's shapes.

    With `residual_scale` the model is anchored: what is diffused is the scaled difference to the portrait's
    latents, which the backbone sees beside the noisy ones: a small model keeps the person by construction.
    `residual_threshold` takes so much from the difference of each place, down to none (soft thresholding): a faint
    difference all over the picture is the model's doubt, not a movement.
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
    ):
        """Raises ValueError when window and motion frames exceed the position table, or without tokens they shift."""
        super().__init__()
        if audio_embedding and audio_token_dim is None:
            raise ValueError("audio_embedding=true: needs an audio_token_dim")
        if num_frames + num_motion_frames > max_frames:
            raise ValueError(
                f"{num_frames} frames and {num_motion_frames} motion frames exceed max_frames={max_frames}"
            )
        sizes = (tuple(block_out_channels), layers_per_block, num_attention_heads, norm_num_groups)
        self.unet = UNet(
            latent_channels * (1 if residual_scale is None else 2),
            latent_channels,
            *sizes,
            audio_dim=audio_token_dim,
            max_frames=max_frames if temporal else None,
            speed_dim=speed_token_dim if temporal else None,
            embedded_tokens=audio_tokens if audio_embedding else None,
        )
        self.reference_net = UNet(latent_channels, None, *sizes, audio_dim=None, max_frames=None)
        self.face_locator = FaceLocator(block_out_channels[0])
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

    def look_at_portrait(self, reference: Tensor) -> list[Tensor | None]:
        """The portrait's latents (B C H W) -> for each layer of the UNet its tokens (B S C)."""
        _, features = self.reference_net(reference[:, None], reference.new_zeros(()))
        return [feature.tokens for feature in features]

    def look_at_motion(self, motion: Tensor) -> list[Tensor]:
        """Latents of the motion frames (B M C H W) -> for each layer their maps (B M C H W).

        Each frame is an image of its own. A frame of zeros is no frame (before EMO's first window there are
        none) and its maps are zeros.
        """
        _, features = self.reference_net(motion, motion.new_zeros(()))
        present = motion.ne(0).flatten(2).any(2).to(motion.dtype)[..., None, None, None]
        return [feature.map.unflatten(0, motion.shape[:2]) * present for feature in features]

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
        reference = self.look_at_portrait(latents) if reference is None else reference
        seen = Seen(
            latents=latents,
            reference=reference,
            audio=self.audio_projection(audio),
            located=self.face_locator(given(conditions.face_region, 1.0, b, 1, h, w)),
        )
        if self.speed_encoder is not None:
            head_speed = given(conditions.head_speed, float("nan"), b, f + 2 * config.speed_margin)
            seen.speed = self.speed_encoder(head_speed)
        if config.temporal:
            none = [latents.new_zeros(b, config.num_motion_frames, 1, 1, 1)] * len(reference)
            seen.motion = none if conditions.motion is None else self.look_at_motion(conditions.motion)
        return seen

    def forward(self, sample: Tensor, timestep: Tensor, conditions: Conditions, seen: Seen | None = None) -> Tensor:
        """Noisy latents (B F C H W) as of `to_diffused`, timestep () or (B,) -> prediction (B F C H W).

        seen: what `look` made of the conditions; None: look now, as in training.
        """
        seen = self.look(conditions, sample.shape) if seen is None else seen
        if self.config.residual_scale is not None:
            sample = torch.cat([sample, seen.latents[:, None].expand_as(sample)], dim=2)
        return self.unet(sample, timestep, seen.audio, seen.reference, seen.motion, seen.speed, seen.located)[0]
