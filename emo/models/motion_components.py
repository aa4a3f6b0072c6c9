"""Principal components of motion fields, which bring the motion of head, lips and eyelids to comparable size.

A turn of the head moves every cell of the motion field, lips and lids few of them: of the field's power about a
hundredth is lips, and less are lids. A diffusion model that is trained on such latents learns heads and leaves mouths
and lids at their mean. So latents are limited to the directions in which footage moves, found in fields whose cells at
the eyes and the mouth count more, and each direction is scaled so that strong and weak ones differ less. All of it is
linear: latents of no motion stay zero, and a mean of two motions stays a smaller motion. What a sampler adds outside of
these directions is dropped when latents are decoded.

Shapes: N frames, C h w latents, D = C*h*w, K components, M cells of the motion field along a side.
"""

from typing import cast

import torch
from torch import Tensor, nn

from emo.models.layers import zero_module

LARGEST = 6.0  # deviation of the first component's scaled coordinate, beside noise of deviation 1
COMPRESSION = 0.25  # a component of a tenth of the first one's deviation gets 0.1 ** COMPRESSION of LARGEST
NUM_SHARES = 7  # noisy frames that a frame's denoised coordinate is made of: itself and three on each side
RIDGE = 1e-3  # of least squares, over the mean square of the motion that a latent of 1 causes


class MotionComponents(nn.Module):
    """Limits latents to the principal components of motion and scales these, and the way back.

    Coordinates are those of the motion field, so latents that cause the same motion give the same coordinates. Scaled
    latents have them along `basis`: orthonormal, so that noise of deviation 1 is noise of deviation 1 in each.
    """

    basis: Tensor  # (K D) orthonormal rows, of scaled latents
    reading: Tensor  # (K D): latents -> coordinates
    writing: Tensor  # (K D): coordinates -> latents
    gains: Tensor  # (K,) of the coordinates in scaled latents
    parts: Tensor  # (K K) orthogonal projection to the own motion of lips, lids and irises; zeros: unknown
    eyes: Tensor  # (K K) the same of lids and irises alone

    def __init__(self, count: int, size: int):
        """
        Args:
            count: K.
            size: D.
        """
        super().__init__()
        for name in ("basis", "reading", "writing"):
            self.register_buffer(name, torch.zeros(count, size))
        self.register_buffer("gains", torch.ones(count))
        for name in ("parts", "eyes"):
            self.register_buffer(name, torch.zeros(count, count))

    @classmethod
    def fit(cls, latents: Tensor, motion: Tensor, weights: Tensor, count: int) -> "MotionComponents":
        """Fit the components to unscaled latents of footage.

        Args:
            latents: (N C h w).
            motion: (D 2*M*M), the motion field that each latent causes.
            weights: (M M) of the field's cells.
            count: K; less if there are fewer frames or directions than that.

        Returns:
            The components, those of the largest second moments. (The moments are about zero, not about the mean, so
            that the portrait stays at zero.)
        """
        flat = weights.flatten().repeat(2).double()
        weighted, rows = motion.double() * flat, latents.flatten(1).double()
        fields = rows @ weighted  # (N 2*M*M)
        moments, left = torch.linalg.eigh(fields @ fields.T / len(fields))
        count = min(count, int((moments > 1e-9 * moments[-1]).sum()))
        deviations, left = moments.flip(0)[:count].sqrt(), left.flip(1)[:, :count]
        directions = left.T @ fields / (deviations[:, None] * len(fields) ** 0.5)  # (K 2*M*M) orthonormal
        writing = solve_motion(motion.double(), directions / flat)
        shapes = writing / writing.norm(dim=1, keepdim=True)
        left, _, right = torch.linalg.svd(shapes, full_matrices=False)  # the orthonormal basis that is nearest to them
        fitted = cls(count, rows.shape[1]).double()
        fitted.basis.copy_(left @ right)
        fitted.reading.copy_(directions @ weighted.T)
        fitted.writing.copy_(writing)
        fitted.gains.copy_(LARGEST * (deviations / deviations[0]) ** COMPRESSION / deviations)
        return fitted.to(latents)

    @property
    def deviations(self) -> Tensor:
        """Deviations (K,) of the scaled coordinates over footage."""
        gains = cast(Tensor, self.gains)
        return LARGEST * (gains[0] / gains) ** (COMPRESSION / (1 - COMPRESSION))

    def scale(self, latents: Tensor) -> Tensor:
        """Limit latents (N C h w) to the components and scale these."""
        coordinates = latents.flatten(-3).to(self.basis.dtype) @ self.reading.T
        return self.place(coordinates).view_as(latents).to(latents.dtype)

    def place(self, coordinates: Tensor) -> Tensor:
        """Return scaled latents (N D) of coordinates (N K)."""
        return (coordinates * self.gains) @ self.basis

    def unscale(self, latents: Tensor) -> Tensor:
        """Return latents (N C h w) that cause the motion of scaled ones; outside of the components it is dropped."""
        coordinates = latents.flatten(-3).to(self.basis.dtype) @ self.basis.T
        return ((coordinates / self.gains) @ self.writing).view_as(latents).to(latents.dtype)

    def limit(self, latents: Tensor) -> Tensor:
        """Drop what lies outside of the components from scaled latents (... C h w)."""
        coordinates = latents.flatten(-3).to(self.basis.dtype) @ self.basis.T
        return (coordinates @ self.basis).view_as(latents).to(latents.dtype)

    def restrain(self, latents: Tensor, limit: float) -> Tensor:
        """Scale motion that is larger than footage's down to it, so that errors of a sampler can't grow.

        Args:
            latents: (... C h w), scaled.
            limit: Largest RMS of a frame's coordinates, in their deviations over footage.

        Returns:
            (... C h w) scaled.
        """
        coordinates = latents.flatten(-3).to(self.basis.dtype) @ self.basis.T / self.deviations
        size = coordinates.square().mean(-1).sqrt()[..., None, None, None]
        return latents * (limit / size.clamp(min=limit)).to(latents.dtype)

    def without_eyes(self, latents: Tensor) -> Tensor:
        """Take the own motion of lids and irises off scaled latents (... C h w)."""
        coordinates = latents.flatten(-3) @ self.basis.T.to(latents.dtype)
        eyes = coordinates @ self.eyes.to(latents.dtype)
        return latents - (eyes @ self.basis.to(latents.dtype)).view_as(latents)

    def replace_lips(self, latents: Tensor, others: Tensor) -> Tensor:
        """Replace the own motion of the lips in scaled latents by that of others, both (... C h w)."""
        basis = self.basis.to(latents.dtype)
        lips = (others - latents).flatten(-3) @ basis.T @ (self.parts - self.eyes).to(basis.dtype)
        return latents + (lips @ basis).view_as(latents)

    def smooth(self, latents: Tensor, last: Tensor | None, share: float) -> Tensor:
        """Smooth the motion of the head over time: each frame goes a share of the way from the one before.

        What a sampler adds to one frame and not to the next makes a head tremble. Lips, lids and irises are quick, and
        are not smoothed.

        Args:
            latents: (B F C h w), scaled.
            last: (B C h w) the frame before; None: the portrait.
            share: Of the way, 0 to 1.

        Returns:
            (B F C h w).
        """
        basis = self.basis.to(latents.dtype)
        coordinates = latents.flatten(-3) @ basis.T  # (B F K)
        before = torch.zeros_like(coordinates[:, 0]) if last is None else last.flatten(1).to(basis.dtype) @ basis.T
        head = torch.eye(len(basis)).to(basis) - self.parts.to(basis)
        smoothed, before = [], before @ head
        for frame in (coordinates @ head).unbind(1):
            before = torch.lerp(before, frame, share)
            smoothed.append(before)
        moved = torch.stack(smoothed, dim=1) - coordinates @ head
        return latents + (moved @ basis).view_as(latents)


