"""Preview videos of a run: with audio, under the same names at every step; unusable files are refused at the start."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo.core.config import Config, SamplesConfig, SamplingConfig
from emo.core.errors import InputError
from emo.media.audio import probe_audio, read_audio
from emo.media.video import probe_video, read_video
from emo.training.trainer import train


@pytest.fixture
def preview_config(config, samples, sound_path, tiny_model_folder) -> Config:
    """Two steps with previews after each: a portrait that speaks the first 0.4 s of two audio files."""
    audio = [str(samples / "song.wav"), str(sound_path)]
    scenes = SamplesConfig([str(samples / "portrait.png")], audio, 0.4)
    sampling = SamplingConfig(num_inference_steps=1, guidance_scale=1.0)
    start = str(tiny_model_folder / "model")  # a new model moves nothing
    return replace(config, steps=2, sample_steps=1, samples=scenes, sampling=sampling, start_from=start)


def correlate_audio(video: Path, truth: np.ndarray) -> float:
    """The correlation of its audio with (S,) at 16 kHz."""
    wave = read_audio(video, 16000)[: len(truth)]
    return float(np.corrcoef(wave, truth[: len(wave)])[0, 1])


def test_videos_have_audio_its_length_and_the_same_names_at_every_step(preview_config, wave, samples, tmp_path):
    train(preview_config)
    made = sorted((tmp_path / "run" / "samples").iterdir())
    names = [[path.name[14:] for path in made if path.name.startswith(f"step_0000000{step}_")] for step in (1, 2)]
    assert names[0] == names[1] == ["a0.mp4", "a1.mp4", "b0.mp4", "portrait_song.mp4", "portrait_sound.mp4"]
    song = read_audio(samples / "song.wav", 16000)
    for path in made:
        clip, truth = "portrait" not in path.name, song if "song" in path.name else wave
        frames = 16 if clip else 10
        assert (probe_video(path).frames, probe_video(path).width) == (frames, 3 * 64 if clip else 64)
        assert probe_audio(path).seconds == pytest.approx(frames / 25, abs=0.07)
        assert correlate_audio(path, truth) > 0.98


def test_the_same_weights_make_the_same_videos(preview_config, tmp_path):
    train(replace(preview_config, learning_rate=0.0))
    made = sorted((tmp_path / "run" / "samples").iterdir())
    digests = [hashlib.sha256(b"".join(frame.tobytes() for frame in read_video(path))).hexdigest() for path in made]
    assert digests[:5] == digests[5:] and len({*digests}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ["gone.png"]}, "gone.png"),
        ({"audio": ["gone.wav"]}, "gone.wav: no such file"),
        ({"audio": []}, "samples: give samples.images and samples.audio, or neither"),
        ({"images": ["plain.png"]}, "samples.images: no face is found in plain.png: give another image"),
        ({"audio": ["song.wav", "other/song.wav"]}, "2 videos would be named portrait_song"),
        ({"duration_seconds": 0.001}, "song.wav is shorter than half a frame"),
        ({"duration_seconds": 0.0}, "song.wav: the duration must be more than 0 seconds, not 0"),
    ],
)
def test_unusable_files_are_refused_at_the_start(preview_config, samples, tmp_path, monkeypatch, change, message):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128), (90, 90, 90)).save("plain.png")
    Path("other").mkdir()
    for place in (Path("song.wav"), Path("other/song.wav")):
        os.symlink(samples / "song.wav", place)
    scenes = replace(preview_config.samples, audio=["song.wav"])
    with pytest.raises(InputError) as caught:
        train(replace(preview_config, samples=replace(scenes, **change)))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("run").exists()


def test_previews_do_not_change_the_training(preview_config, read_log, tmp_path):
    train(preview_config)
    train(replace(preview_config, output=str(tmp_path / "without"), sample_steps=100))
    assert read_log(tmp_path / "run") == read_log(tmp_path / "without")
