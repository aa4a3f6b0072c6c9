"""The diffusion task on motion latents: clips are encoded from portraits among their frames; the pipeline loads."""

import numpy as np
import pytest
import torch

from emo import EMOPipeline, MotionAutoencoder
from emo.core.config import Config, DataConfig, LossConfig, SchedulerConfig
from emo.core.errors import InputError
from emo.training.distributed import SampleGenerators
from emo.training.task import make_task
from emo.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture
def config(tiny_model, tiny_model_folder, clips_folder, tmp_path) -> Config:
    """Two steps of a tiny model on the motion latents of the drawn faces."""
    torch.manual_seed(0)
    widths = {f"{part}_widths": (8, 8, 8) for part in ("encoder", "mouth", "eye", "square")}
    windows = {"mouth_window": (24, 32), "eye_window": (16, 32), "square_pixels": 16}
    codec = MotionAutoencoder(4, 64, 16, encoder_blocks=1, painter_blocks=1, **widths, **windows)
    codec.save_pretrained(tmp_path / "codec")
    model = {name: value for name, value in tiny_model.items() if not name.startswith("residual")}
    return Config(
        output=str(tmp_path / "run"),
        device="cpu",
        steps=2,
        batch_size=2,
        sample_steps=2,
        autoencoder=str(tmp_path / "codec"),
        audio_encoder=str(tiny_model_folder / "audio_encoder"),
        model=model | {"latent_channels": 4, "reference_channels": 192},
        data=DataConfig(clips={str(clips_folder): 1.0}, num_frames=4, contiguous=True, size=64),
        scheduler=SchedulerConfig(prediction_type="sample"),
    )


def test_motion_is_measured_from_the_reference(config):
    task = make_task(config)
    for clip in task.samples.clips:
        assert clip.latents.shape[:2] == (len(clip.reference_rows), 16) and clip.references.shape[1:] == (192, 4, 4)
        for portrait, row in enumerate(clip.reference_rows):
            assert clip.latents[portrait, row].abs().max() < 1e-3 < clip.latents[portrait].abs().max()
    batch = task.make_batch(range(4), CPU)
    assert batch.latents.shape == (4, 4, 4, 4, 4) and batch.reference.shape == (4, 192, 4, 4)
    loss, _ = task.compute_loss(task.model, batch, SampleGenerators(0, range(4), CPU))
    assert loss.isfinite()


def test_a_run_saves_a_pipeline(config, portrait, wave):
    pipeline = EMOPipeline.from_pretrained(train(config))
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(portrait, wave[: 3 * 640], face="full", crop_only=True, num_inference_steps=1).frames
    assert frames.shape == (3, 64, 64, 3) and np.isfinite(frames).all()
    assert isinstance(pipeline.vae, MotionAutoencoder)


def test_settings_that_do_not_fit_motion_latents(config):
    config.loss = LossConfig(perceptual_channel_weight=0.5)
    with pytest.raises(InputError, match="motion latents have no such weights"):
        make_task(config)
    config.model = config.model | {"reference_channels": None}
    with pytest.raises(InputError, match="model.reference_channels=None: autoencoder gives 192"):
        make_task(config)