class ComponentModulation(nn.Module):
    """Adds to a prediction, for each component, shares of the noisy coordinates of the frame and its neighbors, a share
    of the last motion frame's and a shift, all by frame.

    They are read from the embedding of timestep and conditions, as scale and shift of the last layer of DiT are (arXiv
    2212.09748, section 3.2). The shares alone can be the best linear denoiser at every noise level, over time too, and
    go on from the frames before; the shift can follow audio and controls. What remains is left to the UNet, whose
    attention learns such plain relations far more slowly. A new one changes nothing.
    """

    def __init__(self, emb_dim: int, count: int, max_frames: int):
        """
        Args:
            emb_dim: Width of the embedding.
            count: K.
            max_frames: Most frames of a window.
        """
        super().__init__()
        self.position, self.motion_in = nn.Embedding(max_frames, emb_dim), nn.Linear(count + 1, emb_dim)
        self.hidden, self.out = nn.Linear(emb_dim, emb_dim), zero_module(nn.Linear(emb_dim, (NUM_SHARES + 2) * count))

    def forward(self, latents: Tensor, emb: Tensor, motion: Tensor | None, components: MotionComponents) -> Tensor:
        """Compute what is added.

        Args:
            latents: Noisy latents (B F C h w), scaled.
            emb: (BF emb_dim).
            motion: Motion frames (B M C h w), scaled; None, or zeros: none.
            components: The K components.

        Returns:
            (B F C h w).
        """
        basis, num_frames = components.basis.to(latents.dtype), latents.shape[1]
        coordinates = latents.flatten(-3) @ basis.T  # (B F K)
        last = coordinates.new_zeros(len(latents), 1, coordinates.shape[-1])
        if motion is not None:
            last = motion[:, -1:].flatten(-3).to(basis.dtype) @ basis.T  # (B 1 K)
        known = last.ne(0).any(-1, keepdim=True).to(last.dtype)
        frames = self.position(torch.arange(num_frames, device=latents.device))
        emb = emb.unflatten(0, (-1, num_frames)) + frames + self.motion_in(torch.cat([last / LARGEST, known], dim=-1))
        values = self.out(nn.functional.silu(self.hidden(nn.functional.silu(emb))))
        kept, shift, shares = values.split([len(basis), len(basis), NUM_SHARES * len(basis)], dim=-1)
        reach = NUM_SHARES // 2
        neighbors = nn.functional.pad(coordinates, (0, 0, reach, reach)).unfold(1, NUM_SHARES, 1)  # (B F K shares)
        denoised = (shares.unflatten(-1, (len(basis), NUM_SHARES)) * neighbors).sum(-1)
        return ((denoised + kept * last + shift) @ basis).view_as(latents)


def solve_motion(motion: Tensor, fields: Tensor) -> Tensor:
    """Find the smallest latents that cause motion fields, by least squares with a ridge.

    Args:
        motion: (D 2*M*M), the field that each latent causes.
        fields: (N 2*M*M).

    Returns:
        (N D).
    """
    normal = motion @ motion.T
    normal.diagonal().add_(RIDGE * normal.diagonal().mean())
    return torch.cholesky_solve(motion @ fields.T, torch.linalg.cholesky(normal)).T
