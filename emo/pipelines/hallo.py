"""HalloPipeline: the pipeline of converted Hallo (arXiv 2406.08801) and Hallo2 (2410.07718) weights.

Beside EMO's conditions it has a face embedding and audio attention in three regions, and its guidance takes away
portrait, identity, face region and audio at once, as its authors do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import AutoencoderKL, SchedulerMixin
from torch import Tensor

from emo.core.errors import InputError
from emo.face.masks import regional_masks
from emo.face.selection import SelectedFace
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import as_video_autoencoder
from emo.models.conditions import Conditions, EncodedConditions
from emo.models.hallo import HalloModel
from emo.models.layers import AudioRegions
from emo.pipelines.emo import EMOPipeline, Face
from emo.pipelines.guidance import Guidance


@dataclass(frozen=True)
class HalloGuidance(Guidance):
    """Guidance away from the motion frames alone: without portrait, identity, face region and audio.

    As in Hallo's published code, the ReferenceNet alternates between the null identity and the portrait's own: frame f
    uses the tokens of identity f % 2, motion frames alternate likewise, and the pass without conditions swaps the two.
    """

    @property
    def scales(self) -> dict[str, float]:
        """One scale for all conditions together."""
        return {} if self.scale == 1 else {"all": self.scale}

    def encode_reference(self, model: HalloModel, conditions: Conditions) -> list[Tensor | None]:
        """Return reference tokens of each layer; with guidance, those without and with the identity.

        Args:
            model: The denoising model.
            conditions: Conditions of the window, with reference and identity.

        Returns:
            (B S C) per layer, with guidance (B 2 S C); None for a layer without tokens.
        """
        reference, identity = conditions.reference, conditions.identity
        if not self.scales:
            return model.encode_reference(reference, identity)
        pairs = zip(model.encode_reference(reference), model.encode_reference(reference, identity), strict=True)
        return [None if null is None else torch.stack([null, own], dim=1) for null, own in pairs]

    def encode_conditions(
        self,
        model: HalloModel,
        conditions: Conditions,
        shape: torch.Size,
        reference_tokens: list[Tensor | None] | None = None,
    ) -> list[EncodedConditions]:
        """Return the encoded conditions; with guidance, also those of the motion frames alone.

        Args:
            model: The denoising model.
            conditions: Conditions of the window.
            shape: Shape (B F C H W) of the latents.
            reference_tokens: What `encode_reference` returned; None: they are encoded here.

        Returns:
            One encoding for each forward pass.
        """
        if not self.scales:
            return [model.encode_conditions(conditions, shape, reference_tokens)]
        if reference_tokens is None:
            reference_tokens = self.encode_reference(model, conditions)
        own = conditions.identity
        assert own is not None  # HalloPipeline sets it, zeros where none is given
        turns = torch.arange(model.config.num_motion_frames, device=own.device) % 2  # (M,)
        first, second = (turn[None, :, None] * own[:, None] for turn in (turns, 1 - turns))  # (B M G)
        encoded = model.encode_conditions(replace(conditions, motion_identity=first), shape, reference_tokens)
        motion_maps = model.encode_field("motion_maps", replace(conditions, motion_identity=second), shape)
        without = replace(
            encoded,
            reference_tokens=None,
            audio_tokens=torch.zeros_like(encoded.audio_tokens),
            face_region_features=torch.zeros_like(encoded.face_region_features),
            identity_tokens=model.encode_identity(None, len(own)),
            motion_maps=motion_maps,
        )
        return [encoded, without]


class HalloPipeline(EMOPipeline):
    """Animates a portrait by audio with a HalloModel. `emo-convert` makes its folder of published weights."""

    def __init__(
        self,
        model: HalloModel,
        vae: AutoencoderKL,
        audio_encoder: AudioEncoder,
        scheduler: SchedulerMixin,
        size: int = 512,
        num_inference_steps: int = 40,
        guidance_scale: float = 3.5,
        guidance_threshold: float = 0.0,
        overlap_frames: int = 0,
        color_limit_radius: float = 0.0,
        guide_identity: bool = True,
        reencode_motion: bool = True,
        pose_weight: float = 1.0,
        face_weight: float = 1.0,
        lip_weight: float = 1.0,
        crop_scale: float = 1.25,
    ):
        """
        Args:
            model to color_limit_radius: See EMOPipeline.
            guide_identity: Whether guidance is HalloGuidance, else it is by the audio alone.
            reencode_motion: Whether motion frames are decoded and encoded again before the next window.
            pose_weight: How strongly the surroundings of the face follow the audio.
            face_weight: How strongly the face follows the audio.
            lip_weight: How strongly the lips follow the audio.
            crop_scale: Side of the animated square over that of EMO's own models.

        Raises:
            ValueError: See EMOPipeline; when guide_identity is set for a model without an identity_dim.
        """
        if guide_identity and model.config.get("identity_dim") is None:
            raise ValueError("guide_identity=true: needs a model with an identity_dim")
        settings = (size, num_inference_steps, guidance_scale, guidance_threshold, overlap_frames, color_limit_radius)
        super().__init__(model, vae, audio_encoder, scheduler, *settings)
        self.register_to_config(
            guide_identity=guide_identity,
            reencode_motion=reencode_motion,
            pose_weight=pose_weight,
            face_weight=face_weight,
            lip_weight=lip_weight,
            crop_scale=crop_scale,
        )

    def _make_guidance(self, scale: float, condition_scales: Mapping[str, float]) -> Guidance:
        if not self.config.guide_identity:
            return super()._make_guidance(scale, condition_scales)
        if condition_scales:
            raise InputError("condition_scales: not with guide_identity, which guides by all conditions at once")
        return HalloGuidance(scale, self.config.guidance_threshold)

    def _select_face(self, pixels: np.ndarray, face: Face | None) -> SelectedFace:
        selected = super()._select_face(pixels, face)
        region = selected.region
        return replace(selected, region=replace(region, side=region.side * self.config.crop_scale))

    def _encode_portrait(self, reference: Tensor, face: SelectedFace, identity: np.ndarray | None) -> Conditions:
        config, model = self.model.config, self.model
        if identity is not None and len(identity) != config.identity_dim:
            raise InputError(f"identity has {len(identity)} numbers: the model takes {config.identity_dim or 'none'}")
        portrait = super()._encode_portrait(reference, face, identity)
        if config.identity_dim is not None:
            embedding = np.zeros(config.identity_dim) if identity is None else identity
            portrait.identity = torch.from_numpy(embedding)[None].to(reference)
        if config.audio_regions:
            sides = [-(-reference.shape[-1] // 2**level) for level in range(len(config.block_out_channels))]
            scales = reference.new_ones(1, len(sides), config.audio_regions)
            weights = self.config.pose_weight, self.config.face_weight, self.config.lip_weight
            scales[:, model.motion_levels] = reference.new_tensor(weights)
            masks = [torch.from_numpy(mask).to(reference)[None] for mask in regional_masks(face, sides)]
            portrait.audio_regions = AudioRegions(masks, scales)
        return portrait

    def _next_motion(self, reference: Tensor, motion: Tensor | None, window: Tensor, square: Tensor) -> Tensor:
        if self.config.reencode_motion:
            codec, last = as_video_autoencoder(self.vae), window[0, -self.model.config.num_motion_frames :]
            frames = codec.decode(last.to(self.vae.dtype), square).clamp(-1, 1)
            window = codec.encode(frames, square)[None].to(reference)
        return super()._next_motion(reference, motion, window, square)
