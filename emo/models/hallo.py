"""HalloModel: an EMOModel with what Hallo (arXiv 2406.08801) and Hallo2 (2410.07718) have and EMO lacks.

Identity tokens of a face embedding, audio attention in three regions (whole frame, face, lips), a face locator on
pixels, motion frames as reference tokens, and temporal layers that normalize each frame by itself.

Shapes: B clips, F frames of the window, M motion frames before it, C H W latents, G width of a face embedding, I
identity tokens.
"""

from typing import Any

import torch
from diffusers import ModelMixin as ModelMixin  # DiffusionPipeline.from_pretrained looks it up here
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from emo.models.conditions import CONDITIONS, Conditions, ConditionSpec
from emo.models.emo import EMOModel
from emo.models.layers import AudioRegions


class HalloModel(EMOModel):
    """The network of Hallo. The defaults are its published sizes."""

    ignore_for_config = [  # of EMOModel, which Hallo has not
        "audio_embedding",
        "frame_embedding",
        "speed_margin",
        "frame_token_dim",
        "speed_centers",
        "speed_radii",
        "residual_scale",
        "residual_threshold",
        "controls",
    ]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        audio_layers: int = 12,
        audio_feature_dim: int = 768,
        audio_tokens: int = 32,
        audio_token_dim: int | None = 768,
        audio_hidden_dim: int = 512,
        audio_margin: int = 2,
        num_frames: int = 16,
        num_motion_frames: int = 2,
        max_frames: int = 32,
        temporal: bool = True,
        identity_dim: int | None = 512,
        identity_tokens: int = 4,
        identity_token_dim: int = 768,
        audio_regions: int = 3,
        locator_widths: tuple[int, ...] | None = (16, 32, 64, 128),
        motion_tokens: bool = True,
        motion_levels: tuple[int, ...] | None = None,
        frame_norm: bool = True,
        temporal_norm_groups: int | None = None,
        sparse_temporal: bool = True,
    ):
        """
        Args:
            latent_channels to temporal: See EMOModel.
            identity_dim: Width of a face embedding; None: no identity tokens.
            identity_tokens: Number of identity tokens.
            identity_token_dim: Width of an identity token.
            audio_regions: Regions with audio attention of their own: whole frame, face, lips; 0: one, as in EMO.
            locator_widths: Channels of a PixelFaceLocator; None: a FaceLocator.
            motion_tokens: Whether motion features are normalized tokens, and the portrait stands before the first
                window.
            motion_levels: Resolutions, 0 the finest, that get motion frames; None: all.
            frame_norm: Whether temporal layers normalize each frame by itself.
            temporal_norm_groups: Groups of the temporal layers' GroupNorm; None: norm_num_groups.
            sparse_temporal: Whether only layers with spatial attention have temporal layers.

        Raises:
            ValueError: See EMOModel; when motion_levels are given without motion_tokens; when identity_dim is given
                without audio_regions.
        """
        if motion_levels is not None and not motion_tokens:
            raise ValueError(f"motion_levels={motion_levels}: needs motion_tokens")
        super().__init__(
            latent_channels=latent_channels,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            num_attention_heads=num_attention_heads,
            norm_num_groups=norm_num_groups,
            audio_layers=audio_layers,
            audio_feature_dim=audio_feature_dim,
            audio_tokens=audio_tokens,
            audio_token_dim=audio_token_dim,
            audio_hidden_dim=audio_hidden_dim,
            audio_margin=audio_margin,
            num_frames=num_frames,
            num_motion_frames=num_motion_frames,
            max_frames=max_frames,
            temporal=temporal,
            frame_token_dim=None,
        )

    def _identity_width(self) -> int | None:
        return None if self.config.identity_dim is None else self.config.identity_token_dim

    def _backbone_options(self) -> dict[str, Any]:
        config = self.config
        return super()._backbone_options() | {
            "identity_dim": self._identity_width(),
            "audio_regions": config.audio_regions,
            "frame_norm": config.frame_norm,
            "temporal_norm_groups": config.temporal_norm_groups,
            "sparse_temporal": config.sparse_temporal,
        }

    def _reference_options(self) -> dict[str, Any]:
        return super()._reference_options() | {"identity_dim": self._identity_width()}

    def _add_encoders(self) -> None:
        super()._add_encoders()
        self.identity_projection = CONDITIONS["identity"].encoder(self.config)

    @property
    def conditions(self) -> list[ConditionSpec]:
        """The conditions that this model has."""
        return [*super().conditions, *([CONDITIONS["identity"]] if self.identity_projection is not None else [])]

    @property
    def motion_levels(self) -> list[int]:
        """The resolutions of the UNet, 0 the finest, that get motion frames."""
        levels = self.config.motion_levels
        return list(range(len(self.config.block_out_channels)) if levels is None else levels)

    def encode_identity(self, identity: Tensor | None, *size: int) -> Tensor | None:
        """Project face embeddings to identity tokens.

        Args:
            identity: (*size G); None: null, zeros.
            size: Leading sizes.

        Returns:
            (*size I D); None for a model without identity tokens.
        """
        if self.identity_projection is None:
            return None
        if identity is None:
            weight = next(self.identity_projection.parameters())
            identity = torch.zeros(*size, self.config.identity_dim, device=weight.device, dtype=self.dtype)
        return self.identity_projection(identity)

    @apply_forward_hook
    def encode_reference(self, reference: Tensor, identity: Tensor | None = None) -> list[Tensor | None]:
        """Run the ReferenceNet on portraits, with whose faces they show.

        Args:
            reference: (B C H W) latents of the portraits.
            identity: (B G) face embeddings; None: null.

        Returns:
            For each layer of the UNet its reference tokens (B S C); None for a layer without spatial attention.
        """
        tokens = self.encode_identity(None if identity is None else identity[:, None], len(reference), 1)
        _, features = self.reference_net(reference[:, None], reference.new_zeros(()), identity=tokens)
        return [feature.tokens for feature in features]

    def encode_motion(self, motion: Tensor, identity: Tensor | None = None) -> list[Tensor | None]:
        """Run the ReferenceNet on motion frames, each an image of its own.

        Args:
            motion: (B M C H W) latents.
            identity: (B M G) face embeddings of the frames; None: null.

        Returns:
            For each layer of the UNet its feature maps (B M C H W); with `motion_tokens` None for a layer without
            tokens.
        """
        if not self.config.motion_tokens:
            return super().encode_motion(motion)
        size = motion.shape[:2]
        _, features = self.reference_net(motion, motion.new_zeros(()), identity=self.encode_identity(identity, *size))
        maps = [None if tokens is None else tokens_to_map(tokens, map).unflatten(0, size) for tokens, map in features]
        used = [level in self.motion_levels for level in self.reference_net.levels]
        return [map if use else None for map, use in zip(maps, used, strict=True)]

    def initial_motion(self, reference: Tensor) -> Tensor:
        """Return the motion frames before the first window: with `motion_tokens` the portrait, else none.

        Args:
            reference: (B C H W) latents of the portrait.

        Returns:
            (B M C H W).
        """
        if not self.config.motion_tokens:
            return super().initial_motion(reference)
        return reference[:, None].expand(-1, self.config.num_motion_frames, -1, -1, -1)

    def _encode_reference_tokens(self, conditions: Conditions, shape: torch.Size) -> list[Tensor | None]:
        return self.encode_reference(self._value(conditions, "reference", shape), conditions.identity)

    def _encode_identity_tokens(self, conditions: Conditions, shape: torch.Size) -> Tensor | None:
        if self.identity_projection is None:
            return None
        return self.identity_projection(self._value(conditions, "identity", shape))

    def _encode_motion_maps(self, conditions: Conditions, shape: torch.Size) -> list[Tensor | None] | None:
        motion, identity = conditions.motion, conditions.motion_identity
        if not self.config.temporal or (motion is None and not self.config.motion_tokens):
            return super()._encode_motion_maps(conditions, shape)
        if motion is None:
            motion = self.initial_motion(self._value(conditions, "reference", shape))
        if identity is None and conditions.identity is not None:
            identity = conditions.identity[:, None].expand(-1, motion.shape[1], -1)
        return self.encode_motion(motion, identity)

    def _encode_audio_regions(self, conditions: Conditions, shape: torch.Size) -> AudioRegions | None:
        """Return the given regions, or every region as the whole frame; None without regional audio attention."""
        count = self.config.audio_regions
        if conditions.audio_regions is not None or not count:
            return conditions.audio_regions
        like = self._value(conditions, "reference", shape)
        ones = torch.ones(shape[0], count, *shape[3:], device=like.device, dtype=self.dtype)
        masks = [ones[..., :: 2**level, :: 2**level] for level in range(len(self.config.block_out_channels))]
        return AudioRegions(masks, ones.new_ones(shape[0], len(masks), count))


def tokens_to_map(tokens: Tensor, map: Tensor) -> Tensor:
    """Arrange tokens as a feature map.

    Args:
        tokens: (N S C) tokens, S = H * W.
        map: (N ... H W) a map of the wanted size.

    Returns:
        (N C H W).
    """
    return tokens.transpose(1, 2).unflatten(2, map.shape[-2:])
