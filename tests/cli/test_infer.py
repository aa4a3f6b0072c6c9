"""emo-infer: a video as long as the sound, or one clear line, exit code 2 and no file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import emo
import emo.core.files
from emo.cli import infer
from emo.media.audio import probe_audio
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.pipelines.emo import EMOPipeline

RATE = 16000


@pytest.fixture
def folder(tmp_path, monkeypatch, portrait_path, write_wav, wave) -> Path:
    """The working directory: portrait.png and a sound.wav of 0.6 s."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copy(portrait_path, "portrait.png")
    write_wav(Path("sound.wav"), wave[: round(0.6 * RATE)])
    return Path.cwd()


@pytest.fixture
def command(run_main, tiny_model_folder):
    """command(*arguments) -> exit code, stdout, stderr of emo-infer with the tiny model."""

    def call(*arguments: str, model: str = str(tiny_model_folder)) -> tuple[int, str, str]:
        return run_main(infer.main, "emo-infer", "--model", model, "--device", "cpu", *arguments)

    return call


@pytest.fixture
def refuses(folder, command):
    """refuses(*arguments) -> the one line of stderr; nothing else is printed and no file is made."""

    def call(*arguments: str, **options) -> str:
        before = sorted(folder.rglob("*"))
        code, out, err = command(*arguments, **options)
        assert code == 2 and out == ""
        assert err.startswith("emo-infer: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert sorted(folder.rglob("*")) == before
        return err

    return call


GOOD = ("portrait.png", "sound.wav", "--face", "full")


def test_a_video_as_long_as_the_sound(folder, command):
    code, out, err = command(*GOOD)
    assert code == 0
    assert all(line.startswith("portrait_sound.mp4:") for line in err.replace("\r", "\n").split("\n") if line)
    assert out.startswith("portrait_sound.mp4: 15 frames, ") and out.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["portrait.png", "portrait_sound.mp4", "sound.wav"]
    frames = list(read_video("portrait_sound.mp4"))
    assert len(frames) == 15 and frames[0].shape == (192, 192, 3)
    assert probe_audio("portrait_sound.mp4").seconds == pytest.approx(0.6, abs=0.03)


def test_a_name_that_the_terminal_cannot_spell(folder, tiny_model_folder):
    """A finished video ends with 0 also where stdout can't encode its name."""
    name = "\u65e5\u672c\u8a9e.mp4"
    command = [sys.executable, "-m", "emo.cli.infer", *GOOD, "--duration", "0.1", "-o", name]
    done = subprocess.run(
        [*command, "--model", str(tiny_model_folder), "--device", "cpu"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(Path(emo.__file__).parents[1])},
    )
    assert done.returncode == 0 and done.stdout.startswith(rb"\u65e5\u672c\u8a9e.mp4: 2 frames"), done.stderr
    assert Path(name).exists()


def test_long_names_are_shortened(folder, command):
    names = "\u65e5" * 80 + ".png", "s" * 200 + ".wav"
    for old, new in zip(GOOD, names, strict=False):
        shutil.copy(old, new)
    code, _, err = command(*names, "--face", "full", "--duration", "0.1")
    (video,) = folder.glob("*.mp4")
    assert code == 0 and len(os.fsencode(video.name)) <= 255, err


def test_the_largest_seed(folder, command):
    for seed in (2**63 - 1, 2**53 + 1):
        assert command(*GOOD, "-o", "out.mp4", "--overwrite", "--duration", "0.1", "--seed", str(seed))[0] == 0


def test_the_same_seed_gives_the_same_frames(folder, command, monkeypatch):
    monkeypatch.setattr("emo.provenance.payload.secrets.randbits", lambda bits: 5)  # else each video has its own mark
    written, write = {}, VideoWriter.write
    monkeypatch.setattr(
        VideoWriter, "write", lambda w, frame: written.setdefault(w.path.name, []).append(frame) or write(w, frame)
    )
    for name, seed in [("a.mp4", 1), ("b.mp4", 1), ("c.mp4", 2)]:
        assert command(*GOOD, "--duration", "0.2", "-o", name, "--seed", seed)[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(written["a.mp4"], written["b.mp4"], strict=True))
    assert not all(np.array_equal(a, c) for a, c in zip(written["a.mp4"], written["c.mp4"], strict=True))


@pytest.mark.parametrize(
    ("arguments", "count", "side"),
    [
        (["--fps", "50", "--crop"], 30, 64),
        (["--start", "0.2", "--duration", "0.2", "--steps", "1", "--guidance", "2", "--speed", "0.5"], 5, 192),
        (["--start", "0.4", "--crop", "--size", "128", "--dtype", "bfloat16"], 5, 128),
        (["--duration", "0.2", "--max-size", "128", "--quality", "30", "--preset", "share"], 5, 128),
    ],
)
def test_options(folder, command, arguments, count, side):
    code, _, err = command(*GOOD, "-o", "out.mp4", *arguments)
    assert code == 0, err
    frames = list(read_video("out.mp4"))
    assert len(frames) == count and frames[0].shape == (side, side, 3)
    assert probe_audio("out.mp4").seconds == pytest.approx(count / (50 if "50" in arguments else 25), abs=0.03)


def test_overwrite_replaces_and_without_it_nothing_is_touched(folder, command, refuses):
    Path("out.mp4").write_text("mine")
    assert "out.mp4 exists" in refuses(*GOOD, "-o", "out.mp4")
    assert Path("out.mp4").read_text() == "mine"
    assert command(*GOOD, "-o", "out.mp4", "--duration", "0.2", "--overwrite")[0] == 0
    assert len(list(read_video("out.mp4"))) == 5


def test_silence_is_allowed_with_one_warning(folder, command, write_wav):
    write_wav(folder / "silence.wav", np.zeros(RATE // 4))
    code, out, err = command("portrait.png", "silence.wav", "--face", "full")
    assert code == 0 and Path("portrait_silence.mp4").exists()
    assert (out + err).count("warning") == 1
    assert "emo-infer: warning: silence.wav is silent, so the mouth stays closed\n" in err
    assert "warning" not in command(*GOOD, "-o", "out.mp4", "--duration", "0.2")[2]


def test_ctrl_c_leaves_nothing_behind(folder, command, monkeypatch):
    stream = EMOPipeline.stream

    def stopped(self, *arguments, **options):
        for index, frame in enumerate(stream(self, *arguments, **options)):
            if index == 7:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(EMOPipeline, "stream", stopped)
    Path("old.mp4").write_text("mine")
    code, out, err = command(*GOOD, "-o", "old.mp4", "--overwrite")
    assert code == 130 and out == "" and err.endswith("emo-infer: stopped\n") and "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["old.mp4", "portrait.png", "sound.wav"]
    assert Path("old.mp4").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fps", "0"], "--fps"),
        (["--fps", "nan"], "--fps"),
        (["--fps", "24,5"], "--fps: '24,5' is not a number: write 24.5"),
        (["--quality", "52"], "--quality"),
        (["--max-size", "9"], "--max-size"),
        (["--preset", "huge"], "--preset"),
        (["--seed", str(2**63)], "--seed"),
        (["--speed", "9"], "--speed"),
        (["--steps", "0"], "--steps"),
        (["--steps", "many"], "--steps"),
        (["--seed", "-1"], "--seed"),
        (["--size", "100"], "--size"),
        (["--face", "nonsense"], "--face"),
        (["--face", "1,2,3"], "--face"),
        (["--face", "0,0,inf,inf"], "--face"),
        (["--face", "9,9,9,9"], "--face"),
        (["--face", "500,9,600,99"], "--face 500,9,600,99 is not a box of portrait.png"),
        (["--start", "7"], "sound.wav lasts 0.60 seconds"),
        (["--start", "-1"], "--start"),
        (["--duration", "0"], "sound.wav"),
        (["--duration", "0.01"], "sound.wav"),
        (["--dtype", "float16"], "--dtype"),
        (["--dtype", "int8"], "--dtype"),
        (["--device", "abacus"], "--device abacus"),
        (["-o", "out.avi"], "out.avi: only mp4 is written"),
        (["-o", "nowhere/out.mp4"], "nowhere/out.mp4: there is no folder nowhere"),
        (["-o", "portrait.png"], "portrait.png"),
        (["--nonsense"], "--nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be(refuses, arguments, words):
    assert words in refuses(*GOOD, *arguments)


def test_an_unwritable_folder(refuses, monkeypatch):
    monkeypatch.setattr(emo.core.files.os, "access", lambda *_: False)
    assert "out.mp4" in refuses(*GOOD, "-o", "out.mp4")


def text(path: Path) -> None:
    path.write_text("no media in here\n" * 50)


def cut(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:5000])


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


PORTRAITS = {
    "text.png": text,
    "cut.png": cut,
    "dot.png": lambda path: Image.new("RGB", (1, 1)).save(path),
    "empty.png": no_bytes,
    "folder.png": Path.mkdir,
    "missing.png": lambda path: None,
}
SOUNDS = {
    "text.wav": text,
    "empty.wav": no_bytes,
    "picture.png": lambda path: Image.new("RGB", (99, 99)).save(path),
    "folder.wav": Path.mkdir,
    "missing.wav": lambda path: None,
}


@pytest.mark.parametrize("name", PORTRAITS)
def test_portraits_that_are_none(folder, refuses, name):
    PORTRAITS[name](folder / name)
    assert name in refuses(name, "sound.wav", "--face", "full")


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_that_are_none(folder, refuses, name):
    SOUNDS[name](folder / name)
    assert name in refuses("portrait.png", name, "--face", "full")


@pytest.mark.parametrize("samples_in_it", [0, 320])  # none, and 0.02 s
def test_sounds_that_are_too_short(folder, refuses, write_wav, samples_in_it):
    write_wav(folder / "short.wav", np.full(samples_in_it, 0.1))
    assert "short.wav" in refuses("portrait.png", "short.wav", "--face", "full")


def test_no_face(folder, refuses):
    Image.linear_gradient("L").save("sky.png")
    message = refuses("sky.png", "sound.wav")
    assert "no face found in sky.png" in message and "--face full" in message


def test_the_face_is_found(folder, command, samples):
    code, out, err = command(samples / "portrait.png", "sound.wav", "--duration", "0.1")
    assert code == 0 and out.startswith("portrait_sound.mp4: 2 frames"), err


@pytest.mark.parametrize("model", ["nonsense", "no/such/model", "portrait.png"])
def test_models_that_are_none(refuses, model):
    assert f"--model {model}" in refuses(*GOOD, model=model)


def test_a_model_with_missing_or_extra_weights(refuses, tiny_model_folder, tmp_path):
    broken = shutil.copytree(tiny_model_folder, tmp_path / "broken")
    path = broken / "model" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file(weights | {"extra": torch.zeros(1)}, path)
    assert "broken/model has unknown 'extra'" in refuses(*GOOD, model=str(broken))
    weights.pop("unet.conv_in.weight")
    save_file(weights, path)
    assert "broken/model lacks 'unet.conv_in.weight'" in refuses(*GOOD, model=str(broken))
