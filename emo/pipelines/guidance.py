"""How windows are denoised and joined: classifier-free guidance (arXiv 2207.12598), sampling options, and the fade.

The guided prediction is p + sum over guided conditions c of (scale_c - 1) * (p - p_without_c), where p is the
prediction with all conditions (the sum is that of VASA-1, arXiv 2404.10667, section 3.2). Each guided condition costs
one more forward pass.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from emo.core.errors import InputError
from emo.models.conditions import Conditions, ConditionSpec, EncodedConditions
from emo.models.emo import EMOModel

StepCallback = Callable[..., dict] | PipelineCallback | MultiPipelineCallbacks


@dataclass(frozen=True)
class Guidance:
    """How a model's prediction is guided; without guidance it is the prediction itself.

    Attributes:
        scale: Guidance scale of the audio; 1: no guidance.
        threshold: Limit of an update's RMS in each frame, as in APG (arXiv 2410.02416); 0: no limit.
        condition_scales: Name -> scale of other conditions; 1: no guidance.
    """

    scale: float = 1.0
    threshold: float = 0.0
    condition_scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def scales(self) -> dict[str, float]:
        """Name -> scale of the conditions that guide."""
        return {name: scale for name, scale in {"audio": self.scale, **self.condition_scales}.items() if scale != 1}

    def encode_reference(self, model: EMOModel, conditions: Conditions) -> list[Tensor | None]:
        """Run the ReferenceNet on the portrait, once for all windows.

        Args:
            model: The model whose prediction is guided.
            conditions: Conditions with the portrait's latents.

        Returns:
            The reference tokens of each layer.
        """
        return model.encode_reference(conditions.reference)

    def encode_conditions(
        self,
        model: EMOModel,
        conditions: Conditions,
        shape: torch.Size,
        reference_tokens: list[Tensor | None] | None = None,
    ) -> list[EncodedConditions]:
        """Encode all that does not depend on the noise, for every forward pass of a step.

        Args:
            model: The model whose prediction is guided.
            conditions: Conditions of the window.
            shape: (B F C H W) of the window's latents.
            reference_tokens: From `encode_reference`; None: they are computed.

        Returns:
            The encoded conditions: all of them, then for each guided condition all but that one.
        """
        encoded = model.encode_conditions(conditions, shape, reference_tokens)
        return [encoded, *(model.encode_without(encoded, conditions, shape, [name]) for name in self.scales)]

    def predict(
        self,
        model: EMOModel,
        sample: Tensor,
        timestep: Tensor,
        conditions: Conditions,
        encoded: list[EncodedConditions],
    ) -> Tensor:
        """Make the forward passes of a step and combine them.

        Args:
            model: The model whose prediction is guided.
            sample: Noisy latents (B F C H W).
            timestep: () or (B,).
            conditions: Conditions of the window.
            encoded: From `encode_conditions`.

        Returns:
            The guided prediction (B F C H W).
        """
        full, *without = [model(sample, timestep, conditions, one) for one in encoded]
        guided = full
        for (name, scale), other in zip(self.scales.items(), without, strict=True):
            update = model.limit_guidance(name, full - other)
            guided = guided + (scale - 1) * limit_rms(update, self.threshold)
        return guided


def make_guidance(
    scale: float, threshold: float, conditions: Iterable[ConditionSpec], condition_scales: Mapping[str, float]
) -> Guidance:
    """Make the guidance that a call asks for.

    Args:
        scale: Guidance scale of the audio.
        threshold: Limit of an update's RMS in each frame; 0: no limit.
        conditions: The conditions that the model has, with the scales of those that are not given.
        condition_scales: Name -> scale of other conditions.

    Returns:
        The guidance.

    Raises:
        InputError: For a name that is not one of the conditions.
    """
    known = {spec.name: spec.guidance_scale for spec in conditions if spec.name != "audio"}
    if unknown := [name for name in condition_scales if name not in known]:
        raise InputError(f"condition_scales={unknown[0]} is not a condition of this model: it has {', '.join(known)}")
    return Guidance(scale, threshold, known | dict(condition_scales))


def limit_rms(update: Tensor, threshold: float) -> Tensor:
    """Scale each frame's update down to an RMS of at most a threshold.

    Args:
        update: (B F C H W).
        threshold: Largest RMS; 0: no limit.

    Returns:
        (B F C H W).
    """
    size = update.square().mean((2, 3, 4), keepdim=True).sqrt()
    return update * (threshold / size).clamp(max=1) if threshold else update


@dataclass(frozen=True)
class SamplingOptions:
    """How windows are denoised.

    Attributes:
        num_inference_steps: Denoising steps of a window.
        guidance: Classifier-free guidance of the predictions.
        generator: Random generator of the noise.
        eta: Parameter eta of DDIM (arXiv 2010.02502, equation 16).
        callback: Called as (pipeline, step, timestep, tensors) after each step; returns a dict of tensors to go on
            with.
        callback_tensor_inputs: Names of the tensors that the callback gets.
    """

    num_inference_steps: int
    guidance: "Guidance"
    generator: torch.Generator | None = None
    eta: float = 0.0
    callback: StepCallback | None = None
    callback_tensor_inputs: tuple[str, ...] = ("latents",)


def crossfade(previous: Tensor, window: Tensor) -> Tensor:
    """Fades from the end of one window to the beginning of the next, linearly.

    Args:
        previous: (1 N C h w), the last frames of the window before.
        window: (1 F C h w), whose first N frames are of the same times.

    Returns:
        (1 F C h w).
    """
    count = previous.shape[1]
    share = ((torch.arange(count, device=window.device) + 0.5) / max(1, count)).to(window).view(1, -1, 1, 1, 1)
    faded = torch.lerp(previous, window[:, :count], share)
    return torch.cat([faded, window[:, count:]], dim=1)
