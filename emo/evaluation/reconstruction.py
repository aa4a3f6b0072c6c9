"""How near a video is to its truth, frame by frame: PSNR and SSIM (Wang et al. 2004), as torchmetrics computes them."""

import numpy as np
import torch


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
