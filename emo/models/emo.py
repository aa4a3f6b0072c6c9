"""EMOModel: everything that is trained, in one module (EMO, arXiv 2402.17485).

Noisy latents, a timestep and conditions go in, a prediction of the scheduler's type comes out. The backbone (`unet`)
attends to the tokens of the ReferenceNet (`reference_net`), to audio tokens, over time, and to frame tokens.

Shapes: B clips, F frames of the window, M motion frames before it, C H W latents, S tokens of a layer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from emo.models.conditions import (
    CONDITIONS,
    Conditions,
    ConditionSpec,
    EncodedConditions,
    find_controls,
    has_frame_tokens,
    value_or_null,
)
from emo.models.motion_components import ComponentModulation, MotionComponents
from emo.models.unet import UNet


class EMOModel(ModelMixin, ConfigMixin):
    """Backbone, ReferenceNet and the encoders of the conditions. The defaults are the sizes of Stable Diffusion 1.5.

    With `residual_scale` the diffused variable is the scaled difference to the portrait's latents, and the backbone
    reads those beside the noisy ones: a small model keeps the identity by construction. `residual_threshold` shrinks
    the difference at each place towards zero (soft thresholding), which removes faint differences that are noise rather
    than motion.
    """

    config: Any
    audio_projection: nn.Module
    face_locator: nn.Module
    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        num_attention_heads: int = 8,
        norm_num_groups: int = 32,
        audio_layers: int = 13,
        audio_feature_dim: int = 768,
        audio_tokens: int = 32,
        audio_token_dim: int | None = 768,
        audio_hidden_dim: int = 512,
        audio_margin: int = 2,
        audio_embedding: bool = False,
        frame_embedding: bool = False,
        num_frames: int = 12,
        num_motion_frames: int = 4,
        max_frames: int = 32,
        speed_margin: int = 2,
        frame_token_dim: int | None = 256,
        speed_centers: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6),
        speed_radii: tuple[float, ...] = (0.1,) * 9,
        temporal: bool = True,
        residual_scale: float | None = None,
        residual_threshold: float = 0.0,
        controls: tuple[str, ...] = (),
        reference_channels: int | None = None,
        patch_size: int = 1,
        latent_components: tuple[int, int] | None = None,
        motion_limit: float | None = None,
        motion_smoothing: float | None = None,
        first_lips: bool = False,
    ):
        """
        Args:
            latent_channels: Channels of the autoencoder's latents.
            block_out_channels: Channels of each resolution of the UNet, finest first.
            layers_per_block: ResNet blocks of a resolution in the down path; one more in the up path.
            num_attention_heads: Heads of every attention layer.
            norm_num_groups: Groups of every GroupNorm.
            audio_layers: Layers of the audio encoder's features.
            audio_feature_dim: Width of the audio encoder's features.
            audio_tokens: Audio tokens of a frame.
            audio_token_dim: Width of an audio token; None: no audio attention, for training on single frames.
            audio_hidden_dim: Width of the audio projection's hidden layers.
            audio_margin: Frames on each side whose audio features a frame gets, m of EMO, section 3.2.
            audio_embedding: Whether the audio tokens are also added to the time embedding, as a shift of every layer.
            frame_embedding: Whether the frame tokens are also added to the time embedding.
            num_frames: Frames of a window.
            num_motion_frames: Frames before a window that it attends to.
            max_frames: Entries of the temporal position table: motion frames and window together.
            speed_margin: Frames on each side whose head speed a frame gets.
            frame_token_dim: Width of a frame token; None: no speed layers.
            speed_centers: Centers of the speed buckets, rad/s.
            speed_radii: Radii of the speed buckets, rad/s.
            temporal: Whether there are temporal layers; without them frames are independent and there is no head speed.
            residual_scale: What is diffused is residual_scale * (latents - portrait's latents), so that standing still
                is 0; None: the latents themselves are diffused.
            residual_threshold: Limit of the difference's RMS over channels, in units of what is diffused; 0: no
                threshold.
            controls: Optional conditions by frame that the model has: gaze, head_pose, distance, emotion.
            reference_channels: Channels of the portrait's appearance latents, for an autoencoder whose own latents are
                the motion from the portrait; None: frames and portrait are encoded alike.
            patch_size: Latent pixels along a side that both UNets join to one; height and width must be multiples.
            latent_components: K and C H W, of the autoencoder's `emo.models.motion_components`: what the backbone reads
                and predicts is limited to these directions, outside of which noisy latents are noise alone. The
                prediction type must be "sample". None: nothing is limited.
            motion_limit: Largest motion of a generated frame, see `MotionComponents.restrain`; None: no limit.
            motion_smoothing: Share of the way that the head goes from frame to frame, see `MotionComponents.smooth`;
                None: all of it.
            first_lips: Whether the lips are those of the first step's prediction, see `choose_lips`.

        Raises:
            ValueError: When window and motion frames exceed the position table, a control is unknown, or an option
                needs another.
        """
        super().__init__()
        self._check_config()
        self.unet = UNet(**self._backbone_options())
        self.reference_net = UNet(**self._reference_options())
        self._add_encoders()
        self.components = self.modulation = None
        if latent_components:
            self.components = MotionComponents(*latent_components)
            self.modulation = ComponentModulation(4 * block_out_channels[0], latent_components[0], max_frames)

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> tuple[dict, dict, dict]:
        """Read a saved configuration, as diffusers does; also one of an earlier version, whose name it replaces."""
        renamed = {"speed_token_dim": "frame_token_dim"}
        return super().extract_init_dict({renamed.get(key, key): v for key, v in config_dict.items()}, **kwargs)

    def _check_config(self) -> None:
        config = self.config
        if config.get("audio_embedding") and config.audio_token_dim is None:
            raise ValueError("audio_embedding=true: needs an audio_token_dim")
        if config.get("frame_embedding") and not has_frame_tokens(config):
            raise ValueError("frame_embedding=true: needs temporal=true and a frame_token_dim")
        if config.num_frames + config.num_motion_frames > config.max_frames:
            frames = f"{config.num_frames} frames and {config.num_motion_frames} motion frames"
            raise ValueError(f"{frames} exceed max_frames={config.max_frames}")
        if find_controls(config.get("controls", ())) and not has_frame_tokens(config):
            raise ValueError(f"controls={list(config.controls)}: need temporal=true and a frame_token_dim")
        if config.get("reference_channels") is not None and config.get("residual_scale") is not None:
            raise ValueError("reference_channels: motion latents have no residual, leave residual_scale out")

    def _sizes(self) -> dict[str, Any]:
        names = "block_out_channels", "layers_per_block", "num_attention_heads", "norm_num_groups"
        return {name: self.config[name] for name in names} | {"patch_size": self.config.get("patch_size", 1)}

    def _backbone_options(self) -> dict[str, Any]:
        """Arguments of the backbone's UNet."""
        config = self.config
        return self._sizes() | {
            "in_channels": config.latent_channels + (self.reference_channels if self.reads_reference else 0),
            "out_channels": config.latent_channels,
            "audio_dim": config.audio_token_dim,
            "max_frames": config.max_frames if config.temporal else None,
            "frame_token_dim": config.frame_token_dim if has_frame_tokens(config) else None,
            "embedded_tokens": config.audio_tokens if config.get("audio_embedding") else None,
            "embeds_frames": bool(config.get("frame_embedding")),
        }

    def _reference_options(self) -> dict[str, Any]:
        """Arguments of the ReferenceNet's UNet."""
        motion = 0 if self.config.get("reference_channels") is None else self.config.latent_channels
        channels = {"in_channels": self.reference_channels + motion, "out_channels": None}
        return self._sizes() | channels | {"audio_dim": None, "max_frames": None}

    def _add_encoders(self) -> None:
        """Make the conditions' encoders; the order decides which random numbers each one starts with."""
        self.face_locator = CONDITIONS["face_region"].encoder(self.config)
        self.audio_projection = CONDITIONS["audio"].encoder(self.config)
        self.speed_encoder = CONDITIONS["head_speed"].encoder(self.config)
        controls = find_controls(self.config.get("controls", ()))
        self.control_encoders = nn.ModuleDict({spec.name: spec.encoder(self.config) for spec in controls})

    @property
    def reference_channels(self) -> int:
        """Channels of the portrait's latents."""
        return self.config.get("reference_channels") or self.config.latent_channels

    @property
    def reads_reference(self) -> bool:
        """Whether the backbone reads the portrait's latents beside the noisy ones."""
        return self.config.get("residual_scale") is not None or self.config.get("reference_channels") is not None

    @property
    def conditions(self) -> list[ConditionSpec]:
        """The conditions that this model has."""
        config, names = self.config, ["reference", "face_region"]
        names += ["audio"] if config.audio_token_dim is not None else []
        names += ["motion"] if config.temporal else []
        names += ["head_speed"] if self.speed_encoder is not None else []
        names += list(self.control_encoders)
        return [spec for spec in CONDITIONS.values() if spec.name in names]

    def to_diffused(self, latents: Tensor, reference: Tensor) -> Tensor:
        """Convert latents to the variable that is diffused.

        Args:
            latents: (B F C H W).
            reference: (B C H W) latents of the portrait.

        Returns:
            (B F C H W).
        """
        scale = self.config.get("residual_scale")
        return latents if scale is None else (latents - reference[:, None]) * scale

    def from_diffused(self, diffused: Tensor, reference: Tensor) -> Tensor:
        """Invert `to_diffused`, and remove what is below the threshold.

        Args:
            diffused: (B F C H W).
            reference: (B C H W) latents of the portrait.

        Returns:
            Latents (B F C H W).
        """
        scale, threshold = self.config.get("residual_scale"), self.config.get("residual_threshold")
        if self.components is not None and self.config.get("motion_limit"):
            diffused = self.components.restrain(diffused, self.config.motion_limit)
        if scale is None:
            return diffused
        if threshold:
            size = diffused.square().mean(2, keepdim=True).sqrt()  # (B F 1 H W)
            diffused = diffused * (1 - threshold / size.clamp(min=threshold))
        return diffused / scale + reference[:, None]

    def limit_guidance(self, name: str, update: Tensor) -> Tensor:
        """Take off what guidance by a condition should not amplify: lids and irises, where sound guides lips.

        Args:
            name: Name of the condition.
            update: (B F C H W), the difference that the condition makes to the prediction.

        Returns:
            (B F C H W).
        """
        return self.components.without_eyes(update) if self.components is not None and name == "audio" else update

    def choose_lips(self, sample: Tensor, first: Tensor) -> Tensor:
        """Take the own motion of the lips from the prediction of the first step, if `first_lips` says so.

        From pure noise the prediction is the mean of all motions that fit the conditions. The mean of heads does not
        move, but the sound says what the lips do: what later steps add to them is noise.

        Args:
            sample: What was sampled (B F C H W), as of `to_diffused`.
            first: The prediction of the first step, of the clean sample.

        Returns:
            (B F C H W).
        """
        if self.components is None or not self.config.get("first_lips"):
            return sample
        return self.components.replace_lips(sample, first)

    def smooth_motion(self, latents: Tensor, motion: Tensor | None) -> Tensor:
        """Smooth the head's motion in a generated window, if `motion_smoothing` says so.

        Args:
            latents: (B F C H W), of `from_diffused`.
            motion: Motion frames (B M C H W) before it; None: none.

        Returns:
            (B F C H W).
        """
        share = self.config.get("motion_smoothing")
        if self.components is None or share is None:
            return latents
        return self.components.smooth(latents, None if motion is None else motion[:, -1], share)

    @apply_forward_hook
    def encode_reference(self, reference: Tensor) -> list[Tensor | None]:
        """Run the ReferenceNet on portraits.

        Args:
            reference: (B C H W) latents of the portraits.

        Returns:
            For each layer of the UNet its reference tokens (B S C); None for a layer without spatial attention.
        """
        portrait = reference[:, None]
        if self.config.get("reference_channels") is not None:
            portrait = self._join_reference(self._zero_motion(reference, 1), reference)
        _, features = self.reference_net(portrait, reference.new_zeros(()))
        return [feature.tokens for feature in features]

    def _zero_motion(self, reference: Tensor, count: int) -> Tensor:
        """Motion latents (B count C H W) of frames that are the portrait."""
        return reference.new_zeros(len(reference), count, self.config.latent_channels, *reference.shape[2:])

    def _join_reference(self, motion: Tensor, reference: Tensor) -> Tensor:
        """Motion latents (B M C H W) as the ReferenceNet reads them: with the portrait's appearance beside them."""
        return torch.cat([motion, reference[:, None].expand(-1, motion.shape[1], -1, -1, -1)], dim=2)

    def encode_motion(self, motion: Tensor) -> list[Tensor | None]:
        """Run the ReferenceNet on motion frames, each an image of its own.

        Args:
            motion: (B M C H W) latents; a frame of zeros is missing (before EMO's first window there are none). With
                `reference_channels` motion latents and then the portrait's: none is missing.

        Returns:
            For each layer of the UNet its feature maps (B M C H W); zeros for missing frames.
        """
        _, features = self.reference_net(motion, motion.new_zeros(()))
        present = motion.ne(0).flatten(2).any(2).to(motion.dtype)[..., None, None, None]
        return [feature.map.unflatten(0, motion.shape[:2]) * present for feature in features]

    def initial_motion(self, reference: Tensor) -> Tensor:
        """Return the motion frames before the first window.

        Args:
            reference: (B C H W) latents of the portrait.

        Returns:
            (B M C H W); zeros, which is no frame, or with `reference_channels` the portrait itself.
        """
        return self._zero_motion(reference, self.config.num_motion_frames)

    @apply_forward_hook
    def encode_conditions(
        self, conditions: Conditions, shape: torch.Size, reference_tokens: list[Tensor | None] | None = None
    ) -> EncodedConditions:
        """Encode all that does not depend on the noise.

        Args:
            conditions: Conditions of the window.
            shape: (B F C H W) of the window's latents.
            reference_tokens: From `encode_reference`; None: they are computed.

        Returns:
            The encoded conditions.
        """
        if reference_tokens is None:
            reference_tokens = self.encode_field("reference_tokens", conditions, shape)
        reference = self._value(conditions, "reference", shape)
        fields = [
            "audio_tokens",
            "face_region_features",
            "identity_tokens",
            "audio_regions",
            "frame_tokens",
            "motion_maps",
        ]
        encoded = {field: self.encode_field(field, conditions, shape) for field in fields}
        latents = {"reference_latents": reference, "motion_frames": conditions.motion}
        return EncodedConditions(reference_tokens=reference_tokens, **latents, **encoded)

    @apply_forward_hook
    def encode_without(
        self, encoded: EncodedConditions, conditions: Conditions, shape: torch.Size, names: Sequence[str]
    ) -> EncodedConditions:
        """Encode the conditions with some of them null, computing only what changes.

        Args:
            encoded: Encoding of all the conditions, from `encode_conditions`.
            conditions: Conditions of the window.
            shape: (B F C H W) of the window's latents.
            names: Names of the conditions to leave out.

        Returns:
            The encoded conditions without them.
        """
        without = replace(conditions, **dict.fromkeys(names))
        fields = {CONDITIONS[name].enters for name in names}
        changed = {field: self.encode_field(field, without, shape) for field in sorted(fields)}
        if "reference" in names:
            changed["reference_latents"] = self._value(without, "reference", shape)
        if "motion" in names:
            changed["motion_frames"] = None
        return replace(encoded, **changed)

    def _value(self, conditions: Conditions, name: str, shape: torch.Size) -> Tensor:
        device = conditions.device or self.device
        return value_or_null(conditions, name, self.config, shape, device, self.dtype)

    def encode_field(self, field: str, conditions: Conditions, shape: torch.Size) -> Any:
        """Encodes one field of EncodedConditions.

        Args:
            field: Name of the field.
            conditions: Conditions of the window.
            shape: (B F C H W) of the window's latents.

        Returns:
            The field's value.
        """
        return getattr(self, f"_encode_{field}")(conditions, shape)

    def _encode_reference_tokens(self, conditions: Conditions, shape: torch.Size) -> list[Tensor | None]:
        return self.encode_reference(self._value(conditions, "reference", shape))

    def _encode_audio_tokens(self, conditions: Conditions, shape: torch.Size) -> Tensor | None:
        return self.audio_projection(self._value(conditions, "audio", shape))

    def _encode_face_region_features(self, conditions: Conditions, shape: torch.Size) -> Tensor:
        return self.face_locator(self._value(conditions, "face_region", shape))

    def _encode_identity_tokens(self, conditions: Conditions, shape: torch.Size) -> Tensor | None:
        return None

    def _encode_audio_regions(self, conditions: Conditions, shape: torch.Size) -> Any:
        return None

    def _encode_frame_tokens(self, conditions: Conditions, shape: torch.Size) -> Tensor | None:
        if self.speed_encoder is None:
            return None
        tokens = self.speed_encoder(self._value(conditions, "head_speed", shape))
        for name, encoder in self.control_encoders.items():
            tokens = tokens + encoder(self._value(conditions, name, shape), shape[1])
        return tokens

    def _encode_motion_maps(self, conditions: Conditions, shape: torch.Size) -> list[Tensor | None] | None:
        if not self.config.temporal:
            return None
        if self.config.get("reference_channels") is not None:
            reference, motion = (self._value(conditions, name, shape) for name in ("reference", "motion"))
            return self.encode_motion(self._join_reference(self._limit(motion), reference))
        if conditions.motion is None:  # the maps of missing frames are zeros
            zeros = self._value(conditions, "reference", shape).new_zeros(
                shape[0], self.config.num_motion_frames, 1, 1, 1
            )
            return [zeros for _ in self.reference_net.levels]
        return self.encode_motion(conditions.motion)

    def forward(
        self, sample: Tensor, timestep: Tensor, conditions: Conditions, encoded: EncodedConditions | None = None
    ) -> Tensor:
        """Predict what the scheduler's `prediction_type` says: the noise, the clean latents or the velocity.

        Args:
            sample: Noisy latents (B F C H W), as of `to_diffused`.
            timestep: () or (B,).
            conditions: Conditions of the window.
            encoded: From `encode_conditions`; None: they are encoded here, as in training.

        Returns:
            (B F C H W).
        """
        encoded = self.encode_conditions(conditions, sample.shape) if encoded is None else encoded
        noisy = sample = self._limit(sample)
        if self.reads_reference:
            reference = encoded.reference_latents[:, None].expand(-1, sample.shape[1], -1, -1, -1)
            sample = torch.cat([sample, reference], dim=2)
        identity = encoded.identity_tokens
        identity = None if identity is None else identity[:, None].expand(-1, sample.shape[1], -1, -1)
        prediction, _ = self.unet(
            sample,
            timestep,
            encoded.audio_tokens,
            encoded.reference_tokens,
            encoded.motion_maps,
            encoded.frame_tokens,
            encoded.face_region_features,
            identity,
            encoded.audio_regions,
        )
        if self.modulation is None:
            return prediction
        emb = self.unet.embed_frames(noisy, timestep, encoded.audio_tokens, encoded.frame_tokens)
        return self._limit(prediction) + self.modulation(noisy, emb, encoded.motion_frames, self.components)

    def _limit(self, latents: Tensor) -> Tensor:
        """Limit latents (B F C H W) to the components, if there are any."""
        return self.components.limit(latents) if self.components else latents
