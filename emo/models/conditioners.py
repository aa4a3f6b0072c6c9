"""The weak conditions: where the face may be, how fast the head turns, and whose face it is.

Shapes: B clips, F frames, m margin, H x W latent pixels, K buckets, E width of a speed token, I identity tokens of
width D.
"""

import torch
from torch import Tensor, nn

from emo.models.layers import zeroed


class FaceLocator(nn.Module):
    """The region of the face -> what is added after the UNet's first convolution (EMO, section 3.2).

    All ones, anywhere, is the null. A fresh locator changes nothing.
    """

    def __init__(self, dim: int, widths: tuple[int, int] = (16, 32)):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(widths[0], widths[1], 3, padding=1),
            nn.SiLU(),
            zeroed(nn.Conv2d(widths[1], dim, 3, padding=1)),
        )

    def forward(self, face_region: Tensor) -> Tensor:
        """(B 1 H W), 1 where the face may be, 0 elsewhere -> (B dim H W)."""
        return self.net(face_region)


class PixelLocator(nn.Module):
    """A face locator that sees the region in pixels, and halves them with each width (Hallo, arXiv 2406.08801)."""

    def __init__(self, dim: int, widths: tuple[int, ...]):
        super().__init__()
        pairs = zip(widths[:-1], widths[1:], strict=True)
        steps = [((i, i, 1), (i, o, 2)) for i, o in pairs]
        shapes = [(3, widths[0], 1), *(shape for step in steps for shape in step)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, stride=stride, padding=1) for i, o, stride in shapes)
        self.out = zeroed(nn.Conv2d(widths[-1], dim, 3, padding=1))

    def forward(self, face_region: Tensor) -> Tensor:
        """(B 1 sH sW), 1 where the face may be, of s = 2 ** (len(widths) - 1) pixels a latent -> (B dim H W)."""
        x = face_region.expand(-1, 3, -1, -1)  # a picture of the mask is what it has learnt from
        for conv in self.convs:
            x = nn.functional.silu(conv(x))
        return self.out(x)


class IdentityProjection(nn.Module):
    """A face's embedding -> identity tokens (IP-Adapter, arXiv 2308.06721). Zeros are nobody, the null."""

    def __init__(self, dim: int, num_tokens: int, token_dim: int):
        super().__init__()
        self.num_tokens = num_tokens
        self.proj, self.norm = nn.Linear(dim, num_tokens * token_dim), nn.LayerNorm(token_dim)

    def forward(self, identity: Tensor) -> Tensor:
        """(... dim) -> (... I D)."""
        return self.norm(self.proj(identity).unflatten(-1, (self.num_tokens, -1)))


class SpeedEncoder(nn.Module):
    """Head speed -> a token per frame, from buckets of speed over the frames around it (EMO, section 3.2).

    NaN is an unknown speed, the null: it excites no bucket.
    """

    def __init__(self, centers: tuple[float, ...], radii: tuple[float, ...], margin: int, dim: int):
        """centers, radii: of the K buckets, in rad/s."""
        super().__init__()
        self.centers, self.radii, self.margin = tuple(centers), tuple(radii), margin
        self.mlp = nn.Sequential(nn.Linear((2 * margin + 1) * len(self.centers), dim), nn.SiLU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim)

    def buckets(self, head_speed: Tensor) -> Tensor:
        """(...) rad/s -> (... K) in [-1, 1]: EMO eq. 3, s = tanh((w - c) / r * 3); zeros where it is NaN."""
        centers, radii = (torch.tensor(x, device=head_speed.device) for x in (self.centers, self.radii))
        excitation = torch.tanh((head_speed[..., None].float() - centers) / radii * 3)
        return excitation.nan_to_num(0.0)

    def forward(self, head_speed: Tensor) -> Tensor:
        """(B F+2m) rad/s, m frames more on each side -> (B F E)."""
        windows = self.buckets(head_speed).unfold(1, 2 * self.margin + 1, 1)  # (B F K 2m+1)
        return self.norm(self.mlp(windows.flatten(2).to(self.mlp[0].weight.dtype)))
