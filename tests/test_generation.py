"""generate(): files, pictures and samples in, one complete video out, or nothing."""

import numpy as np
import pytest
from PIL import Image

from emo.core.errors import InputError
from emo.generation import GenerationResult, generate
from emo.media.audio import probe_audio
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter


@pytest.fixture
def written(monkeypatch) -> dict[str, list[np.ndarray]]:
    """File name -> the frames that were written to it."""
    frames, write = {}, VideoWriter.write
    monkeypatch.setattr(
        VideoWriter, "write", lambda w, frame: frames.setdefault(w.path.name, []).append(frame) or write(w, frame)
    )
    return frames


def test_the_package_exposes_it():
    import emo.generation

    assert emo.generate is generate and emo.generation.generate is generate


def test_files_pictures_and_samples_give_the_same_frames(
    tiny_pipeline, portrait, portrait_path, sound_path, wave, written, tmp_path
):
    given = {
        "files.mp4": (portrait_path, sound_path),
        "text.mp4": (str(portrait_path), str(sound_path)),
        "pil.mp4": (Image.fromarray(portrait), sound_path),
        "array.mp4": (portrait, sound_path),
        "samples.mp4": (portrait, np.round(wave * 32767).astype(np.float32) / 32768),
    }
    for name, (image, audio) in given.items():
        result = generate(
            image,
            audio,
            tmp_path / name,
            pipeline=tiny_pipeline,
            face="full",
            start_seconds=0.2,
            duration_seconds=0.4,
            watermark=None,
        )
        assert result.path == tmp_path / name and result.num_frames == 10 and result.fps == 25
        assert len(list(read_video(result.path))) == 10
        assert probe_audio(result.path).seconds == pytest.approx(0.4, abs=0.03)
    for name in given:
        assert np.abs(np.array(written[name], np.int16) - np.array(written["files.mp4"], np.int16)).max() <= 1, name
    assert np.array_equal(written["files.mp4"], written["array.mp4"])


def test_the_seed_decides(tiny_pipeline, portrait, sound_path, written, tmp_path):
    import torch

    options = {"pipeline": tiny_pipeline, "face": "full", "duration_seconds": 0.2, "watermark": None}
    seeds = {"a.mp4": 3, "b.mp4": torch.Generator().manual_seed(3), "c.mp4": 2**63 - 1}
    for name, seed in seeds.items():
        generate(portrait, sound_path, tmp_path / name, generator=seed, **options)
    assert np.array_equal(written["a.mp4"], written["b.mp4"])
    assert not np.array_equal(written["a.mp4"], written["c.mp4"])


def test_progress_composition_and_size(tiny_pipeline, portrait, sound_path, tmp_path):
    progress, numbers = [], []

    def compose(number, frame):
        numbers.append(number)
        return np.concatenate([frame, frame], axis=1)

    options = {"pipeline": tiny_pipeline, "face": "full", "duration_seconds": 0.12, "compose": compose}
    result = generate(
        portrait,
        sound_path,
        tmp_path / "x.mp4",
        crop_only=True,
        on_frame=lambda *given: progress.append(given),
        **options,
    )
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)] and numbers == [0, 1, 2]
    assert next(read_video(result.path)).shape == (64, 128, 3)


def test_a_large_picture_is_shrunk_with_its_face(tiny_pipeline, portrait, sound_path, written, tmp_path):
    seen = []
    large = np.array(Image.fromarray(portrait).resize((384, 384)))
    options = {"pipeline": tiny_pipeline, "duration_seconds": 0.12, "max_size": 192, "on_warning": seen.append}
    options["watermark"] = None
    result = generate(large, sound_path, tmp_path / "large.mp4", face=(80, 60, 300, 340), **options)
    generate(
        np.array(Image.fromarray(large).resize((192, 192), Image.Resampling.BOX)),
        sound_path,
        tmp_path / "small.mp4",
        face=(40, 30, 150, 170),
        **options,
    )
    assert np.abs(np.array(written["large.mp4"], np.int16) - np.array(written["small.mp4"], np.int16)).mean() < 1
    assert seen == list(result.warnings) and "384 x 384 to 192 x 192" in seen[0]


def test_warnings_are_returned_and_logged(tiny_pipeline, portrait, tmp_path, caplog):
    options = {"pipeline": tiny_pipeline, "face": "full"}
    result = generate(portrait, np.zeros(3200, np.float32), tmp_path / "x.mp4", **options)
    assert result.warnings == ("audio is silent, so the mouth stays closed",) and "is silent" in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image": np.zeros((4, 4), np.uint8)}, r"image of shape \(4, 4\)"),
        ({"image": "nowhere.png"}, "nowhere.png"),
        ({"audio": np.zeros((2, 9), np.float32)}, r"audio of shape \(2, 9\)"),
        ({"audio": np.zeros(100, np.float32)}, "audio: 0.00625 s of sound is shorter than half a frame"),
        ({"audio": "nowhere.wav"}, "nowhere.wav"),
        ({"output": "nowhere/out.mp4"}, "there is no folder nowhere"),
        ({"start_seconds": 9.0}, "lasts 2.00 seconds"),
        ({"duration_seconds": 0.0}, "the duration must be more than 0 seconds, not 0"),
        ({"face": None, "image": np.zeros((64, 64, 3), np.uint8)}, "no face found in image"),
        ({"arcface": "none.pth"}, "arcface= needs a face that is detected"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(portrait, sound_path, tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    arguments = {"image": portrait, "audio": sound_path, "output": "out.mp4", "face": "full"} | given
    with pytest.raises(InputError, match=words):
        generate(**arguments, pipeline=lambda: pytest.fail("a model is loaded"))
    assert not list(tmp_path.iterdir())


def test_figures_of_a_result():
    result = GenerationResult("x.mp4", 50, 25.0, 4.0)
    assert result.seconds_per_frame == 0.08 and result.real_time_factor == 2
