"""What plugs in: an autoencoder behind the pipeline's contract, and SyncNet behind that of lip-sync scorers."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from emo import Autoencoder, EMOPipeline
from emo.face.crop import Region
from emo.face.selection import SelectedFace
from emo.models.autoencoder import ImageAutoencoder, as_video_autoencoder, decode_latents, encode_images
from emo.models.contracts import VideoAutoencoder

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ours", "stable diffusion's"])
def test_image_autoencoders_fulfil_the_contract(kind):
    if kind == "ours":
        vae = Autoencoder(latent_channels=4, widths=(8, 8, 8))
    else:
        blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
        vae = AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4)
    codec, frames, portrait = as_video_autoencoder(vae), torch.randn(2, 3, 32, 32), torch.randn(1, 3, 32, 32)
    assert isinstance(codec, VideoAutoencoder) and isinstance(codec, ImageAutoencoder)
    latents = codec.encode(frames, portrait)
    assert torch.equal(latents, encode_images(vae, frames))
    assert torch.equal(codec.decode(latents, portrait), decode_latents(vae, latents))
    assert torch.equal(codec.encode(portrait, portrait), codec.encode_reference(portrait))
    assert torch.equal(codec.encode_reference(frames[:1]), latents[:1]) or torch.allclose(
        codec.encode_reference(frames[:1]), latents[:1], atol=1e-5
    )


class Brightness(ModelMixin, ConfigMixin):
    """A motion autoencoder of one number: how much brighter a frame is than the portrait."""

    @register_to_config
    def __init__(self, latent_channels: int = 4):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def encode(self, frames: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        difference = (frames - reference).mean((1, 2, 3))[:, None, None, None]
        side = frames.shape[-1] // 16
        return (difference * self.scale).expand(-1, self.config.latent_channels, side, side)

    def encode_reference(self, reference: torch.Tensor) -> torch.Tensor:
        side = reference.shape[-1] // 16
        return torch.nn.functional.adaptive_avg_pool2d(reference, side)[:, [0, 1, 2, 0]]

    def decode(self, latents: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        return reference + latents.mean((1, 2, 3))[:, None, None, None]


def test_a_motion_autoencoder_plugs_into_the_pipeline(make_pipeline, portrait, wave):
    vae = Brightness()
    assert as_video_autoencoder(vae) is vae
    image = torch.rand(1, 3, 64, 64)
    assert not vae.encode(image, image).any()  # no motion
    parts = make_pipeline(residual_scale=None).components | {"vae": vae}
    pipeline = EMOPipeline(**parts, size=64, num_inference_steps=1)
    pipeline.set_progress_bar_config(disable=True)
    still = {"callback_on_step_end": lambda pipe, step, timestep, tensors: {"latents": 0 * tensors["latents"]}}
    options = {"face": FACE, "generator": torch.manual_seed(0)}
    frames = pipeline(portrait, wave[:1920], **options, **still).frames
    assert len(frames) == 3 and (frames == portrait).all()  # zero motion gives the picture back, bit by bit
    assert (pipeline(portrait, wave[:1920], **options).frames != portrait).any()


def test_syncnet_fulfils_the_contract_of_scorers():
    from emo.speech.contracts import SyncScorer
    from emo.speech.syncnet import SyncNet, SyncNetScorer

    scorer = SyncNetScorer(SyncNet().eval())
    assert isinstance(scorer, SyncScorer)
    rng = np.random.default_rng(0)
    for _ in range(8):
        scorer.add(rng.integers(0, 255, (224, 224, 3), np.uint8))
    score = scorer.finish(rng.standard_normal(8 * 640).astype(np.float32) * 0.1)
    assert isinstance(score.offset_frames, int) and np.isfinite(score.confidence)
