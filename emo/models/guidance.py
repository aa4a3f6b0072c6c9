"""Classifier-free guidance by the sound (arXiv 2207.12598): beyond what is heard, away from what is said in silence.

Shapes: B clips, F frames, C H W latents.
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

    def look(
        self, model: EMOModel, conditions: Conditions, shape: torch.Size, portrait: list[Tensor | None] | None = None
    ) -> list[Seen]:
        """All that does not depend on the noise, for latents of `shape` (B F C H W), with the sound and without it.

        portrait: what `look_at_portrait` gave, where it is known already.
        """
        seen = model.look(conditions, shape, portrait)
        if self.scale == 1:
            return [seen]
        return [seen, replace(seen, audio=model.audio_projection(torch.zeros_like(conditions.audio)))]

    def predict(
        self, model: EMOModel, sample: Tensor, timestep: Tensor, conditions: Conditions, seen: list[Seen]
    ) -> Tensor:
        """Noisy latents (B F C H W), timestep () or (B,), what `look` gave -> the guided prediction (B F C H W)."""
        heard, *silent = [model(sample, timestep, conditions, one) for one in seen]
        return heard + (self.scale - 1) * limited(heard - silent[0], self.threshold) if silent else heard


def limited(update: Tensor, threshold: float) -> Tensor:
    """update (B F C H W), each frame scaled down to an RMS of at most `threshold`; 0 is no limit."""
    size = update.square().mean((2, 3, 4), keepdim=True).sqrt()
    return update * (threshold / size).clamp(max=1) if threshold else update
