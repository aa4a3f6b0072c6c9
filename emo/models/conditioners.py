"""Encoders of the weak conditions: face region, identity, head speed, and the controls by frame.

Shapes: B clips, F frames, m frames of margin, H x W latent pixels, K speed buckets, E width of a frame token, I
identity tokens of width D.
"""

from typing import cast

import torch
from torch import Tensor, nn

from emo.models.layers import zero_module


class FaceLocator(nn.Module):
    """Encodes the region of the face as features that are added after the UNet's first convolution (EMO, section 3.2).

    Its last convolution starts at zero, so a new locator changes nothing.
    """

    def __init__(self, dim: int, widths: tuple[int, int] = (16, 32)):
        """
        Args:
            dim: Channels of the features.
            widths: Channels of the hidden convolutions.
        """
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(widths[0], widths[1], 3, padding=1),
            nn.SiLU(),
            zero_module(nn.Conv2d(widths[1], dim, 3, padding=1)),
        )

    def forward(self, face_region: Tensor) -> Tensor:
        """Encode the region.

        Args:
            face_region: (B 1 H W), 1 where the face may be, 0 elsewhere.

        Returns:
            (B dim H W).
        """
        return self.net(face_region)


class PixelFaceLocator(nn.Module):
    """A face locator whose input is a mask in pixels; each width halves the resolution (Hallo, arXiv 2406.08801)."""

    def __init__(self, dim: int, widths: tuple[int, ...]):
        """
        Args:
            dim: Channels of the features.
            widths: Channels from the finest resolution to the coarsest.
        """
        super().__init__()
        pairs = zip(widths[:-1], widths[1:], strict=True)
        steps = [((i, i, 1), (i, o, 2)) for i, o in pairs]
        shapes = [(3, widths[0], 1), *(shape for step in steps for shape in step)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, stride=stride, padding=1) for i, o, stride in shapes)
        self.out = zero_module(nn.Conv2d(widths[-1], dim, 3, padding=1))

    def forward(self, face_region: Tensor) -> Tensor:
        """Encode the region.

        Args:
            face_region: (B 1 sH sW), s = 2 ** (len(widths) - 1), 1 where the face may be.

        Returns:
            (B dim H W).
        """
        x = face_region.expand(-1, 3, -1, -1)  # it was trained on RGB images of masks
        for conv in self.convs:
            x = nn.functional.silu(conv(x))
        return self.out(x)


class IdentityProjection(nn.Module):
    """Projects a face embedding to identity tokens (IP-Adapter, arXiv 2308.06721)."""

    def __init__(self, dim: int, num_tokens: int, token_dim: int):
        """
        Args:
            dim: Size of the embedding.
            num_tokens, token_dim: Number and width of the tokens.
        """
        super().__init__()
        self.num_tokens = num_tokens
        self.proj, self.norm = nn.Linear(dim, num_tokens * token_dim), nn.LayerNorm(token_dim)

    def forward(self, identity: Tensor) -> Tensor:
        """Project face embeddings.

        Args:
            identity: (... dim).

        Returns:
            (... I D).
        """
        return self.norm(self.proj(identity).unflatten(-1, (self.num_tokens, -1)))


class HeadSpeedEncoder(nn.Module):
    """Encodes head speed as one token per frame, from speed buckets of the frames around it (EMO, section 3.2).

    An unknown speed, NaN, is zero in every bucket.
    """

    def __init__(self, centers: tuple[float, ...], radii: tuple[float, ...], margin: int, dim: int):
        """
        Args:
            centers, radii: Centers and radii of the K buckets, rad/s.
            margin: Frames on each side of a frame.
            dim: Width of a
        token.
        """
        super().__init__()
        self.centers, self.radii, self.margin = tuple(centers), tuple(radii), margin
        self.mlp = nn.Sequential(nn.Linear((2 * margin + 1) * len(self.centers), dim), nn.SiLU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim)

    def buckets(self, head_speed: Tensor) -> Tensor:
        """Bucket values of EMO, equation 3: tanh((speed - center) / radius * 3).

        Args:
            head_speed: (...) rad/s.

        Returns:
            (... K) in [-1, 1]; zeros where the speed is NaN.
        """
        centers, radii = (torch.tensor(x, device=head_speed.device) for x in (self.centers, self.radii))
        excitation = torch.tanh((head_speed[..., None].float() - centers) / radii * 3)
        return excitation.nan_to_num(0.0)

    def forward(self, head_speed: Tensor) -> Tensor:
        """Encode head speed.

        Args:
            head_speed: (B F+2m) rad/s, with m more frames on each side.

        Returns:
            (B F E).
        """
        windows = self.buckets(head_speed).unfold(1, 2 * self.margin + 1, 1)  # (B F K 2m+1)
        return self.norm(self.mlp(windows.flatten(2).to(cast(nn.Linear, self.mlp[0]).weight.dtype)))


class ControlEncoder(nn.Module):
    """Encodes a control (gaze, head pose, ...) as one token per frame, which is added to that of the head speed.

    A control of which no component is known (NaN) gives zeros, and so does a new encoder: a model that gains a control
    starts as it was.
    """

    def __init__(self, num_components: int, dim: int, neutral: float = 0.0, deviation: float = 1.0):
        """
        Args:
            num_components: Numbers per frame.
            dim: Width of a token.
            neutral: Value that leaves the portrait as it is.
            deviation: How far values usually are from that.
        """
        super().__init__()
        self.neutral, self.deviation = neutral, deviation
        self.mlp = nn.Sequential(nn.Linear(2 * num_components, dim), nn.SiLU(), zero_module(nn.Linear(dim, dim)))

    def forward(self, values: Tensor, num_frames: int) -> Tensor:
        """Encode the control.

        Args:
            values: (B F D), or (B D) for all frames; NaN where unknown.

        Returns:
            (B num_frames E).
        """
        values = values if values.ndim == 3 else values[:, None].expand(-1, num_frames, -1)
        known = values.isfinite()
        scaled = (values - self.neutral) / self.deviation
        inputs = torch.cat([scaled.nan_to_num(0.0), known.to(values)], dim=-1)
        return self.mlp(inputs.to(cast(nn.Linear, self.mlp[0]).weight.dtype)) * known.any(-1, keepdim=True)
