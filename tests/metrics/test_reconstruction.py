"""PSNR, SSIM and LPIPS of pictures with a given difference."""

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.metrics.reconstruction import LPIPS, compute_lpips, compute_psnr, compute_ssim, load_lpips

# Said by lpips 0.1.4 of the made-up weights and the pictures
SAID = {"alex": [0.1002196, 0.1051015], "vgg": [0.1263965, 0.1326877]}


def test_psnr_is_its_formula():
    true = np.full((3, 3, 8, 8), 100, np.uint8)
    made = true + np.array([0, 1, 16], np.uint8)[:, None, None, None]
    expected = [np.inf, 20 * np.log10(255), 20 * np.log10(255 / 16)]
    assert compute_psnr(made, true) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_flat_pictures_is_its_formula_and_falls_with_noise(pictures):
    a, b = (np.full((1, 3, 32, 32), level, np.uint8) for level in (100, 150))
    dark = (0.01 * 255) ** 2
    assert compute_ssim(a, b)[0] == pytest.approx((2 * 100 * 150 + dark) / (100**2 + 150**2 + dark), abs=1e-3)
    true = pictures(1, 64)
    noise = np.random.RandomState(3).randint(-9, 10, true.shape)
    found = [compute_ssim((true + k * noise).clip(0, 255).astype(np.uint8), true)[0] for k in (0, 1, 4)]
    assert found[0] == pytest.approx(1, abs=1e-5) and found[0] > found[1] > found[2]


@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_lpips_is_what_the_published_code_says(kind, made_up, pictures, tmp_path, monkeypatch):
    whole = {
        **made_up(LPIPS(kind).backbone),
        "classifier.1.weight": torch.zeros(2, 2),
    }  # torchvision's have a classifier
    torch.save(whole, tmp_path / "weights.pth")
    net, frames = load_lpips(tmp_path / "weights.pth", kind), pictures(4, 64)
    monkeypatch.setattr("emo.metrics.reconstruction.BATCH", 1)
    assert compute_lpips(net, frames[:2], frames[2:]) == pytest.approx(SAID[kind], abs=1e-6)
    assert compute_lpips(net, frames[:1], frames[:1]) == 0


def test_other_weights_are_an_error(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="weights.pth can't be loaded as LPIPS's AlexNet .*get alexnet-owt-7be5be79"):
        load_lpips(tmp_path / "weights.pth")
