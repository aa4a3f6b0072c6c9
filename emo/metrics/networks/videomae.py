"""The VideoMAE of the content-debiased FVD (Ge et al. 2024, arXiv 2404.12391).

I3D depends on the content of a video more than on its motion; this network, trained by masking and on
Something-Something v2, does so less. It is the ViT-g of VideoMAE v2 on transformers' modules, loaded from the published
vit_g_hybrid_pt_1200e_ssv2_ft.pth. Like the published code it takes pixels in 0..1 with nothing subtracted.

Shapes: T frames, clips of 16 frames.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from emo.metrics.networks.i3d import FRAMES, split_clips
from emo.models.loading import PublishedWeights, load_published_weights

PUBLISHED = PublishedWeights(
    "content-debiased FVD's VideoMAE",
    "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
    "https://huggingface.co/OpenGVLab/InternVideoMAE_models (mae-g)",
)
GIANT = dict(hidden_size=1408, intermediate_size=6144, num_hidden_layers=40, num_attention_heads=16, patch_size=14)
OUTSIDE = {  # layers outside of the blocks: published name -> transformers'
    "patch_embed.proj": "videomae.embeddings.patch_embeddings.projection",
    "fc_norm": "fc_norm",
    "head": "classifier",
}
INSIDE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def make_videomae(num_labels: int = 174, **sizes) -> VideoMAEForVideoClassification:
    """Return the network with random weights; `sizes` that replace the published ones are for tests."""
    options = GIANT | {"num_frames": FRAMES, "num_labels": num_labels, "layer_norm_eps": 1e-6} | sizes
    config = VideoMAEConfig(**options)
    net = VideoMAEForVideoClassification(config)
    assert net.fc_norm is not None  # the configuration asks for the mean of the tokens
    net.fc_norm.eps = config.layer_norm_eps
    return net


def to_transformers_names(content: dict) -> dict[str, Tensor]:
    """Convert the content of the published file to weights by transformers' names, with queries, keys and values
    apart."""
    published = content.get("module", content.get("model", content))
    state = {}
    for name, value in published.items():
        stem, leaf = name.rsplit(".", 1)
        if not stem.startswith("blocks."):
            state[f"{OUTSIDE[stem]}.{leaf}"] = value
            continue
        _, number, inner = stem.split(".", 2)
        layer = f"videomae.encoder.layer.{number}"
        if leaf in ("q_bias", "v_bias"):
            state[f"{layer}.attention.attention.{'query' if leaf[0] == 'q' else 'value'}.bias"] = value
        elif inner == "attn.qkv":
            for part, weight in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[f"{layer}.attention.attention.{part}.weight"] = weight
        else:
            state[f"{layer}.{INSIDE[inner]}.{leaf}"] = value
    return state


def load_videomae(path: Path) -> VideoMAEForVideoClassification:
    """Load the network: a billion weights, 4 GB. Raises InputError: see `load_published_weights`."""
    return load_published_weights(make_videomae(), path, PUBLISHED, to_transformers_names)


@torch.no_grad()
def extract_features(net: VideoMAEForVideoClassification, frames: np.ndarray) -> np.ndarray:
    """Compute the features that the content-debiased FVD compares.

    Args:
        net: VideoMAE with the published weights.
        frames: (T 3 H W) uint8.

    Returns:
        (T // 16, 1408) float32.
    """
    assert net.fc_norm is not None
    features = [np.zeros((0, net.config.hidden_size), np.float32)]
    for clip in split_clips(frames, FRAMES, net.config.image_size):
        tokens = net.videomae(clip.transpose(0, 1)[None].to(net.device)).last_hidden_state
        features.append(net.fc_norm(tokens.mean(1)).cpu().numpy())
    return np.concatenate(features)
