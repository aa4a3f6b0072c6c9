"""Principal components of motion latents, which bring the head's motion and the lips' to comparable size.

A turn of the head moves every latent, lips and lids few of them: of the latents' power about a hundredth is lips. A
diffusion model that is trained on such latents learns heads and leaves the mouth at its mean. So latents are limited to
the directions in which footage moves, and each direction is scaled so that strong and weak ones differ less. Both are
linear: latents of no motion stay zero, and a mean of two motions stays a smaller motion. What a sampler adds outside of
these directions is dropped when latents are decoded.

Shapes: N frames, C h w latents, K components.
"""

from typing import cast

import torch
from torch import Tensor, nn

LARGEST = 6.0  # deviation of the first component's scaled coordinate, beside noise of deviation 1
COMPRESSION = 0.5  # a component of a tenth of the first one's deviation gets 0.1 ** COMPRESSION of LARGEST


class MotionComponents(nn.Module):
    """Limits latents to their principal components and scales these, and the way back."""

    basis: Tensor  # (K C*h*w) orthonormal rows
    gains: Tensor  # (K,)

    def __init__(self, count: int, size: int):
        """
        Args:
            count: K.
            size: C h w.
        """
        super().__init__()
        self.register_buffer("basis", torch.zeros(count, size))
        self.register_buffer("gains", torch.ones(count))

    @classmethod
    def fit(cls, latents: Tensor, count: int) -> "MotionComponents":
        """Fit the components to unscaled latents of footage.

        Args:
            latents: (N C h w).
            count: K; less if there are fewer frames than that.

        Returns:
            The components, those of the largest second moments. (The moments are about zero, not about the mean, so
            that the portrait stays at zero.)
        """
        rows = latents.flatten(1).double()
        moments, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        count = min(count, len(rows), int((moments > 1e-9 * moments[-1]).sum()))
        deviations = moments.flip(0)[:count].sqrt()
        fitted = cls(count, rows.shape[1])
        fitted.basis.copy_(directions.flip(1)[:, :count].T)
        fitted.gains.copy_(LARGEST * (deviations / deviations[0]) ** COMPRESSION / deviations)
        return fitted.to(latents)

    def scale(self, latents: Tensor) -> Tensor:
        """Limit latents (N C h w) to the components and scale these."""
        return self._scale(latents, cast(Tensor, self.gains))

    def unscale(self, latents: Tensor) -> Tensor:
        """Undo `scale`; what lies outside of the components is dropped."""
        return self._scale(latents, 1 / cast(Tensor, self.gains))

    def limit(self, latents: Tensor) -> Tensor:
        """Drop what lies outside of the components from scaled latents (... C h w)."""
        return self._scale(latents, torch.ones_like(self.gains))

    def restrain(self, latents: Tensor, limit: float) -> Tensor:
        """Scale motion that is larger than footage's down to it, so that errors of a sampler can't grow.

        Args:
            latents: (... C h w), scaled.
            limit: Largest RMS of a frame's coordinates, in their deviations over footage.

        Returns:
            (... C h w) scaled.
        """
        deviations = LARGEST * self.gains[0] / self.gains
        coordinates = latents.flatten(-3).to(self.basis.dtype) @ self.basis.T / deviations
        size = coordinates.square().mean(-1).sqrt()[..., None, None, None]
        return latents * (limit / size.clamp(min=limit)).to(latents.dtype)

    def _scale(self, latents: Tensor, gains: Tensor) -> Tensor:
        coordinates = latents.flatten(-3).to(self.basis.dtype) @ self.basis.T
        return ((coordinates * gains) @ self.basis).view_as(latents).to(latents.dtype)
