"""MotionAutoencoder: zero latents are the portrait, motion is linear, any resolution, learns a motion, plugs in."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from emo import EMOModel, EMOPipeline, MotionAutoencoder
from emo.face.crop import Region
from emo.face.selection import SelectedFace
from emo.models.autoencoder import as_video_autoencoder
from emo.models.loading import load_component
from emo.models.painting import KEPT_CHANGE, LOST_CHANGE, Paint, PaintWindow
from emo.models.warping import blend_window, follow, stretch, warp

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector
TINY = {
    "latent_channels": 4,
    "size": 64,
    "flow_size": 16,
    "encoder_widths": (16, 16, 16),
    "encoder_blocks": 1,
    "mouth_widths": (8, 8, 8),
    "eye_widths": (8, 8, 8),
    "square_widths": (8, 8, 8),
    "painter_blocks": 1,
    "mouth_window": (24, 32),
    "eye_window": (16, 32),
    "square_pixels": 16,
}


@pytest.fixture
def codec() -> MotionAutoencoder:
    """A tiny one whose painters paint: their last layers are not zero as at the start of a training."""
    torch.manual_seed(0)
    model = MotionAutoencoder(**TINY).eval()
    for painter in model.painters:
        torch.nn.init.normal_(painter.out.weight, std=0.2)
    return model


def make_picture(size: int, seed: int = 0) -> torch.Tensor:
    """(1 3 size size), smooth, in [-1, 1]."""
    coarse = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, (size, size), mode="bicubic").clamp(-1, 1)


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 96, 128])
def test_zero_latents_give_back_the_portrait(codec, size):
    portrait = make_picture(size)
    assert codec.encode(portrait, portrait).count_nonzero() == 0
    latents = codec.encode(portrait.clone(), portrait)
    assert latents.shape == (1, 4, 4, 4) and latents.abs().max() < 1e-5
    torch.testing.assert_close(codec.decode(torch.zeros(2, 4, 4, 4), portrait), portrait.expand(2, -1, -1, -1))
    moved = codec.decode_parts(torch.randn(1, 4, 4, 4), portrait)
    assert (moved.frames - moved.warped).abs().max() > 0.1 and moved.painted.max() > 0.2  # or the test says nothing


@torch.no_grad()
def test_motion_is_linear_in_the_latents(codec):
    codec.fit_components(torch.randn(32, 4, 4, 4), 16)
    first, second = torch.randn(2, 1, 4, 4, 4)
    flows = [codec.predict_motion(latents) for latents in (first, second, (first + second) / 2, 1.5 * first)]
    assert flows[0].abs().max() > 1e-3
    torch.testing.assert_close(flows[2], (flows[0] + flows[1]) / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(flows[3], 1.5 * flows[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_latents_are_fitted_to_known_motion(codec):
    flows = codec.predict_motion(torch.randn(40, 4, 4, 4))
    assert (codec.predict_motion(codec.fit_latents(flows)) - flows).square().mean() < 0.01 * flows.square().mean()
    codec.fit_components(codec.fit_latents(flows), 64)
    fitted = codec.predict_motion(codec.fit_latents(flows))  # directly, in the components
    assert (fitted - flows).square().mean() < 0.02 * flows.square().mean()
    finer = functional.interpolate(flows, scale_factor=4, mode="nearest")
    torch.testing.assert_close(codec.fit_latents(finer), codec.fit_latents(flows), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_every_resolution_shows_the_same_motion(codec):
    fine, latents = make_picture(256), torch.randn(3, 4, 4, 4)
    coarse = functional.interpolate(fine, (128, 128), mode="area")
    at_256, at_128 = codec.decode(latents, fine), codec.decode(latents, coarse)
    assert at_256.shape == (3, 3, 256, 256)
    error = (functional.interpolate(at_256, (128, 128), mode="area") - at_128).abs()
    assert error.mean() < 0.01 and error.mean() < 0.1 * (at_128 - coarse).abs().mean()


@torch.no_grad()
def test_the_border_stays_as_it_is(codec):
    portrait = make_picture(128)
    change = (codec.decode(20 * torch.randn(2, 4, 4, 4), portrait) - portrait).abs()
    assert change.max() > 0.3
    for side in (change[..., 0, :], change[..., -1, :], change[..., 0], change[..., -1]):
        assert side.max() < 1e-5


@torch.no_grad()
def test_one_portrait_serves_many_frames(codec):
    portrait, latents = make_picture(64), torch.randn(3, 4, 4, 4)
    together = codec.decode(latents, portrait)
    torch.testing.assert_close(together, codec.decode(latents, portrait.expand(3, -1, -1, -1)))
    torch.testing.assert_close(together[1:2], codec.decode(latents[1:2], portrait))
    torch.testing.assert_close(
        codec.encode(together, portrait)[1:2], codec.encode(together[1:2], portrait), atol=1e-5, rtol=1e-4
    )


def test_training_decodes_what_inference_decodes(codec):
    latents, portraits = torch.randn(3, 4, 4, 4), torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = codec.decode(latents, portraits)
    decoded = codec.decode_parts(latents.requires_grad_(), portraits).frames
    assert torch.equal(decoded.detach(), expected)
    decoded.sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0


@torch.no_grad()
def test_windows_follow_the_moved_face(codec):
    flow = torch.full((1, 2, 16, 16), 0.0)
    flow[:, 0] = -0.1  # the frame shows what the portrait has a tenth of the side further left: the face moved right
    torch.testing.assert_close(follow(torch.tensor([[0.5, 0.7]]), flow), torch.tensor([[0.6, 0.7]]))
    picture = make_picture(64)
    moved = warp(picture, flow)
    torch.testing.assert_close(moved[..., 20], picture[..., 13] * 0.4 + picture[..., 14] * 0.6, atol=1e-4, rtol=0)
    widened = torch.linspace(0, 1, 16).expand(1, 1, 16, 16) * -0.5  # x is taken from half as far
    assert stretch(torch.cat([widened, widened * 0], dim=1))[..., 8, 8].item() == pytest.approx(0.467, abs=0.01)


@torch.no_grad()
def test_layers_are_what_decode_blends(codec):
    portrait, latents = make_picture(64), torch.randn(2, 4, 4, 4)
    layers, moved = codec.decode_layers(latents, portrait), codec.decode_parts(latents, portrait)
    torch.testing.assert_close(layers.flow, moved.flow)
    frames = warp(portrait.expand(2, -1, -1, -1), layers.flow)
    for extent, values, centers in layers.patches:
        frames = blend_window(frames, values, centers, extent)
    error, painted = (frames.clamp(-1, 1) - moved.frames).abs(), (moved.frames - moved.warped).abs()
    assert error.mean() < 0.25 * painted.mean()  # they differ in what is too fine for the windows
    assert all(v.count_nonzero() == 0 for _, v, _ in codec.decode_layers(0 * latents, portrait).patches)


def test_fine_detail_goes_only_where_a_change_is_seen():
    window, still = PaintWindow((0.5, 0.5), (8, 8), 16), torch.zeros(1, 3, 8, 8)
    share, center = torch.full((1, 1, 8, 8), 0.5), torch.full((1, 2), 0.5)
    for change, replaced in ((0.0, 0.0), (2 * KEPT_CHANGE, 0.0), (3 * LOST_CHANGE, 0.5)):
        values = Paint(window, still + 0.2, still + change, share, center).keep_detail()[0, :, 4, 4]
        torch.testing.assert_close(values[3].item(), replaced)
        torch.testing.assert_close(values[0].item(), 0.5 * change + 0.2 * replaced)  # the low frequencies change fully


def test_it_learns_the_motion_between_two_frames():
    torch.manual_seed(0)
    codec, portrait = MotionAutoencoder(**TINY), make_picture(64)
    bump = functional.pad(torch.full((1, 2, 8, 8), 0.04), [4] * 4)
    frame = warp(portrait, bump)
    optimizer, errors = torch.optim.Adam(codec.parameters(), 3e-3), []
    for _ in range(40):
        decoded = codec.decode_parts(codec.encode(frame, portrait), portrait)
        loss = (decoded.frames - frame).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert all(weight.grad is not None for weight in codec.parameters())
    assert errors[-1] < 0.5 * (portrait - frame).abs().mean().item()
    assert (decoded.warped - frame).abs().mean() < 0.8 * (portrait - frame).abs().mean()  # not by paint alone


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match="size=60"):
        MotionAutoencoder(**TINY | {"size": 60})
    with pytest.raises(ValueError, match="give multiples of 8"):
        MotionAutoencoder(**TINY | {"mouth_window": (20, 32)})


@pytest.fixture
def pipeline(make_pipeline, codec, tiny_model) -> EMOPipeline:
    """A tiny pipeline on motion latents."""
    other = make_pipeline()
    settings = tiny_model | {"latent_channels": 4, "reference_channels": codec.reference_channels}
    settings = {name: value for name, value in settings.items() if not name.startswith("residual")}
    torch.manual_seed(0)
    model = EMOModel(**settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # some start at zero
            parameter.add_(0.05 * torch.randn_like(parameter))
    made = EMOPipeline(model, codec, other.audio_encoder, other.scheduler, size=64, num_inference_steps=2)
    made.set_progress_bar_config(disable=True)
    return made


def test_a_pipeline_on_motion_latents_makes_frames(pipeline, portrait, wave, tmp_path):
    assert as_video_autoencoder(pipeline.vae) is pipeline.vae
    options = {"face": FACE, "guidance_scale": 1.5}
    frames = pipeline(portrait, wave[: 9 * 640], generator=torch.manual_seed(0), **options).frames
    assert frames.shape == (9, 192, 192, 3) and (frames != portrait).any()
    latents = pipeline(portrait, wave[: 9 * 640], generator=torch.manual_seed(0), output_type="latent", **options)
    assert latents.frames.shape == (9, 4, 4, 4)
    larger = pipeline(portrait, wave[: 2 * 640], generator=torch.manual_seed(0), crop_only=True, size=128, **options)
    assert larger.frames.shape == (2, 128, 128, 3)  # any resolution, the same latents
    pipeline.save_pretrained(tmp_path)
    loaded = EMOPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    again = loaded(portrait, wave[: 9 * 640], generator=torch.manual_seed(0), **options).frames
    np.testing.assert_array_equal(again, frames)
    assert isinstance(load_component(tmp_path / "vae"), MotionAutoencoder)


def test_a_moving_head_is_pasted_without_a_seam(pipeline, portrait, wave):
    moving = {"callback_on_step_end": lambda pipe, step, timestep, tensors: {"latents": 2 * torch.randn(1, 4, 4, 4, 4)}}
    noisy = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = pipeline(
        noisy, wave[: 4 * 640], face=FACE, generator=torch.manual_seed(0), guidance_scale=1.0, **moving
    ).frames
    change = np.abs(frames.astype(int) - noisy).max((0, 3))
    inside = np.zeros_like(change, bool)
    inside[60:140, 56:136] = True
    assert change[inside].max() > 60 and change[~inside].max() == 0
    ring = inside.copy()
    ring[62:138, 58:134] = False
    assert change[ring].max() <= 12


def test_frames_have_the_detail_of_the_picture_not_of_the_square(pipeline, wave):
    moving = {"callback_on_step_end": lambda pipe, step, timestep, tensors: {"latents": 0.2 + 0 * tensors["latents"]}}
    fine = np.random.default_rng(0).integers(60, 196, (384, 384, 3), np.uint8)  # far finer than 64 pixels to a side
    face = SelectedFace(Region((192.0, 192.0), 320.0), (100.0, 80.0, 280.0, 300.0))
    (frame,) = pipeline(fine, wave[:640], face=face, generator=torch.manual_seed(0), **moving).frames
    part = slice(140, 240), slice(140, 240)
    assert (frame[part] != fine[part]).mean() > 0.5 and frame[part].std() > 0.6 * fine[part].std()


def test_still_latents_give_back_the_picture(pipeline, portrait, wave):
    still = {"callback_on_step_end": lambda pipe, step, timestep, tensors: {"latents": 0 * tensors["latents"]}}
    frames = pipeline(portrait, wave[: 3 * 640], face=FACE, generator=torch.manual_seed(0), **still).frames
    np.testing.assert_array_equal(frames, np.broadcast_to(portrait, frames.shape))


@torch.no_grad()
def test_no_motion_frames_are_frames_of_the_portrait(pipeline):
    from emo.models.conditions import Conditions

    model, portrait = pipeline.model, make_picture(64)
    reference, shape = pipeline.vae.encode_reference(portrait), torch.Size((1, 4, 4, 4, 4))
    assert reference.shape == (1, 192, 4, 4)
    sample, time = torch.randn(shape), torch.tensor(10)
    start = model.initial_motion(reference)
    assert start.shape == (1, model.config.num_motion_frames, 4, 4, 4) and start.count_nonzero() == 0
    given, without = (model(sample, time, Conditions(reference, motion=motion)) for motion in (start, None))
    torch.testing.assert_close(given, without)
    assert not torch.allclose(model(sample, time, Conditions(reference, motion=start + 1)), without)
    other = Conditions(pipeline.vae.encode_reference(make_picture(64, 1)))
    assert not torch.allclose(model(sample, time, other), without)


def test_motion_latents_have_no_residual():
    with pytest.raises(ValueError, match="reference_channels"):
        EMOModel(reference_channels=192, residual_scale=1.0)
