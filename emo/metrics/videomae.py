"""The content-debiased FVD's VideoMAE (Ge et al. 2024, arXiv 2404.12391).

I3D looks at what is in a video more than at how it moves; this one, taught by masking and Something-Something v2, less.
A ViT-g of VideoMAE v2 on transformers' modules, from vit_g_hybrid_pt_1200e_ssv2_ft.pth as it is published. Like the
published code it takes grey levels as 0..1 with nothing subtracted. A clip is 16 frames. T frames, B clips.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from emo.metrics.i3d import FRAMES, clips_of
from emo.models.loading import Published, load_published

PUBLISHED = Published(
    "content-debiased FVD's VideoMAE",
    "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
    "https://huggingface.co/OpenGVLab/InternVideoMAE_models (mae-g)",
)
GIANT = dict(hidden_size=1408, intermediate_size=6144, num_hidden_layers=40, num_attention_heads=16, patch_size=14)
OUTSIDE = {  # of the blocks: published -> transformers'
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
    """With random weights; `sizes` other than the published ones are for tests."""
    config = VideoMAEConfig(**GIANT | sizes, num_frames=FRAMES, num_labels=num_labels, layer_norm_eps=1e-6)
    net = VideoMAEForVideoClassification(config)
    net.fc_norm.eps = config.layer_norm_eps
    return net


def renamed(held: dict) -> dict[str, Tensor]:
    """What the published file holds -> weights by transformers' names: queries, keys and values each for themselves."""
    published = held.get("module", held.get("model", held))
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
    """A billion weights, 4 GB. Raises InputError: see `load_published`."""
    return load_published(make_videomae(), path, PUBLISHED, renamed)


@torch.no_grad()
def features(net: VideoMAEForVideoClassification, frames: np.ndarray) -> np.ndarray:
    """frames (T 3 H W) uint8 -> (T // 16 1408) float32: what the content-debiased FVD compares."""
    found = [np.zeros((0, net.config.hidden_size), np.float32)]
    for clip in clips_of(frames, FRAMES, net.config.image_size):
        tokens = net.videomae(clip.transpose(0, 1)[None].to(net.device)).last_hidden_state
        found.append(net.fc_norm(tokens.mean(1)).cpu().numpy())
    return np.concatenate(found)
