"""ArcFace (Deng et al. 2019, arXiv 1801.07698), a network for identity embeddings of faces.

Weights are files in the layout of insightface's arcface_torch: backbone.pth of r18, r34, r50 or r100. insightface's own
weights may be used for research only; others in this layout have their own license.
"""

from pathlib import Path

from torch import Tensor, nn

from emo.models.loading import PublishedWeights, load_published_weights, read_published_weights

EMBEDDING_DIM = 512
PUBLISHED = PublishedWeights(
    "ArcFace",
    "backbone.pth",
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch (non-commercial research only)",
)
STAGE_DEPTHS = {2: (2, 2, 2, 2), 4: (3, 4, 6, 3), 14: (3, 4, 14, 3), 30: (3, 13, 30, 3)}  # by those of the third stage


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity or a projection."""

    def __init__(self, dim: int, out: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(dim), nn.Conv2d(dim, out, 3, 1, 1, bias=False)
        self.bn2, self.prelu = nn.BatchNorm2d(out), nn.PReLU(out)
        self.conv2, self.bn3 = nn.Conv2d(out, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        shortcut = (nn.Conv2d(dim, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.downsample = nn.Sequential(*shortcut) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Transform a feature map (N C H W)."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


def make_stage(dim: int, out: int, count: int) -> nn.Sequential:
    """Make the blocks of one resolution; the first halves the size.

    Args:
        dim: Number of channels that enter.
        out: Number of channels of all blocks.
        count: Number of blocks.

    Returns:
        The blocks.
    """
    return nn.Sequential(*(ResidualBlock(out if k else dim, out, 1 if k else 2) for k in range(count)))


class IResNet(nn.Module):
    """The network; its layers are named as in arcface_torch."""

    def __init__(self, blocks: tuple[int, int, int, int]):
        super().__init__()
        self.conv1, self.bn1, self.prelu = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        self.layer1, self.layer2 = make_stage(64, 64, blocks[0]), make_stage(64, 128, blocks[1])
        self.layer3, self.layer4 = make_stage(128, 256, blocks[2]), make_stage(256, 512, blocks[3])
        self.bn2, self.fc, self.features = (
            nn.BatchNorm2d(512),
            nn.Linear(512 * 7 * 7, EMBEDDING_DIM),
            nn.BatchNorm1d(EMBEDDING_DIM),
        )

    def embed(self, x: Tensor) -> Tensor:
        """Embed faces.

        Args:
            x: (B 3 112 112) RGB in [-1, 1], aligned.

        Returns:
            (B 512), not normalized.
        """
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.features(self.fc(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Compute embeddings, see `embed`, and normalize them.

        Args:
            x: (N 3 112 112) in [-1, 1].

        Returns:
            (N EMBEDDING_DIM) of length 1.
        """
        return nn.functional.normalize(self.embed(x))


def load_arcface(path: Path) -> IResNet:
    """Load r18, r34, r50 or r100, whichever the file holds.

    Args:
        path: backbone.pth.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: See `load_published_weights`.
    """
    try:
        blocks = {int(name.split(".")[1]) for name in read_published_weights(path) if name.startswith("layer3.")}
    except Exception:  # load_published_weights explains what is wrong with the file
        blocks = set()
    return load_published_weights(IResNet(STAGE_DEPTHS.get(len(blocks), STAGE_DEPTHS[14])), path, PUBLISHED)
