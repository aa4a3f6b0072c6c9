"""What a run shows: videos with their sound, the same ones at every step, and files that can't be are said at once."""

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
def shown(config, samples, sound_path, tiny_model_folder) -> Config:
    """Two steps from random weights and a look after each, at a portrait that says the first 0.4 s of two sounds."""
    voices = [str(samples / "song.wav"), str(sound_path)]
    scenes = SamplesConfig([str(samples / "portrait.png")], voices, 0.4)
    sampling = SamplingConfig(num_inference_steps=1, guidance_scale=1.0)
    start = str(tiny_model_folder / "model")  # a fresh model moves nothing
    return replace(config, steps=2, sample_steps=1, samples=scenes, sampling=sampling, start_from=start)


def heard(video: Path, truth: np.ndarray) -> float:
    """How much (1: all) of its sound is that of a wave (S,) at 16 kHz."""
    wave = read_audio(video, 16000)[: len(truth)]
    return float(np.corrcoef(wave, truth[: len(wave)])[0, 1])


def test_videos_have_their_sound_its_length_and_the_same_names_at_every_step(shown, wave, samples, tmp_path):
    train(shown)
    made = sorted((tmp_path / "run" / "samples").iterdir())
    names = [[path.name[14:] for path in made if path.name.startswith(f"step_0000000{step}_")] for step in (1, 2)]
    assert names[0] == names[1] == ["a0.mp4", "a1.mp4", "b0.mp4", "portrait_song.mp4", "portrait_sound.mp4"]
    song = read_audio(samples / "song.wav", 16000)
    for path in made:
        clip, truth = "portrait" not in path.name, song if "song" in path.name else wave
        frames = 16 if clip else 10
        assert (probe_video(path).frames, probe_video(path).width) == (frames, 3 * 64 if clip else 64)
        assert probe_audio(path).seconds == pytest.approx(frames / 25, abs=0.07)
        assert heard(path, truth) > 0.98


def test_the_same_weights_make_the_same_videos(shown, tmp_path):
    train(replace(shown, learning_rate=0.0))
    made = sorted((tmp_path / "run" / "samples").iterdir())
    digests = [hashlib.sha256(b"".join(frame.tobytes() for frame in read_video(path))).hexdigest() for path in made]
    assert digests[:5] == digests[5:] and len({*digests}) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"portraits": ["gone.png"]}, "gone.png"),
        ({"voices": ["gone.wav"]}, "gone.wav: no such file"),
        ({"voices": []}, "samples: give samples.portraits and samples.voices, or neither"),
        ({"portraits": ["plain.png"]}, "samples.portraits: no face is found in plain.png: give another picture"),
        ({"voices": ["song.wav", "other/song.wav"]}, "2 videos would be named portrait_song"),
        ({"seconds": 0.001}, "song.wav is shorter than half a frame"),
        ({"seconds": 0.0}, "song.wav can't last 0 seconds"),
    ],
)
def test_what_can_not_be_shown_is_said_at_the_start(shown, samples, tmp_path, monkeypatch, change, words):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128), (90, 90, 90)).save("plain.png")
    Path("other").mkdir()
    for place in (Path("song.wav"), Path("other/song.wav")):
        os.symlink(samples / "song.wav", place)
    scenes = replace(shown.samples, voices=["song.wav"])
    with pytest.raises(InputError) as caught:
        train(replace(shown, samples=replace(scenes, **change)))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("run").exists()


def test_the_chance_of_training_is_not_touched_by_a_look(shown, logged, tmp_path):
    train(shown)
    train(replace(shown, output=str(tmp_path / "unseen"), sample_steps=100))
    assert logged(tmp_path / "run") == logged(tmp_path / "unseen")
