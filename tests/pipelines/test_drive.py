"""The motion of one video on another portrait: relative to the video's own neutral frame, as long as the sound."""

import cv2
import numpy as np
import pytest
import torch

from emo import EMOModel, EMOPipeline, MotionAutoencoder
from emo.cli import infer
from emo.core.errors import InputError
from emo.face.crop import Region, crop_region
from emo.face.selection import SelectedFace
from emo.face.tracking import Track
from emo.generation import generate
from emo.media.image import images_to_tensor, read_image
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.pipelines.drive import DrivingVideo, find_neutral_frame, follow_head, track_driving_face

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector
WIDTHS = {f"{part}_widths": (8, 8, 8) for part in ("encoder", "mouth", "eye", "square")}
WINDOWS = {"mouth_window": (24, 32), "eye_window": (16, 32), "square_pixels": 16}
OPTIONS = {"face": FACE, "crop_only": True}


@pytest.fixture(scope="module")
def pipeline(make_pipeline, tiny_model) -> EMOPipeline:
    """A tiny pipeline on motion latents, whose painters paint."""
    other = make_pipeline()
    torch.manual_seed(0)
    codec = MotionAutoencoder(4, 64, 16, encoder_blocks=1, painter_blocks=1, **WIDTHS, **WINDOWS).eval()
    for painter in codec.painters:
        torch.nn.init.normal_(painter.out.weight, std=0.2)
    settings = {name: value for name, value in tiny_model.items() if not name.startswith("residual")}
    model = EMOModel(**settings | {"reference_channels": codec.reference_channels}).eval()
    made = EMOPipeline(model, codec, other.audio_encoder, other.scheduler, size=64, num_inference_steps=1)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def person(samples) -> np.ndarray:
    """(H W 3) uint8, a face that the detector finds."""
    return cv2.resize(read_image(samples / "portrait.png"), (256, 256), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def nodding(person) -> np.ndarray:
    """(8 256 256 3) uint8: the head moves down and back up by 6 pixels."""
    shifts = 6 * np.sin(np.pi * np.arange(8) / 8)
    moves = [np.array([[1, 0, 0], [0, 1, shift]]) for shift in shifts]
    return np.stack([cv2.warpAffine(person, move, (256, 256), borderMode=cv2.BORDER_REPLICATE) for move in moves])


def latents_of(pipeline, picture, wave, drive, **options) -> torch.Tensor:
    return pipeline(picture, wave, drive=drive, output_type="latent", **OPTIONS | options).frames


def test_frames_are_encoded_as_motion_from_the_neutral_one(pipeline, portrait, wave, nodding):
    made = latents_of(pipeline, portrait, wave[: 8 * 640], nodding)
    face = track_driving_face(DrivingVideo(nodding), 25)
    crops = np.stack([crop_region(f, r, 64) for f, r in zip(nodding, face.regions, strict=True)])
    crops = images_to_tensor(crops)
    with torch.no_grad():
        expected = pipeline.vae.encode(crops, crops[face.neutral : face.neutral + 1])
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)
    assert made[face.neutral].abs().max() < 1e-5 < 1e-3 < made.abs().max()


def test_the_motion_does_not_depend_on_the_portrait_that_gets_it(pipeline, portrait, person, wave, nodding):
    ours, others = (latents_of(pipeline, picture, wave[: 8 * 640], nodding) for picture in (portrait, person))
    assert torch.equal(ours, others)
    frames = pipeline(portrait, wave[: 8 * 640], drive=nodding, face=FACE).frames
    assert frames.shape == (8, 192, 192, 3) and (frames != portrait).any()


def test_a_video_that_stands_still_leaves_the_picture_as_it_is(pipeline, portrait, person, wave):
    frames = pipeline(portrait, wave[: 5 * 640], drive=np.stack([person] * 5), face=FACE).frames
    np.testing.assert_array_equal(frames, np.broadcast_to(portrait, frames.shape))


def test_it_is_as_long_as_the_sound(pipeline, portrait, wave, nodding):
    full = latents_of(pipeline, portrait, wave[: 8 * 640], nodding)
    held = latents_of(pipeline, portrait, wave[: 12 * 640], nodding)
    assert torch.equal(held[:8], full) and torch.equal(held[8:], full[7:].expand(4, -1, -1, -1))
    chunks = iter(np.split(wave[: 8 * 640], 10))
    assert torch.equal(latents_of(pipeline, portrait, chunks, DrivingVideo(nodding, 0.0, 0.32)), full)
    assert len(latents_of(pipeline, portrait, wave[: 3 * 640], nodding)) == 3
    with pytest.raises(InputError, match=r"moves for 0.32 s, and the sound lasts 1.00 s: .*duration_seconds=0.32"):
        latents_of(pipeline, portrait, wave[:16000], nodding)


