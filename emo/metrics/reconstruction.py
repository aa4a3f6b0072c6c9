"""Distance to the real video frame by frame: PSNR, SSIM and LPIPS.

How near a video is to its truth, frame by frame: PSNR and SSIM (Wang et al. 2004), as torchmetrics computes them.

LPIPS 0.1 (Zhang et al. 2018, arXiv 1801.03924): how unlike two pictures look, by the layers of AlexNet or VGG-16.

The networks' weights are torchvision's files, given by the user; how much each channel counts comes with torchmetrics.
T frames.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emo.models.loading import Published, load_published


def psnr(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """made and true (T 3 H W) uint8 -> (T,) dB over all points and colours; infinite where they are the same."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pair = (torch.from_numpy(frames).double() for frames in (made, true))
    return peak_signal_noise_ratio(*pair, data_range=255.0, reduction="none", dim=(1, 2, 3)).numpy()


def ssim(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """made and true (T 3 H W) uint8 -> (T,) up to 1: a Gaussian window of 1.5 points, mean over points and colours.

    In float32, off by 2e-4 on flat pictures: the convolution of float64 takes a CPU 25 times as long.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    pair = (torch.from_numpy(frames).float() for frames in (made, true))
    return structural_similarity_index_measure(*pair, data_range=255.0, reduction="none").numpy().reshape(-1)


BATCH = 8
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of colours in [-1, 1]
ALEXNET = Published(
    "LPIPS's AlexNet", "alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models (torchvision, BSD-3)"
)
VGG = Published("LPIPS's VGG-16", "vgg16-397923af.pth", "https://download.pytorch.org/models (torchvision, BSD-3)")
COUNTS = Published("LPIPS's calibration", "torchmetrics", "pip install torchmetrics")


def alexnet() -> list[nn.Module]:
    """Its features, with the places they have in torchvision; each ReLU is looked at."""
    pool = nn.MaxPool2d(3, 2)
    layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool, nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool]
    for dim, out in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(dim, out, 3, padding=1), nn.ReLU()]
    return layers


def vgg() -> list[nn.Module]:
    """Those of VGG-16; the last ReLU before each pool, and of all, is looked at."""
    layers, dim = [], 3
    for out, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(dim, out, 3, padding=1), nn.ReLU()]
            dim = out
        layers.append(nn.MaxPool2d(2, 2))
    return layers[:-1]


KINDS = {  # name -> its features, the places that are looked at, their channels, where its weights come from
    "alex": (alexnet, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), ALEXNET),
    "vgg": (vgg, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), VGG),
}


class Count(nn.Module):
    """How much each channel counts, under its published name."""

    def __init__(self, dim: int):
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(dim, 1, 1, bias=False))


class LPIPS(nn.Module):
    def __init__(self, kind: str = "alex"):
        super().__init__()
        layers, self.places, channels, _ = KINDS[kind]
        self.looked = nn.ModuleDict({"features": nn.Sequential(*layers())})
        self.counts = nn.ModuleDict({f"lin{k}": Count(dim) for k, dim in enumerate(channels)})

    def look(self, x: Tensor) -> list[Tensor]:
        """x (T 3 H W) in [-1, 1] -> what the layers see, each point's channels of length 1."""
        x, seen = (x - x.new_tensor(SHIFT)[:, None, None]) / x.new_tensor(SCALE)[:, None, None], []
        for place, layer in enumerate(self.looked["features"]):
            x = layer(x)
            if place in self.places:
                seen.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return seen

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        """Both (T 3 H W) in [-1, 1] -> (T,), 0 where they are the same."""
        pairs = zip(self.look(made), self.look(true), self.counts.values(), strict=True)
        return sum(count.model((a - b).square()).mean((1, 2, 3)) for a, b, count in pairs)


def load_lpips(path: Path, kind: str = "alex") -> LPIPS:
    """path: torchvision's weights of the network. Raises InputError (see `load_published`); ModuleNotFoundError names
    torchmetrics where it is missing."""
    import torchmetrics

    net, counts = LPIPS(kind), Path(torchmetrics.__file__).parent / f"functional/image/lpips_models/{kind}.pth"
    load_published(net.looked, path, KINDS[kind][3], without_classifier)
    load_published(net.counts, counts, COUNTS)
    return net.eval()


def without_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("classifier.")}


@torch.no_grad()
def lpips(net: LPIPS, made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """made and true (T 3 H W) uint8 -> (T,)."""
    device, found = next(net.parameters()).device, [np.zeros(0, np.float32)]
    for start in range(0, len(made), BATCH):
        part = slice(start, start + BATCH)
        pair = (torch.from_numpy(frames[part]).to(device).float() / 127.5 - 1 for frames in (made, true))
        found.append(net(*pair).cpu().numpy())
    return np.concatenate(found)
