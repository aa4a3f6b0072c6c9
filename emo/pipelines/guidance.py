"""Classifier-free guidance (arXiv 2207.12598): beyond what is heard, away from what is said in silence, or of nobody.

Shapes: B clips, F frames, M motion frames, C H W latents.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from emo.models.emo import Conditions, EMOModel, Seen


@dataclass(frozen=True)
class Guidance:
    """How a model's prediction is guided; without guidance it is the prediction itself and costs half."""

    scale: float = 1.0  # how much further to go with the sound than without it; 1: no guidance
    threshold: float = 0.0  # of what the sound changes in a frame (RMS), as in APG (2410.02416); 0: without end
    identity: bool = False  # away from nobody's silence, as Hallo does: without portrait, face, region and sound

    def look(
        self, model: EMOModel, conditions: Conditions, shape: torch.Size, portrait: list[Tensor | None] | None = None
    ) -> list[Seen]:
        """All that does not depend on the noise, for latents of `shape` (B F C H W), with what guides and without it.

        portrait: what `look_at_portrait` gave, where it is known already.
        """
        if self.scale != 1 and self.identity:
            portrait = self.look_at_portrait(model, conditions) if portrait is None else portrait
            return look_past_identity(model, conditions, shape, portrait)
        seen = model.look(conditions, shape, portrait)
        if self.scale == 1:
            return [seen]
        return [seen, replace(seen, audio=model.audio_projection(torch.zeros_like(conditions.audio)))]

    def look_at_portrait(self, model: EMOModel, conditions: Conditions) -> list[Tensor | None]:
        """For each layer of the UNet the portrait's tokens, which all windows of a video share (see `Seen`)."""
        reference, own = conditions.reference, conditions.identity
        if self.scale == 1 or not self.identity:
            return model.look_at_portrait(reference, own)
        nobodys, owns = (model.look_at_portrait(reference, whose) for whose in (None, own))
        return [None if a is None else torch.stack([a, b], dim=1) for a, b in zip(nobodys, owns, strict=True)]

    def predict(
        self, model: EMOModel, sample: Tensor, timestep: Tensor, conditions: Conditions, seen: list[Seen]
    ) -> Tensor:
        """Noisy latents (B F C H W), timestep () or (B,), what `look` gave -> the guided prediction (B F C H W)."""
        heard, *silent = [model(sample, timestep, conditions, one) for one in seen]
        return heard + (self.scale - 1) * limited(heard - silent[0], self.threshold) if silent else heard


def look_past_identity(
    model: EMOModel, conditions: Conditions, shape: torch.Size, portrait: list[Tensor | None]
) -> list[Seen]:
    """With everything, and with the motion frames alone: no portrait, audio tokens of zeros, nobody's face, no region.

    Hallo's ReferenceNet is told, in turn, of nobody and of the portrait's face: of frame after frame the portrait's own
    tokens, and of one motion frame after the other; without guidance's half the other way round. So its authors run it.
    """
    own = conditions.identity
    turns = torch.arange(model.config.num_motion_frames, device=own.device) % 2  # (M,)
    told, other = (turn[None, :, None] * own[:, None] for turn in (turns, 1 - turns))  # (B M G)
    seen = model.look(replace(conditions, motion_identity=told), shape, portrait)
    motion = model.look_before(replace(conditions, motion_identity=other), seen.latents, len(portrait))
    silence, nowhere = torch.zeros_like(seen.audio), torch.zeros_like(seen.located)
    nobody = model.identify(None, len(own))
    return [seen, replace(seen, reference=None, audio=silence, located=nowhere, identity=nobody, motion=motion)]


def limited(update: Tensor, threshold: float) -> Tensor:
    """update (B F C H W), each frame scaled down to an RMS of at most `threshold`; 0 is no limit."""
    size = update.square().mean((2, 3, 4), keepdim=True).sqrt()
    return update * (threshold / size).clamp(max=1) if threshold else update
