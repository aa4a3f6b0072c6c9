"""The package as a newcomer meets it: its two README commands, what is installed, the sample media."""

import re
import wave as riff
from pathlib import Path

import numpy as np

import emo
from emo.face.selection import select_face
from emo.media.image import read_image
from emo.synthetic.sample_portrait import paint_portrait
from emo.synthetic.sample_song import SAMPLE_RATE_HZ, synthesize_song

ROOT = Path(__file__).parents[1]


def readme_commands() -> list[str]:
    """The lines of README.md that set up an environment."""
    return re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_readme_has_two_commands_that_hold_torch():
    infer, test = readme_commands()
    assert infer.endswith("emo-infer datasets/samples/portrait.png datasets/samples/song.wav")
    assert re.search(r"pytest( -\S+( \d+)?)*$", test)  # last, so that CI ends in its summary
    for command in (infer, test):
        assert command.count("pip install") == 1 and "torch==" in command  # one resolve: torch cannot move
    assert len(set(re.findall(r"torch==\S+", infer + " " + test))) == 1


def test_ci_runs_the_readme_test_command():
    script = ROOT / ".ci" / "run"
    assert script.read_text().splitlines()[-1] == readme_commands()[1]
    assert script.stat().st_mode & 0o111


def test_lazy_names_resolve():
    assert emo.InputError.__module__ == "emo.core.errors"
    assert re.fullmatch(r"\d+\.\d+\.\d+", emo.__version__)


def test_weights_are_not_ignored():
    """The wheel leaves out what git ignores: no pattern may catch the shipped checkpoint."""
    patterns = (ROOT / ".gitignore").read_text().split()
    assert not [line for line in patterns if "safetensors" in line or "weights" in line or line == "*.json"]


def test_sample_song_is_what_its_script_makes(samples):
    with riff.open(str(samples / "song.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, SAMPLE_RATE_HZ)
        stored = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    made = synthesize_song()
    assert 6 <= len(stored) / SAMPLE_RATE_HZ <= 8 and made.shape == stored.shape
    assert np.abs(made - stored).max() < 1e-3


def test_the_sample_portrait_shows_one_face(samples):
    pixels = read_image(samples / "portrait.png")
    face = select_face(pixels, None)
    assert pixels.shape == (512, 512, 3) and len(face.landmarks) == 68
    assert 0.4 < (face.box[3] - face.box[1]) / 512 < 0.95  # large enough for a first video


def test_the_drawn_portrait_is_the_same_at_every_call():
    assert paint_portrait().shape == (512, 512, 3) and np.array_equal(paint_portrait(), paint_portrait())


def test_samples_are_small(samples):
    for name in ("portrait.png", "song.wav"):
        assert (samples / name).stat().st_size < 700_000
