"""Audio attention region by region, as in Hallo (arXiv 2406.08801, section 3.2): the whole picture, the face and the
lips each attend to the sound with weights of their own.

Shapes: B clips, F frames, N = B*F, H x W latent pixels, L = H*W tokens of a layer, C channels of the layer, I channels
inside, A audio tokens of width D, K regions, P resolutions of the UNet.
"""

from typing import NamedTuple

from diffusers.models.attention import FeedForward
from einops import rearrange
from torch import Tensor, nn

from emo.models.layers import Attention, zeroed


class Regions(NamedTuple):
    """Where each region lies, and how strongly it follows the sound."""

    masks: list[Tensor]  # for each resolution of the UNet, fine to coarse: (B K H W) in 0..1
    scales: Tensor  # (B P K) at each of the P resolutions


class RegionalBlock(nn.Module):
    """The tokens of a frame attend to the frame, then in every region to its audio. Fresh regions change nothing."""

    def __init__(self, dim: int, heads: int, audio_dim: int, regions: int):
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = nn.ModuleList(Attention(dim, heads, audio_dim) for _ in range(regions))
        self.mix = nn.ModuleList(zeroed(nn.Linear(dim, dim)) for _ in range(regions))
        self.norm3, self.ff = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """x (N L I), audio (N A D), masks (N K L), scales (N K) -> (N L I)."""
        tokens = self.norm1(x)
        x = x + self.attn1(tokens, tokens)
        tokens = self.norm2(x)
        for k, (attend, mix) in enumerate(zip(self.attn2, self.mix, strict=True)):
            x = x + scales[:, k, None, None] * mix(attend(tokens, audio) * masks[:, k, :, None])
        return x + self.ff(self.norm3(x))


class RegionalTransformer(nn.Module):
    """RegionalBlock on the feature maps of frames, I channels wide inside. A fresh one changes nothing."""

    def __init__(self, dim: int, inner_dim: int, heads: int, groups: int, audio_dim: int, regions: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, inner_dim, 1)
        self.transformer_blocks = nn.ModuleList([RegionalBlock(inner_dim, heads, audio_dim, regions)])
        self.proj_out = zeroed(nn.Conv2d(inner_dim, dim, 1))

    def forward(self, x: Tensor, audio: Tensor, masks: Tensor, scales: Tensor) -> Tensor:
        """x (N C H W), audio (N A D), masks (B K H W), scales (B K) -> (N C H W)."""
        frames, height = len(x) // len(masks), x.shape[-2]
        masks, scales = (t.repeat_interleave(frames, dim=0) for t in (masks.flatten(2), scales))
        y = rearrange(self.proj_in(self.norm(x)), "n c h w -> n (h w) c")
        y = self.transformer_blocks[0](y, audio, masks, scales)
        return x + self.proj_out(rearrange(y, "n (h w) c -> n c h w", h=height))
