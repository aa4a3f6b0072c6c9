"""emo-infer's controls: what reaches the library, and one clear line, exit code 2 and no file for what cannot be."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from emo.cli import infer
from emo.cli.infer import collect_controls, make_parser
from emo.pipelines.emo import EMOPipeline

DEGREE = np.pi / 180
GOOD = ("portrait.png", "sound.wav", "--face", "full", "--duration", "0.1")


@pytest.fixture
def folder(tmp_path, monkeypatch, portrait_path, sound_path) -> Path:
    """The working directory: portrait.png, sound.wav and curves.csv."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copy(portrait_path, "portrait.png")
    shutil.copy(sound_path, "sound.wav")
    Path("curves.csv").write_text("seconds,gaze_yaw,gaze_pitch,speed\n0,10,0,0.2\n1,20,0,0.4\n")
    return Path.cwd()


@pytest.fixture(scope="module")
def models(make_pipeline, tiny_model_folder, tmp_path_factory) -> dict[str, str]:
    """Folders of a model with every control and of one with head speed alone."""
    every = tmp_path_factory.mktemp("every")
    make_pipeline(controls=["gaze", "head_pose", "distance", "emotion"]).save_pretrained(every)
    return {"every": str(every), "plain": str(tiny_model_folder)}


@pytest.fixture
def command(folder, run_main, models):
    """command(model, *arguments) -> exit code, stdout, stderr."""

    def call(model: str, *arguments: str) -> tuple[int, str, str]:
        return run_main(infer.main, "emo-infer", *GOOD, "--model", models[model], "--device", "cpu", *arguments)

    return call


def collect(*arguments: str) -> dict:
    return collect_controls(make_parser().parse_args([*GOOD, *arguments]))


def test_options_are_degrees_and_may_be_negative():
    controls = collect("--gaze", "-20,5", "--pose", "-10,5", "--distance", "0.8", "--emotion", "happy:0.6,surprised")
    np.testing.assert_allclose(controls["gaze"], np.array([-20, 5]) * DEGREE, atol=1e-6)
    np.testing.assert_allclose(controls["head_pose_offset"][:2], np.array([-10, -5]) * DEGREE, atol=1e-6)
    assert np.isnan(controls["head_pose_offset"][2]) and controls["distance"] == pytest.approx([0.8])
    np.testing.assert_allclose(controls["emotion"], [0, 0.6, 0, 0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(collect("--pose=1,2,-3")["head_pose_offset"], np.array([1, -2, -3]) * DEGREE, atol=1e-6)
    assert collect() == {}


def test_options_reach_the_pipeline(command, monkeypatch):
    given, stream = {}, EMOPipeline.stream
    monkeypatch.setattr(EMOPipeline, "stream", lambda self, *a, **k: given.update(k) or stream(self, *a, **k))
    arguments = ["--gaze", "10,0", "--emotion", "sad:0.5", "--still", "--control-guidance", "gaze:2,emotion:1.5"]
    code, _, err = command("every", *arguments)
    assert code == 0, err
    assert set(given["controls"]) == {"gaze", "emotion"} and given["still"] is True and given["drive"] is None
    assert given["condition_scales"] == {"gaze": 2.0, "emotion": 1.5}
    assert command("every", "--controls", "curves.csv", "--distance", "1.2", "--overwrite")[0] == 0
    assert given["controls"]["gaze"].shape == (26, 2) and given["controls"]["head_speed"].shape == (26, 1)
    assert set(given["controls"]) == {"gaze", "head_speed", "distance"} and given["condition_scales"] is None


def test_the_command_of_the_docs(folder, run_main):
    """By mini, which has every control."""
    shutil.copy("sound.wav", "song.wav")
    command = "emo-infer portrait.png song.wav --gaze -15,5 --pose 10,0 --emotion happy:0.6"
    code, _, err = run_main(infer.main, *command.split(), *GOOD[2:], "--device", "cpu")
    assert code == 0 and Path("portrait_song.mp4").exists(), err


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("plain", ["--gaze", "10,0"], "--gaze is not a control of this model: it has --speed; mini has it"),
        ("plain", ["--pose", "-10,0"], "--pose is not a control of this model: it has --speed"),
        ("plain", ["--controls", "curves.csv"], "--gaze is not a control of this model: it has --speed"),
        ("plain", ["--drive", "sound.wav"], "--drive needs a model with motion latents"),
        ("plain", ["--control-guidance", "gaze:2"], "--control-guidance gaze is not a condition of this model"),
        ("every", ["--still", "--pose", "1,2"], "--still holds the head: leave --pose out"),
        ("every", ["--gaze", "10"], "--gaze: '10' is not YAW,PITCH"),
        ("every", ["--gaze", "10,x"], "--gaze: 'x' is not a number"),
        ("every", ["--gaze", "95,0"], "--gaze: gaze_yaw 95 is not between -90 and 90"),
        ("every", ["--pose", "1,2,3,4"], "--pose: '1,2,3,4' is not YAW,PITCH,ROLL"),
        ("every", ["--distance", "0"], "--distance: distance 0 is not between 0.25 and 4"),
        ("every", ["--emotion", "bored:0.5"], "--emotion: 'bored' is none of neutral, happy, sad"),
        ("every", ["--emotion", "happy:2"], "--emotion: emotion_happy 2 is not between 0 and 1"),
        ("every", ["--emotion", "happy:"], "--emotion: '' is not a number"),
        ("every", ["--emotion", "sad,sad"], "--emotion: 'sad,sad' is not NAME:NUMBER"),
        ("every", ["--controls", "none.csv"], "none.csv: no such file"),
        ("every", ["--controls", "portrait.png"], "portrait.png can't be read as text"),
        ("every", ["--controls", "curves.csv", "--gaze", "1,1"], "--gaze is given twice, also in curves.csv"),
        ("every", ["--controls", "curves.csv", "--speed", "0.3"], "--speed is given twice, also in curves.csv"),
        ("every", ["--drive", "none.mp4"], "none.mp4: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_controls_that_cannot_be(folder, command, model, arguments, words):
    before = sorted(folder.rglob("*"))
    code, out, err = command(model, *arguments)
    assert code == 2 and out == "" and sorted(folder.rglob("*")) == before
    assert err.startswith("emo-infer: ") and err.count("\n") == 1 and words in err, err
