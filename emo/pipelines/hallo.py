"""HalloPipeline: the pipeline of converted Hallo (arXiv 2406.08801) and Hallo2 (2410.07718) weights.

Beside EMO's conditions it has a face embedding and audio attention in three regions, whose soft masks are drawn here.
Its guidance takes away portrait, identity, face region and audio at once, as its authors do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, SchedulerMixin
from torch import Tensor

from emo.core.errors import InputError
from emo.face.crop import locator_mask
from emo.face.landmarks import LIP_POINTS
from emo.face.selection import SelectedFace
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import as_video_autoencoder
from emo.models.conditions import Conditions, EncodedConditions
from emo.models.hallo import HalloModel
from emo.models.layers import AudioRegions
from emo.pipelines.emo import EMOPipeline, Face
from emo.pipelines.guidance import Guidance

MASK_PIXELS = 64
FACE_MASK, LIP_MASK = (1.1, 51), (2.0, 31)  # how much a box is enlarged, and the side of the Gaussian kernel
AVERAGE_LIPS = (0.35, 0.70, 0.65, 0.84)  # a box in the unit square of the face's box, where there are no landmarks

Box = tuple[float, float, float, float]


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


def regional_masks(face: SelectedFace, sizes: list[int]) -> list[np.ndarray]:
    """Draw the masks of the animated square's regions.

    Args:
        face: The face, with or without landmarks.
        sizes: Sides of the masks.

    Returns:
        For each size (3 size size) float32 in 0..1: surroundings, face without lips, lips.
    """
    whole = soft_box_mask(face.box, face, *FACE_MASK)
    lips = soft_box_mask(lip_box(face), face, *LIP_MASK)
    masks = np.stack([1 - whole, np.maximum(whole - lips, 0), lips], axis=-1)
    return [cv2.resize(masks, (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) for size in sizes]


def lip_box(face: SelectedFace) -> Box:
    """Return the box around the lips' landmarks in pixels, or where lips are in most faces."""
    if face.landmarks is not None:
        points = face.landmarks[LIP_POINTS]
        return (*points.min(0).tolist(), *points.max(0).tolist())
    x0, y0, x1, y1 = face.box
    u0, v0, u1, v1 = AVERAGE_LIPS
    return (x0 + u0 * (x1 - x0), y0 + v0 * (y1 - y0), x0 + u1 * (x1 - x0), y0 + v1 * (y1 - y0))


def enlarge_box(box: Box, factor: float) -> Box:
    """Scale a box about its center.

    Args:
        box: (x0, y0, x1, y1), pixels.
        factor: Ratio of the new sides to the old ones.

    Returns:
        The scaled box, pixels.
    """
    x0, y0, x1, y1 = box
    dx, dy = (factor - 1) / 2 * (x1 - x0), (factor - 1) / 2 * (y1 - y0)
    return (x0 - dx, y0 - dy, x1 + dx, y1 + dy)


def soft_box_mask(box: Box, face: SelectedFace, factor: float, kernel: int) -> np.ndarray:
    """Draw an enlarged and blurred box within the animated square.

    Args:
        box: (x0, y0, x1, y1), pixels of the picture.
        face: The selected face, whose region is the square.
        factor: By how much the box is enlarged.
        kernel: Size of the Gaussian blur's kernel, pixels; odd.

    Returns:
        (MASK_PIXELS MASK_PIXELS) float32, stretched to 0 .. 1.
    """
    enlarged = locator_mask(enlarge_box(box, factor), face.region, MASK_PIXELS)
    mask = cv2.GaussianBlur(enlarged, (kernel, kernel), 0)
    spread = mask.max() - mask.min()
    return (mask - mask.min()) / spread if spread > 0 else mask