def test_a_file_starts_with_the_sound(
    pipeline, portrait, portrait_path, wave, write_wav, nodding, tmp_path, monkeypatch, run_main
):
    write_wav(tmp_path / "sound.wav", wave[: 8 * 640])
    with VideoWriter(tmp_path / "driver.mp4", 25, tmp_path / "sound.wav", crf=1) as writer:
        for frame in nodding:
            writer.write(frame)
    options = {"pipeline": pipeline, "face": FACE, "crop_only": True, "start_seconds": 0.12, "duration_seconds": 0.2}
    made = generate(portrait, tmp_path / "sound.wav", tmp_path / "a.mp4", drive=tmp_path / "driver.mp4", **options)
    assert made.num_frames == len(list(read_video(made.path))) == 5
    part = np.stack(list(DrivingVideo(tmp_path / "driver.mp4", 0.12, 0.2).read(25))).astype(int)
    errors = [np.abs(part - nodding[first : first + 5]).mean() for first in (2, 3)]
    assert errors[1] < 2 < errors[0]
    with pytest.raises(InputError, match="nowhere.mp4: no such file"):
        generate(portrait, tmp_path / "sound.wav", tmp_path / "b.mp4", drive=tmp_path / "nowhere.mp4", **options)

    (tmp_path / "driver.mp4").rename(tmp_path / "talk.mp4")
    (tmp_path / "portrait.png").symlink_to(portrait_path)
    monkeypatch.chdir(tmp_path)
    command = "emo-infer portrait.png talk.mp4 --drive talk.mp4"  # by mini
    code, _, err = run_main(infer.main, *command.split(), "--device", "cpu", "--face", "full", "--crop")
    assert code == 0 and len(list(read_video("portrait_talk.mp4"))) == 8, err


def test_the_neutral_frame_has_a_closed_mouth_open_eyes_and_a_usual_pose(make_clip):
    openings = np.array([1.0, 0.5, 0.0, 0.7, 0.0, 0.3])
    landmarks = make_clip("a", "anna", openings)[0].landmarks * 192
    landmarks[2, [37, 38, 40, 41]] = landmarks[2, [36]]  # a blink
    assert find_neutral_frame(Track(0, landmarks)) == 4
    landmarks[4] = np.nan
    assert find_neutral_frame(Track(0, landmarks)) == 5


def test_the_crop_follows_the_head_smoothly(make_clip):
    still = np.repeat(make_clip("a", "anna", np.zeros(1))[0].landmarks * 192, 50, axis=0)
    walk, jitter = np.linspace(0, 100, 50), 2.0 * (-1) ** np.arange(50)
    regions = follow_head(Track(0, still + np.stack([walk, jitter], -1)[:, None]), 50, 25)
    moved = np.array([region.center for region in regions]) - follow_head(Track(0, still), 50, 25)[0].center
    np.testing.assert_allclose(moved[8:-8, 0], walk[8:-8], atol=0.5)
    assert np.abs(moved[8:-8, 1]).max() < 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drive": np.zeros((3, 64, 64, 3), np.uint8)}, "no face found in drive"),
        ({"drive": np.zeros((64, 64, 3), np.uint8)}, r"drive of shape \(64, 64, 3\)"),
        ({"drive": DrivingVideo(np.zeros((3, 64, 64, 3), np.float32))}, "and type float32: give a file, or"),
        ({"head_speed": 0.3}, "drive= takes all motion from the video: leave head_speed= out"),
        ({"controls": {"gaze": (0, 0)}}, "leave controls= out"),
        ({"still": True}, "leave still= out"),
    ],
)
def test_drives_that_cannot_be(pipeline, portrait, wave, nodding, change, words):
    with pytest.raises(InputError, match=words):
        pipeline(portrait, wave[: 3 * 640], **{"drive": nodding} | OPTIONS | change)


def test_the_face_must_be_there_to_the_end(pipeline, portrait, wave, person):
    leaves = np.stack([person] * 6 + [np.zeros_like(person)] * 24)
    with pytest.raises(InputError, match="drive shows the same face only from 0 to 0.24 s"):
        latents_of(pipeline, portrait, wave[: 30 * 640], leaves)


def test_a_model_without_motion_latents_says_so(tiny_pipeline, portrait, wave, nodding):
    with pytest.raises(InputError, match="drive= needs a model with motion latents"):
        tiny_pipeline(portrait, wave[: 3 * 640], drive=nodding, **OPTIONS)
