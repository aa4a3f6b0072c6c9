"""How near a generated video is to the true one, frame by frame: PSNR, SSIM and LPIPS.

PSNR and SSIM (Wang et al. 2004) are torchmetrics'. LPIPS 0.1 (Zhang et al. 2018, arXiv 1801.03924) compares activations
of AlexNet or VGG-16, whose weights are torchvision's files and come from the user; its channel weights come with
torchmetrics.

Shapes: T frames, (T 3 H W) uint8 RGB.
"""

from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.models.loading import PublishedWeights, load_published_weights

BATCH = 8
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1]
TORCHVISION = "https://download.pytorch.org/models (torchvision, BSD-3)"
ALEXNET = PublishedWeights("LPIPS's AlexNet", "alexnet-owt-7be5be79.pth", TORCHVISION)
VGG = PublishedWeights("LPIPS's VGG-16", "vgg16-397923af.pth", TORCHVISION)
CALIBRATION = PublishedWeights("LPIPS's calibration", "torchmetrics", "pip install torchmetrics")


def compute_psnr(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the PSNR of each frame over all pixels and colors.

    Args:
        generated: (T 3 H W) uint8.
        true: (T 3 H W) uint8.

    Returns:
        (T,) float64 in dB; infinite where frames are equal.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a, b = (torch.from_numpy(frames).double() for frames in (generated, true))
    return peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3)).numpy()


def compute_ssim(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the SSIM of each frame with a Gaussian window of 1.5 pixels (Wang et al. 2004).

    In float32, which is off by 2e-4 on flat pictures: in float64 the convolution takes a CPU 25 times as long.

    Args:
        generated: (T 3 H W) uint8.
        true: (T 3 H W) uint8.

    Returns:
        (T,) up to 1, the mean over pixels and colors.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = (torch.from_numpy(frames).float() for frames in (generated, true))
    similarity = structural_similarity_index_measure(a, b, data_range=255.0, reduction="none")
    return torch.as_tensor(similarity).numpy().reshape(-1)


def alexnet_layers() -> list[nn.Module]:
    """Return AlexNet's features, at the indices that they have in torchvision."""
    pool = nn.MaxPool2d(3, 2)
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool, nn.Conv2d(64, 192, 5, padding=2)]
    layers += [nn.ReLU(), pool]
    for dim, out in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(dim, out, 3, padding=1), nn.ReLU()]
    return layers


def vgg_layers() -> list[nn.Module]:
    """VGG-16's features, at the indices that they have in torchvision."""
    layers, dim = [], 3
    for out, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(dim, out, 3, padding=1), nn.ReLU()]
            dim = out
        layers.append(nn.MaxPool2d(2, 2))
    return layers[:-1]


KINDS = {  # name -> layers, indices of those that are compared, their channels, where the weights come from
    "alex": (alexnet_layers, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), ALEXNET),
    "vgg": (vgg_layers, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), VGG),
}


class ChannelWeights(nn.Module):
    """The weight of each channel of a layer, under its published name."""

    def __init__(self, dim: int):
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(dim, 1, 1, bias=False))


class LPIPS(nn.Module):
    """LPIPS 0.1 by AlexNet ("alex") or VGG-16 ("vgg")."""

    def __init__(self, kind: str = "alex"):
        super().__init__()
        layers, self.indices, channels, _ = KINDS[kind]
        self.backbone = nn.ModuleDict({"features": nn.Sequential(*layers())})
        self.channel_weights = nn.ModuleDict({f"lin{k}": ChannelWeights(dim) for k, dim in enumerate(channels)})

    def normalized_activations(self, x: Tensor) -> list[Tensor]:
        """Return activations of the compared layers for x (T 3 H W) in [-1, 1]; the channels of each pixel have length
        1."""
        x, activations = (x - x.new_tensor(SHIFT)[:, None, None]) / x.new_tensor(SCALE)[:, None, None], []
        features = self.backbone["features"]
        assert isinstance(features, nn.Sequential)  # children() would skip the second use of a shared layer
        for index, layer in enumerate(features):
            x = layer(x)
            if index in self.indices:
                activations.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return activations

    def forward(self, generated: Tensor, true: Tensor) -> Tensor:
        """Compute the distance of pictures.

        Args:
            generated: (T 3 H W) in [-1, 1].
            true: (T 3 H W) in [-1, 1].

        Returns:
            (T,) distances; 0 where pictures are equal.
        """
        a, b = self.normalized_activations(generated), self.normalized_activations(true)
        weights = [layer.get_submodule("model") for layer in self.channel_weights.values()]
        distances = [weight((x - y).square()).mean((1, 2, 3)) for x, y, weight in zip(a, b, weights, strict=True)]
        return reduce(torch.add, distances)


def load_lpips(path: Path, kind: str = "alex") -> LPIPS:
    """Load LPIPS.

    Args:
        path: File of torchvision's weights of the network.
        kind: Name of the network, "alex" or "vgg".

    Returns:
        The network in evaluation mode.

    Raises:
        InputError: See `load_published_weights`.
        ModuleNotFoundError: Torchmetrics is not installed.
    """
    import torchmetrics

    net = LPIPS(kind)
    calibration = Path(str(torchmetrics.__file__)).parent / f"functional/image/lpips_models/{kind}.pth"
    load_published_weights(net.backbone, path, KINDS[kind][3], drop_classifier)
    load_published_weights(net.channel_weights, calibration, CALIBRATION)
    return net.eval()


def drop_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict without the layers after the features."""
    return {name: value for name, value in state.items() if not name.startswith("classifier.")}


@torch.no_grad()
def compute_lpips(net: LPIPS, generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the LPIPS of each frame.

    Args:
        net: LPIPS with the published weights.
        generated: (T 3 H W) uint8.
        true: (T 3 H W) uint8.

    Returns:
        (T,) float32 distances; 0 where frames are equal.
    """
    device, distances = next(net.parameters()).device, [np.zeros(0, np.float32)]
    for start in range(0, len(generated), BATCH):
        part = slice(start, start + BATCH)
        a, b = (torch.from_numpy(frames[part]).to(device).float() / 127.5 - 1 for frames in (generated, true))
        distances.append(net(a, b).cpu().numpy())
    return np.concatenate(distances)
