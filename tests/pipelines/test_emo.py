"""EMOPipeline: as many frames as the audio is long, the same from chunks, and only the face changes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emo.core.errors import InputError
from emo.face.crop import Region, crop_region
from emo.face.paste import ColorLimiter
from emo.face.selection import SelectedFace
from emo.media.audio import AudioBuffer
from emo.media.image import images_to_tensor, tensor_to_images
from emo.models.autoencoder import decode_latents, encode_images
from emo.pipelines.emo import EMOPipeline
from emo.pipelines.guidance import crossfade
from emo.pipelines.hallo import HalloPipeline

RATE = 16000
PLACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # without the detector


def run(pipeline: EMOPipeline, portrait, wave, seed: int = 0, **options) -> np.ndarray:
    options = {"face": PLACE, "generator": torch.Generator().manual_seed(seed)} | options
    return pipeline(portrait, wave, **options).frames


def chunks(wave: np.ndarray, *sizes: int):
    """The wave in pieces of these sizes, over and over."""
    position = 0
    while position < len(wave):
        for size in sizes:
            yield wave[position : position + size]
            position += size


@pytest.mark.parametrize(
    ("seconds", "fps", "count"),
    [(0.03, 25, 1), (0.24, 25, 6), (0.25, 25, 6), (0.5, 24, 12), (0.52, 29.97, 16), (0.3, 60, 18), (1.0, 5, 5)],
)
def test_the_video_is_as_long_as_the_audio(tiny_pipeline, portrait, wave, seconds, fps, count):
    frames = run(tiny_pipeline, portrait, wave[: round(seconds * RATE)], fps=fps)
    assert frames.shape == (count, *portrait.shape) and frames.dtype == np.uint8
    assert count == round(seconds * fps)


def test_equal_seeds_give_equal_frames(tiny_pipeline, portrait, wave):
    first, again, other = (run(tiny_pipeline, portrait, wave[:6400], seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("margin", [0, 2])
def test_audio_in_chunks_gives_the_same_frames(make_pipeline, portrait, wave, margin):
    pipeline = make_pipeline(audio_margin=margin)
    full = run(pipeline, portrait, wave[:20000])
    pieces = chunks(wave[:20000], 997, 1, 0, 5003)
    options = {"face": PLACE, "generator": torch.Generator().manual_seed(0)}
    assert np.array_equal(full, np.stack(list(pipeline.stream(portrait, pieces, **options))))


def test_the_first_frames_come_before_the_audio_has_ended(tiny_pipeline, portrait, wave):
    taken = []

    def read_chunks():
        for piece in chunks(wave, 1000):
            taken.append(len(piece))
            yield piece

    frames = tiny_pipeline.stream(portrait, read_chunks(), face=PLACE)
    next(frames)
    window = tiny_pipeline.model.config.num_frames / 25 + tiny_pipeline.audio_encoder.future_seconds
    assert window * RATE <= sum(taken) <= window * RATE + 1000
    assert 1 + len(list(frames)) == 50 and sum(taken) == len(wave)


def test_audio_changes_the_frames(tiny_pipeline, portrait, wave):
    first, second = (run(tiny_pipeline, portrait, w) for w in (wave[:9600], wave[:9600] * 0))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_the_reference_net_runs_once_per_window_and_once_for_the_portrait(
    tiny_pipeline, portrait, wave, guidance_scale
):
    runs = []
    net = tiny_pipeline.model.reference_net
    hook = net.register_forward_pre_hook(lambda module, inputs: runs.append(inputs[0].shape[1]))
    try:
        run(tiny_pipeline, portrait, wave[: 20 * 640], guidance_scale=guidance_scale)  # windows of 6 6 6 2
    finally:
        hook.remove()
    assert runs == [1, 2, 2, 2]


@pytest.mark.parametrize("frames", [12, 13])  # the last window may be shorter than the motion frames
def test_the_last_frames_of_a_window_are_the_motion_frames_of_the_next(
    tiny_pipeline, portrait, wave, monkeypatch, frames
):
    motions, windows = [], []
    encode, denoise = tiny_pipeline.model.encode_conditions, EMOPipeline.denoise_window
    monkeypatch.setattr(
        tiny_pipeline.model,
        "encode_conditions",
        lambda given, *rest: motions.append(given.motion) or encode(given, *rest),
    )
    monkeypatch.setattr(EMOPipeline, "denoise_window", lambda *args: windows.append(denoise(*args)) or windows[-1])
    run(tiny_pipeline, portrait, wave[: frames * 640])
    assert motions[0] is None and len(motions) == len(windows) == (frames + 5) // 6
    for window, motion in zip(windows, motions[1:], strict=False):
        assert torch.equal(motion, window[:, -2:])


@pytest.fixture
def overlapping(tiny_pipeline) -> EMOPipeline:
    """The tiny pipeline, its windows of 6 frames overlapping by 3."""
    options = {"size": 64, "num_inference_steps": 1, "overlap_frames": 3}
    pipeline = EMOPipeline(**tiny_pipeline.components, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("frames", [1, 3, 5, 6, 7, 9, 10, 17])
def test_overlapping_windows_give_each_frame_once_also_from_chunks(overlapping, portrait, wave, frames):
    full = run(overlapping, portrait, wave[: frames * 640], crop_only=True)
    options = {"face": PLACE, "generator": torch.Generator().manual_seed(0), "crop_only": True}
    pieces = np.stack(list(overlapping.stream(portrait, chunks(wave[: frames * 640], 301), **options)))
    assert len(full) == frames and np.array_equal(full, pieces)


def test_motion_frames_end_where_an_overlapping_window_begins(overlapping, portrait, wave, monkeypatch):
    motions, parts = [], []
    encode, windows = overlapping.model.encode_conditions, EMOPipeline._windows
    monkeypatch.setattr(
        overlapping.model,
        "encode_conditions",
        lambda given, *rest: motions.append(given.motion) or encode(given, *rest),
    )

    def spy(*args):
        for part in windows(*args):
            parts.append(part)
            yield part

    monkeypatch.setattr(EMOPipeline, "_windows", spy)
    run(overlapping, portrait, wave[: 14 * 640], crop_only=True)
    assert [len(part) for part in parts] == [3, 3, 3, 5] and motions[0] is None
    for part, motion in zip(parts, motions[1:], strict=False):
        assert torch.equal(motion[0], part[-2:])


def test_one_window_fades_into_the_next():
    previous, window = torch.zeros(1, 3, 1, 1, 1), torch.ones(1, 5, 1, 1, 1)
    assert torch.allclose(crossfade(previous, window).flatten(), torch.tensor([1 / 6, 0.5, 5 / 6, 1, 1]))
    assert torch.equal(crossfade(previous[:, :0], window), window)


def test_guidance_with_a_tiny_threshold_equals_no_guidance(tiny_pipeline, portrait, wave):
    tight = EMOPipeline(**tiny_pipeline.components, size=64, num_inference_steps=2, guidance_threshold=1e-9)
    plain = run(tiny_pipeline, portrait, wave[:3840], guidance_scale=1)
    assert np.array_equal(plain, run(tight, portrait, wave[:3840], guidance_scale=5))
    assert not np.array_equal(plain, run(tiny_pipeline, portrait, wave[:3840], guidance_scale=5))


def test_an_overlap_of_more_than_half_raises_an_error(tiny_pipeline):
    with pytest.raises(ValueError, match="overlap_frames=4: give 0 to 3"):
        EMOPipeline(**tiny_pipeline.components, overlap_frames=4)


def test_colors_are_limited_to_those_of_the_decoded_portrait(tiny_pipeline, portrait, wave):
    options = {"size": 64, "num_inference_steps": 2}
    pipes = [EMOPipeline(**tiny_pipeline.components, **options, color_limit_radius=reach) for reach in (0.0, 0.05)]
    plain, bound = (run(pipe, portrait, wave[:3840], crop_only=True) for pipe in pipes)
    square, vae = crop_region(portrait, PLACE.region, 64), tiny_pipeline.vae
    with torch.no_grad():
        again = decode_latents(vae, encode_images(vae, images_to_tensor(square[None], "cpu", torch.float32)))
    palette = ColorLimiter(tensor_to_images(again)[0], 0.05)
    assert np.array_equal(bound, np.stack([palette.limit(frame) for frame in plain]))
    assert not np.array_equal(bound, plain)


def test_a_color_limit_radius_out_of_range_raises_an_error(tiny_pipeline):
    with pytest.raises(ValueError, match="color_limit_radius=-1: give 0 to 0.5"):
        EMOPipeline(**tiny_pipeline.components, color_limit_radius=-1)


def test_identity_guidance_needs_a_model_with_identity(tiny_pipeline):
    with pytest.raises(ValueError, match="guide_identity=true: needs a model with an identity_dim"):
        HalloPipeline(**tiny_pipeline.components)


def test_a_short_window_is_filled_with_earlier_motion_frames(tiny_pipeline):
    before, window = torch.full((1, 2, 4, 4, 4), 1.0), torch.full((1, 1, 4, 4, 4), 2.0)
    assert tiny_pipeline._next_motion(window[:, 0], before, window, window)[0, :, 0, 0, 0].tolist() == [1, 2]
    assert tiny_pipeline._next_motion(window[:, 0], None, window, window)[0, :, 0, 0, 0].tolist() == [0, 2]


def test_outside_the_square_frames_equal_the_picture(tiny_pipeline, portrait, wave):
    frames = run(tiny_pipeline, portrait, wave[:9600])
    inside = np.zeros(portrait.shape[:2], bool)
    inside[60:140, 56:136] = True
    assert (frames[:, ~inside] == portrait[~inside]).all()
    assert (frames[:, inside] != portrait[inside]).any((1, 2)).all()


def test_the_image_may_be_of_any_shape_and_a_pil_image(tiny_pipeline, portrait, wave):
    wide = portrait[20:181, 3:]
    frames = run(tiny_pipeline, Image.fromarray(wide).convert("RGBA"), wave[:1280], face="full")
    assert frames.shape == (2, 161, 189, 3)
    assert np.array_equal(frames, run(tiny_pipeline, wide, wave[:1280], face="full"))


@pytest.mark.parametrize(("size", "side"), [(None, 64), (128, 128)])
def test_crop_only_gives_the_square(tiny_pipeline, portrait, wave, size, side):
    assert run(tiny_pipeline, portrait, wave[:1280], crop_only=True, size=size).shape == (2, side, side, 3)


def test_options_change_the_frames(tiny_pipeline, portrait, wave):
    plain = run(tiny_pipeline, portrait, wave[:3840])
    assert np.array_equal(plain, run(tiny_pipeline, portrait, wave[:3840], guidance_scale=1, num_inference_steps=2))
    for options in ({"guidance_scale": 3.0}, {"num_inference_steps": 3}, {"head_speed": 1.0}, {"head_speed": 0.0}):
        assert not np.array_equal(plain, run(tiny_pipeline, portrait, wave[:3840], **options)), options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"face": (5, 5, 6, 6)}, "face=5,5,6,6 is not a box of image"),
        ({"face": (200, 5, 300, 90)}, "is not a box"),
        ({"fps": 0}, "fps=0: give more than 0"),
        ({"size": 100}, "positive multiple of 64"),
    ],
)
def test_arguments_out_of_range_raise_an_error(tiny_pipeline, portrait, wave, options, words):
    with pytest.raises(InputError, match=words):
        run(tiny_pipeline, portrait, wave[:640], **options)


@pytest.mark.parametrize("samples", [0, 1, 300])
def test_audio_shorter_than_half_a_frame_raises_an_error(tiny_pipeline, portrait, samples):
    with pytest.raises(InputError, match="shorter than half a frame"):
        run(tiny_pipeline, portrait, np.zeros(samples, np.float32))


def test_long_audio_is_trimmed_in_memory(tiny_pipeline, portrait, wave, monkeypatch):
    seconds, trim = [], AudioBuffer.trim

    def spy(buffer: AudioBuffer, before_seconds: float) -> None:
        trim(buffer, before_seconds)
        seconds.append(len(buffer.wave) / RATE)

    monkeypatch.setattr(AudioBuffer, "trim", spy)
    pieces = chunks(np.tile(wave, 8), 1600)
    assert sum(1 for _ in tiny_pipeline.stream(portrait, pieces, face=PLACE, crop_only=True)) == 400
    assert len(seconds) == 67 and max(seconds) < tiny_pipeline.audio_encoder.past_seconds + 2
    assert max(seconds) == max(seconds[30:45])


def test_trimming_changes_no_frame(tiny_pipeline, portrait, wave, monkeypatch):
    long = np.concatenate([wave, wave * np.linspace(0, 1, len(wave), dtype=np.float32)])[:56000]
    frames = run(tiny_pipeline, portrait, long, fps=12.5)
    monkeypatch.setattr(AudioBuffer, "trim", lambda *_: None)
    assert np.array_equal(frames, run(tiny_pipeline, portrait, long, fps=12.5))


def test_in_a_fresh_process_the_saved_pipeline_gives_the_same_frames(
    tiny_pipeline, tiny_model_folder, portrait, wave, tmp_path
):
    frames = run(tiny_pipeline, portrait, wave[:12800], face="full")
    np.savez(tmp_path / "in.npz", portrait=portrait, wave=wave[:12800])
    script = f"""
import numpy as np, torch
from emo import EMOPipeline
given = np.load({str(tmp_path / "in.npz")!r})
pipeline = EMOPipeline.from_pretrained({str(tiny_model_folder)!r})
generator = torch.Generator().manual_seed(0)
frames = pipeline(given["portrait"], given["wave"], face="full", generator=generator).frames
np.save({str(tmp_path / "out.npy")!r}, frames)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert np.array_equal(np.load(tmp_path / "out.npy"), frames)
