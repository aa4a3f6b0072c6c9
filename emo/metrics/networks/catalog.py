"""Published networks whose weights the user provides: their published file, what each adds, and how it is loaded.

A loaded network is a function: frames (T 3 H W) uint8 of a video and their landmarks (T 68 2) in pixels, NaN where no
face is visible -> features (N D) float32. `lpips` takes the true frames in place of landmarks and returns (T,).
torch is imported by the first that is loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

FeatureExtractor = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Network:
    """A published network.

    Attributes:
        file: Name of its published weights.
        adds: Name of the measure that it adds.
        load: Path of the weights -> the loaded network.
        is_set_distance: Whether that measure is the Frechet distance of sets.
        note: Text that is added to the help of its option.
    """

    file: str
    adds: str
    load: Callable[[Path], FeatureExtractor]
    is_set_distance: bool = False
    note: str = ""


@cache
def load_network(name: str, weights: Path) -> FeatureExtractor:
    """Load a network once per process.

    Args:
        name: Key of NETWORKS.
        weights: File of the published weights.

    Returns:
        A function frames, landmarks -> features, see the module.

    Raises:
        InputError: The file is not the published one.
    """
    return NETWORKS[name].load(weights)


def load_inception_extractor(weights: Path) -> FeatureExtractor:
    """Load FID's Inception v3: frames -> (T 2048)."""
    from emo.metrics.networks.inception import extract_features, load_inception

    net = load_inception(weights)
    return lambda frames, landmarks: extract_features(net, frames)


def load_i3d_extractor(weights: Path) -> FeatureExtractor:
    """Load FVD's I3D: frames -> (T // 16, 400)."""
    from emo.metrics.networks.i3d import extract_features, load_i3d

    net = load_i3d(weights)
    return lambda frames, landmarks: extract_features(net, frames)


def load_videomae_extractor(weights: Path) -> FeatureExtractor:
    """Load the content-debiased FVD's VideoMAE: frames -> (T // 16, 1408)."""
    from emo.metrics.networks.videomae import extract_features, load_videomae

    net = load_videomae(weights)
    return lambda frames, landmarks: extract_features(net, frames)


def load_arcface_extractor(weights: Path) -> FeatureExtractor:
    """Load ArcFace: frames and landmarks -> (T 512)."""
    from emo.metrics.identity import extract_features
    from emo.models.arcface import load_arcface

    net = load_arcface(weights)
    return lambda frames, landmarks: extract_features(net, frames, landmarks)


def load_deep3d_extractor(weights: Path) -> FeatureExtractor:
    """Load E-FID's Deep3DFaceRecon; similarity_Lm3D_all.mat, the mean face, must lie beside the weights."""
    from emo.metrics.networks.expression import extract_features, load_regressor, load_standard_face

    net, standard = load_regressor(weights), load_standard_face(weights.parent / "similarity_Lm3D_all.mat")
    return lambda frames, landmarks: extract_features(net, frames, landmarks, standard)


def load_lpips_extractor(weights: Path) -> FeatureExtractor:
    """Load LPIPS by AlexNet: generated and true frames -> (T,)."""
    from emo.metrics.reconstruction import compute_lpips, load_lpips

    net = load_lpips(weights)
    return lambda generated, true: compute_lpips(net, generated, true)


NETWORKS = {
    "inception": Network("pt_inception-2015-12-05-6726825d.pth", "FID", load_inception_extractor, is_set_distance=True),
    "i3d": Network("i3d_pretrained_400.pt", "FVD", load_i3d_extractor, is_set_distance=True),
    "videomae": Network(
        "vit_g_hybrid_pt_1200e_ssv2_ft.pth", "content-debiased FVD", load_videomae_extractor, is_set_distance=True
    ),
    "arcface": Network("backbone.pth", "CSIM", load_arcface_extractor, note=", its worst frame and drift"),
    "deep3d": Network(
        "epoch_20.pth",
        "E-FID",
        load_deep3d_extractor,
        is_set_distance=True,
        note="; similarity_Lm3D_all.mat lies beside them",
    ),
    "lpips": Network("alexnet-owt-7be5be79.pth", "LPIPS", load_lpips_extractor, note=" beside PSNR and SSIM"),
}
