"""The field's networks, whose weights the user brings: by its option, each one's file, what it adds, how it is loaded.

Loaded it takes some frames (T 3 H W) uint8 of a video and their landmarks (T 68 2) pixels, NaN where no face is seen,
and gives features (N D) float32; `lpips` takes the true frames instead of landmarks, and gives (T,). Torch is imported
by the first that is loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

Look = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Network:
    file: str  # its weights, as they are published
    adds: str  # measures
    load: Callable[[Path], Look]
    distance: bool = False  # whether what it adds is the Frechet distance of sets


@cache
def look_of(option: str, weights: Path) -> Look:
    """Read once a process. Raises InputError for a file that is none, that lacks weights or has others."""
    return NETWORKS[option].load(weights)


def inception(weights: Path) -> Look:
    from emo.metrics.inception import features, load_inception

    net = load_inception(weights)
    return lambda frames, landmarks: features(net, frames)


def i3d(weights: Path) -> Look:
    from emo.metrics.i3d import features, load_i3d

    net = load_i3d(weights)
    return lambda frames, landmarks: features(net, frames)


def videomae(weights: Path) -> Look:
    from emo.metrics.videomae import features, load_videomae

    net = load_videomae(weights)
    return lambda frames, landmarks: features(net, frames)


def arcface(weights: Path) -> Look:
    from emo.metrics.identity import features
    from emo.models.arcface import load_arcface

    net = load_arcface(weights)
    return lambda frames, landmarks: features(net, frames, landmarks)


def deep3d(weights: Path) -> Look:
    """The standard face, similarity_Lm3D_all.mat, lies beside the weights."""
    from emo.metrics.expression import features, load_regressor, load_standard_face

    net, standard = load_regressor(weights), load_standard_face(weights.parent / "similarity_Lm3D_all.mat")
    return lambda frames, landmarks: features(net, frames, landmarks, standard)


def lpips(weights: Path) -> Look:
    from emo.metrics.reconstruction import load_lpips, lpips

    net = load_lpips(weights)
    return lambda made, true: lpips(net, made, true)


NETWORKS = {
    "inception": Network("pt_inception-2015-12-05-6726825d.pth", "FID", inception, distance=True),
    "i3d": Network("i3d_pretrained_400.pt", "FVD", i3d, distance=True),
    "videomae": Network("vit_g_hybrid_pt_1200e_ssv2_ft.pth", "content-debiased FVD", videomae, distance=True),
    "arcface": Network("backbone.pth", "CSIM", arcface),
    "deep3d": Network("epoch_20.pth", "E-FID", deep3d, distance=True),
    "lpips": Network("alexnet-owt-7be5be79.pth", "LPIPS", lpips),
}
