"""The diffusion task on motion latents: clips are encoded from portraits among their frames; the pipeline loads."""

import cv2
import numpy as np
import pytest
import torch

from emo import EMOPipeline, MotionAutoencoder
from emo.core.config import Config, DataConfig, LossConfig, SchedulerConfig
from emo.core.errors import InputError
from emo.data.dataset import choose_portraits
from emo.training.distributed import SampleGenerators
from emo.training.losses import collect_conditions
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
        assert clip.latents.shape[:2] == (2, 16) and clip.references.shape == (2, 192, 4, 4)
        for latents in clip.latents:  # a portrait is one of the frames, whose motion is zero
            assert latents.abs().amax((1, 2, 3)).min() < 1e-3 < latents.abs().max()
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


def test_a_pipeline_may_animate_a_larger_square_than_it_was_trained_on(config, portrait, wave):
    config.steps, config.sample_steps, config.sampling.size = 1, 2, 128
    pipeline = EMOPipeline.from_pretrained(train(config))
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(portrait, wave[: 2 * 640], face="full", crop_only=True, num_inference_steps=1).frames
    assert frames.shape == (2, 128, 128, 3)


def test_a_model_is_limited_to_the_components_of_the_latents(config):
    codec = MotionAutoencoder.from_pretrained(config.autoencoder)
    codec.fit_components(torch.randn(32, 4, 4, 4), 8)
    codec.save_pretrained(config.autoencoder)
    model = EMOPipeline.from_pretrained(train(config)).model
    basis = model.components.basis
    torch.testing.assert_close(basis, codec.components.basis, atol=2e-3, rtol=0)  # saved in half precision
    batch = make_task(config).make_batch(range(2), CPU)
    conditions, timestep = collect_conditions(batch), torch.tensor(500)
    noise = torch.randn(2, 4, 4, 4, 4)
    outside = noise - model.components.limit(noise)
    assert outside.std() > 0.5
    with torch.no_grad():
        predictions = [model(batch.latents + other, timestep, conditions) for other in (0 * outside, outside)]
    torch.testing.assert_close(*predictions, atol=1e-2, rtol=0)  # noise outside of the components is not seen
    torch.testing.assert_close(model.components.limit(predictions[0]), predictions[0], atol=1e-3, rtol=0)
    model.register_to_config(motion_limit=0.5)
    large = model.from_diffused(100 * predictions[0], batch.reference)
    torch.testing.assert_close(large, model.from_diffused(200 * predictions[0], batch.reference), rtol=1e-3, atol=1e-3)
    assert torch.equal(model.from_diffused(0 * large, batch.reference), 0 * large)
    config.scheduler = SchedulerConfig(prediction_type="epsilon")
    with pytest.raises(InputError, match="prediction_type=epsilon: motion latents with components need sample"):
        make_task(config)


def test_lips_and_lids_have_a_loss_of_their_own(config):
    codec = MotionAutoencoder.from_pretrained(config.autoencoder)
    with torch.no_grad():
        flows = codec.predict_motion(torch.randn(300, 4, 4, 4))
    codec.fit_components(codec.fit_latents(flows), 64)
    projection = codec.project_parts()
    latents = codec.fit_latents(flows).flatten(1)
    power = (latents @ projection).square().sum(1).mean().item()
    assert power == pytest.approx(4 + 1 + 2 * (1 + 2 * 0.5), rel=0.3)  # opening and width of the mouth, lids and irises
    shift = torch.zeros(1, 2, 16, 16)
    shift[:, 0, 2:14, 2:14] = 0.02
    lips = shift.clone()
    lips[:, 0, 11:14] *= -1  # the lower lip goes the other way
    head, talking = ((codec.fit_latents(flow).flatten(1) @ projection).square().sum() for flow in (shift, lips))
    assert head < 0.1 * talking
    codec.save_pretrained(config.autoencoder)
    config.loss = LossConfig(part_weight=0.5)
    task = make_task(config)
    batch, draw = task.make_batch(range(2), CPU), [SampleGenerators(0, range(2), CPU) for _ in range(2)]
    with torch.no_grad():
        losses = [task.compute_loss(task.model.eval(), batch, draw[0])[0]]
        task.config.loss.part_weight = 1.0
        losses.append(task.compute_loss(task.model, batch, draw[1])[0])
    assert losses[1] > losses[0] > 0


def test_settings_that_do_not_fit_motion_latents(config):
    config.loss = LossConfig(part_weight=0.5)
    with pytest.raises(InputError, match="only latents of motion components have it"):
        make_task(config)
    config.loss = LossConfig(perceptual_channel_weight=0.5)
    with pytest.raises(InputError, match="motion latents have no such weights"):
        make_task(config)
    config.model = config.model | {"reference_channels": None}
    with pytest.raises(InputError, match="model.reference_channels=None: autoencoder gives 192"):
        make_task(config)


def test_a_patched_model_with_controls_learns_from_clips_without_them(config):
    config.model |= {"patch_size": 2, "controls": ["gaze", "head_pose", "distance", "emotion"]}
    config.controls_drop_rate, config.data.portraits_per_clip = 0.5, 1
    task = make_task(config)
    batch = task.make_batch(range(4), CPU)
    assert batch.emotion.isnan().all() and batch.latents.shape == (4, 4, 4, 4, 4)  # drawn faces have no emotion
    task.model.train()
    loss, _ = task.compute_loss(task.model, batch, SampleGenerators(0, range(4), CPU))
    loss.backward()
    assert loss.isfinite() and task.samples.clips[0].latents.shape[0] == 1


def test_a_synthetic_clip_has_its_own_portrait(make_clip, draw):
    clip, frames = make_clip("a0", "anna", np.linspace(0, 1, 16), 64)
    frames = np.stack(frames)
    (image, labels), (second, _) = choose_portraits(clip, frames, 2, {}, 64)
    assert np.array_equal(image, frames[0]) and any(np.array_equal(second, frame) for frame in frames[1:])
    assert len(choose_portraits(clip, frames, 40, {}, 64)) == 16
    png = cv2.imencode(".png", draw(0.5, 32)[..., ::-1])[1]
    truth = {"portrait": png, "portrait_landmarks": 0.5 * clip.landmarks[0]}
    ((image, half),) = choose_portraits(clip, None, 1, truth, 64)
    assert image.shape == (64, 64, 3) and half.face_size == pytest.approx(labels.face_size / 2, rel=1e-4)
    assert half.gaze.tolist() == [0, 0] and torch.allclose(half.head_pose, labels.head_pose, atol=1e-4)
    assert np.abs(image.astype(int) - draw(0.5, 64)).mean() < 8
