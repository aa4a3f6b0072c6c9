"""The training of MotionAutoencoder: pairs of frames, known motion between them, losses, and a run."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emo import EMOPipeline, MotionAutoencoder
from emo.core.config import Config, DataConfig, load_config
from emo.core.errors import InputError
from emo.data.motion_pairs import cache_clip_frames, compute_pair_motion, draw_frame, draw_pairs, mirror
from emo.face.landmarks import INNER_LIP_POINTS
from emo.models.motion_components import LARGEST
from emo.models.warping import cell_positions, warp
from emo.training.distributed import SampleGenerators
from emo.training.motion_autoencoder import (
    AdversarialMotionAutoencoder,
    compute_adversarial_losses,
    compute_reconstruction_loss,
)
from emo.training.task import make_task
from emo.training.trainer import train

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs"
TINY = {
    "latent_channels": 4,
    "size": 64,
    "flow_size": 16,
    "encoder_widths": [16, 16, 16],
    "encoder_blocks": 1,
    "mouth_widths": [8, 8, 8],
    "eye_widths": [8, 8, 8],
    "square_widths": [8, 8, 8],
    "painter_blocks": 1,
    "mouth_window": [24, 32],
    "eye_window": [16, 32],
    "square_pixels": 16,
}


@pytest.fixture
def folder(make_clip, draw, tmp_path) -> Path:
    """Two clips: anna's frames are her portrait, shifted, and their motion is known; bert's motion is not."""
    from emo.data.clip import save_clip

    folder = tmp_path / "clips"
    folder.mkdir()
    for name, person in [("a0", "anna"), ("b0", "bert")]:
        clip, frames = make_clip(name, person, np.linspace(0, 1, 16), 64)
        frames = list(frames)
        save_clip(folder, clip, frames)
    portrait, shifts = draw(0.0, 64), np.linspace(-0.06, 0.06, 16)
    frames = [np.roll(portrait, round(64 * shift), axis=1) for shift in shifts]
    clip, _ = make_clip("a0", "anna", np.linspace(0, 1, 16), 64)
    save_clip(folder, clip, frames)
    flow = np.zeros((16, 2, 64, 64), np.float16)
    flow[:, 0] = -np.array([round(64 * shift) / 64 for shift in shifts])[:, None, None]
    file = BytesIO()
    Image.fromarray(portrait).save(file, "png")
    encoded = np.frombuffer(file.getvalue(), np.uint8)
    unsourced = np.zeros((16, 64, 64), np.uint8)
    unsourced[:, 40:44, 30:34] = 255
    truth = {"portrait": encoded, "portrait_landmarks": clip.landmarks[0], "flow": flow, "unsourced": unsourced}
    np.savez_compressed(folder / "a0.truth.npz", **truth)
    return folder


@pytest.fixture
def config(folder, tmp_path) -> Config:
    """Twelve steps of the tiny model."""
    data = DataConfig(clips={str(folder): 1.0}, size=64)
    options = dict(steps=12, batch_size=4, learning_rate=3e-3, warmup_steps=1, log_steps=1, checkpoint_steps=6)
    more = dict(sample_steps=12, validation_steps=6, validation_samples=2)
    output = str(tmp_path / "run")
    return Config(task="motion_autoencoder", output=output, device="cpu", model=TINY, data=data, **options, **more)


def test_a_clip_with_known_motion_begins_with_its_portrait(folder, tmp_path):
    known, other = (cache_clip_frames(folder / f"{name}.json", tmp_path / "cache", 32) for name in ("a0", "b0"))
    assert (known.known, known.num_frames) == (True, 17) and (other.known, other.num_frames) == (False, 16)
    first = known.read(0)
    assert first["frames"].shape == (32, 32, 3) and first["flow"].shape == (2, 64, 64)
    assert np.abs(first["flow"]).max() == 0 and np.abs(known.read(1)["flow"]).max() > 0.04
    (folder / "a0.mp4").touch()
    files = list((tmp_path / "cache").rglob("*.safetensors"))
    written = [file.stat().st_mtime_ns for file in files]
    cache_clip_frames(folder / "a0.json", tmp_path / "cache", 32)
    assert [file.stat().st_mtime_ns for file in files] == written  # decoded once
    files[0].write_bytes(b"broken")
    with pytest.raises(InputError, match="delete it; it will be recreated"):
        [cache_clip_frames(folder / f"{name}.json", tmp_path / "cache", 32) for name in ("a0", "b0")]


def test_a_number_determines_its_pair(folder, tmp_path):
    clips = [cache_clip_frames(folder / f"{name}.json", tmp_path / "cache", 64) for name in ("a0", "b0")]
    chances = np.array([0.5, 0.5])
    both, second = draw_pairs(clips, chances, 0, range(2)), draw_pairs(clips, chances, 0, range(1, 2))
    assert torch.equal(both.frames[1:], second.frames) and torch.equal(both.centers[1:], second.centers)
    assert not torch.equal(both.frames[:1], second.frames)
    assert both.frames.shape == (2, 3, 64, 64) and both.known.shape == (2, 1, 1, 1)


def test_motion_between_two_frames_follows_from_both(folder, tmp_path):
    clips = [cache_clip_frames(folder / "a0.json", tmp_path / "cache", 64)]
    batch = draw_pairs(clips, np.ones(1), 0, range(12))
    flow, unsourced = compute_pair_motion(batch)
    expected = batch.frame_flow - batch.portrait_flow  # both are shifts
    torch.testing.assert_close(flow, expected, atol=1e-3, rtol=0)
    assert expected.abs().max() > 0.05 and 0 < unsourced[..., 40:44, 30:34].mean() <= 1
    before = (batch.portraits - batch.frames)[..., 8:-8].abs().mean()
    after = (warp(batch.portraits, flow) - batch.frames)[..., 8:-8].abs().mean()
    assert after < 0.3 * before
    centers = cell_positions(64, 64, CPU)
    assert centers[0, 0].tolist() == [1 / 128, 1 / 128]


def test_a_mirrored_frame_moves_the_other_way(folder, tmp_path):
    arrays = cache_clip_frames(folder / "a0.json", tmp_path / "cache", 64).read(1)
    flipped = mirror(arrays)
    np.testing.assert_array_equal(flipped["flow"][0], -arrays["flow"][0, :, ::-1])
    np.testing.assert_allclose(flipped["landmarks"][:, 0], 1 - arrays["landmarks"][:, 0])
    np.testing.assert_array_equal(flipped["frames"][:, 0], arrays["frames"][:, -1])


def test_known_motion_is_supervised_and_unknown_is_not(config):
    task = make_task(config)
    batch = task.make_batch(range(8), CPU)
    assert 0 < batch.known.mean() < 1
    model = task.model.autoencoder
    decoded = model.decode_parts(torch.zeros(8, 4, 4, 4), batch.portraits, batch.centers)
    _, parts = compute_reconstruction_loss(batch, decoded)
    batch.known = torch.zeros_like(batch.known)
    _, without = compute_reconstruction_loss(batch, decoded)
    assert parts["loss/flow"] > 1e-3 and without["loss/flow"] == 0
    assert parts["loss/pixels"] == pytest.approx(parts["loss/warped_pixels"].item())


def test_beside_a_real_face_nothing_is_learned(config):
    batch = make_task(config).make_batch(range(8), CPU)
    known = batch.known.flatten() > 0
    assert (batch.weight[known] == 1).all()
    real = batch.weight[~known]
    assert real[..., 32, 32].min() > 0.9 and real[..., :4, :4].max() == 0 and real[..., -4:, -4:].max() == 0


def test_open_mouths_are_drawn_more_often(folder, tmp_path):
    clip = cache_clip_frames(folder / "b0.json", tmp_path / "cache", 32)
    gaps = np.ptp(clip.read_landmarks()[:, INNER_LIP_POINTS, 1], axis=1)
    drawn = np.array([draw_frame(clip, np.random.default_rng(number)) for number in range(400)])
    assert set(drawn) == set(range(16)) and gaps[drawn].mean() > 1.2 * gaps.mean()


def test_adversarial_losses_reach_only_their_own_weights(config):
    task = make_task(config)
    net, batch = AdversarialMotionAutoencoder(task.model.autoencoder).train(), task.make_batch(range(4), CPU)
    autoencoder, discriminator = net.autoencoder, net.discriminator
    latents = autoencoder.encode(batch.frames, batch.portraits)
    decoded = autoencoder.decode_parts(latents, batch.portraits, batch.centers)
    made, critic = compute_adversarial_losses(discriminator, batch, decoded, autoencoder)
    made.backward(retain_graph=True)
    assert all(weight.grad is None for weight in discriminator.parameters())
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in autoencoder.parameters())
    autoencoder.zero_grad()
    critic.backward()
    assert all(weight.grad is not None for weight in discriminator.parameters())
    assert all(weight.grad is None for weight in autoencoder.parameters())
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in discriminator.layers]
    assert norms == pytest.approx([1.0] * 4, abs=0.3)  # spectral normalization is at work


def test_a_run_learns_resumes_and_saves(config, tmp_path):
    folder = train(config)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    steps = [row for row in rows if "loss" in row]
    assert "loss/critic" not in steps[2] and "loss/critic" in steps[5]  # the adversarial part comes late
    pixels = [row["loss/pixels"] for row in steps]
    assert all(np.isfinite(pixels))
    assert Image.open(tmp_path / "run/samples/step_00000012.png").size == (64 * 5, 64 * 8)
    saved = MotionAutoencoder.from_pretrained(folder)
    assert 0 < saved.config.num_components == len(saved.components.gains) <= 32  # samples of two clips
    task = make_task(config)  # a clip with known motion and one without
    batch = task.make_batch(range(32), CPU)
    known = saved.fit_latents(compute_pair_motion(batch)[0])
    latents = torch.where(batch.known > 0, known, saved.encode(batch.frames, batch.portraits))
    deviations = (latents.flatten(1) @ saved.components.basis.T).square().mean(0).sqrt()
    assert deviations[0].item() == pytest.approx(LARGEST, rel=0.4)
    config.steps = 14
    config.start_from = None
    assert train(config) == folder and len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) > len(rows)


def test_conditions_of_a_run(config, tmp_path):
    config.data.hold_out = str(tmp_path / "hold_out.txt")
    (tmp_path / "hold_out.txt").write_text("bert\n")
    task = make_task(config)
    assert len(task.clips) == 1 and len(task.held_out) == 1 and len(task.make_validation_batches(2, CPU)) == 2
    loss, parts = task.compute_loss(
        task.model.eval(), task.make_validation_batches(1, CPU)[0], SampleGenerators(0, range(1), CPU)
    )
    assert loss.isfinite() and "loss/critic" not in parts
    config.data.size = 32
    with pytest.raises(InputError, match="data.size=32: the model's size is 64"):
        make_task(config)


def test_a_run_may_start_from_the_built_in_model(config):
    config.start_from, config.data.size = "mini", 256
    expected = EMOPipeline.from_pretrained("mini").vae.state_dict()
    made = make_task(config).model.autoencoder.state_dict()
    assert made.keys() == expected.keys() and all(torch.equal(made[name], expected[name]) for name in made)


def test_the_large_config_has_a_hundred_million_weights():
    settings = load_config(CONFIGS / "motion" / "base.yaml")
    with torch.device("meta"):
        model = MotionAutoencoder(**settings.model)
    assert model.config.size == settings.data.size == 512
    assert 80e6 < sum(weight.numel() for weight in model.parameters()) < 120e6
