"""Small parts in the layouts in which Hallo, Stable Diffusion and wav2vec 2.0 are published."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

SIZES = {"dims": (32, 32), "depth": 1, "token_dim": 6, "audio_dim": 10, "audio_tokens": 3, "hidden": 7}


@pytest.fixture(scope="session")
def layout():
    """layout(...) -> name -> shape of benchmarks/hallo.py."""
    spec = importlib.util.spec_from_file_location("hallo", Path(__file__).parents[3] / "benchmarks" / "hallo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.layout


@pytest.fixture(scope="session")
def net(layout) -> dict[str, Tensor]:
    """What a small net.pth holds."""
    chance = torch.Generator().manual_seed(0)
    names = layout(**SIZES, feature_dim=16)
    return {name: 0.1 * torch.randn(shape, generator=chance) for name, shape in names.items()}


@pytest.fixture(scope="session")
def pretrained(net, tmp_path_factory) -> Path:
    """A folder as Hallo's pretrained_models, with parts it has and the converter needs not."""
    from diffusers import AutoencoderKL
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    folder = tmp_path_factory.mktemp("pretrained_models")
    for name in ("hallo", "sd-vae-ft-mse", "wav2vec", "stable-diffusion-v1-5/unet"):
        (folder / name).mkdir(parents=True)
    torch.save({name: weight.half() for name, weight in net.items()}, folder / "hallo" / "net.pth")
    (folder / "stable-diffusion-v1-5" / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    sizes = {"block_out_channels": (4, 4, 4, 4), "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 4}
    torch.manual_seed(0)
    AutoencoderKL(**kinds, **sizes).save_pretrained(folder / "sd-vae-ft-mse")
    small = {"num_hidden_layers": 12, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8,) * 7}
    positions = {"num_conv_pos_embeddings": 3, "num_conv_pos_embedding_groups": 2}
    encoder = Wav2Vec2Model(Wav2Vec2Config(hidden_size=16, **small, **positions))
    encoder.save_pretrained(folder / "wav2vec" / "wav2vec2-base-960h")
    return folder
