"""Commands of README and docs are run as they stand, on small files of the names that they give."""

import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from emo.cli import bench

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
NOT_RUN = {  # why commands are only parsed, by test_commands.py -> patterns of them
    "installs or downloads packages": r"""pip install .*|\.venv/bin/pip install .*|python3 -m venv .*
        |pre-commit install|\. \.venv/bin/activate|scripts/fetch_kokoro\.sh .*""",
    "the test command itself, .ci/run, runs it": r"ruff .*|lint-imports|pyright|mkdocs .*|pytest .*",
    "asks for a token of the Hub": r"hf auth login",
    "needs Docker": r"docker .*",
    "needs CUDA": r"emo-infer .* --device cuda .*",
    "trains a model of 2 billion weights": r"emo-train configs/stage1\.yaml .*|scripts/train_three_stages\.sh",
    "starts processes on GPUs (several on a CPU train in tests/training/test_processes.py)": r"""accelerate launch .*
        |torchrun .*""",
    "downloads weights of 80 MB (tests/preparation/test_separation.py)": r"emo-prepare raw/ shards/ --vocals htdemucs",
    "needs a 3D face model, downloaded by hand (tests/preparation/test_heads.py)": r"emo-prepare heads .*",
    "needs weights of 250 MB (tests/metrics/test_networks.py)": r"emo-eval .* --inception \S+ --arcface \S+",
    "draws for many seconds (tests/test_package.py)": r"python -m emo\.synthetic\.sample_\w+ .*",
    "needs a film of people and a model with motion latents (tests/dubbing/test_pipeline.py)": r"emo-dub .*",
    "needs a file of jobs (tests/cli/test_jobs.py)": r"emo-infer --jobs .*",
    "serves until it is stopped (tests/app, tests/integrations/test_ray_serve.py)": r"emo-serve.*|serve run .*",
    "needs LiveKit (tests/integrations/test_livekit.py)": r"python integrations/livekit/.*",
    "makes and measures many videos (tests/metrics/test_gallery.py)": r"scripts/gallery\.sh .*",
    "needs a video with marks (tests/cli/test_detect.py)": r"emo-detect .*",
    "a measurement of minutes to hours": r"python benchmarks/.*|emo-bench live .*",
}
RUN_ELSEWHERE = {  # command -> the test that runs it, with the fixtures it needs
    "emo-convert pretrained_models -o hallo": "hub/convert/test_convert.py",
    "emo-publish runs/fine_tune OWNER/NAME --license cc-by-4.0 --report evaluation/report.json --bench bench.json": (
        "hub/test_publish.py"
    ),
    "emo-infer portrait.png song.wav --gaze -15,5 --pose 10,0 --emotion happy:0.6": "cli/test_infer_controls.py",
    "emo-infer portrait.png talk.mp4 --drive talk.mp4": "pipelines/test_drive.py",
}
FP32 = "precision=fp32"  # one process runs all trainings, and accelerate keeps the precision of the first
ONE_STEP = [FP32, "steps=1", "batch_size=1", "data.num_frames=2", "sampling.size=64", "sampling.num_inference_steps=1"]
ONE_CORE = ["--workers", "1"]
LENIENT = ["--size", "256", *ONE_CORE]
LENIENT += ["--limits", "min_seconds=1", "min_lip_sync_confidence=-1", "max_lip_sync_offset_frames=30"]
SMALL_DRAWN = ["--count", "1", "--seconds", "0.2", "--size", "64"]
TINY = ["--model", "tiny"]  # given a second time: the last one counts
SHORT = [*TINY, "--seconds", "0.2", "--repeats", "1", "--face", "full", "--device", "cpu"]
FROM_VIDEOS = {  # to a model and its figures: commands in the order in which a reader comes to them -> more arguments
    "emo-prepare raw/ shards/ --size 256": LENIENT,
    "emo-prepare raw/ shards/ --limits min_seconds=1": LENIENT,
    "emo-prepare raw/ shards/ --limits min_lip_sync_confidence=0 max_lip_sync_offset_frames=15": LENIENT,
    "emo-prepare raw/ shards/ --recipe datasets/hdtf.yaml --list annot_time.txt": LENIENT,
    "emo-train configs/mini/fine_tune.yaml": ONE_STEP,
    "emo-infer portrait.png song.wav --model runs/fine_tune/model": ["--duration", "0.1"],
    "emo-train configs/mini/fine_tune.yaml output=runs/me lora.rank=8": ONE_STEP,
    "emo-infer me.jpg speech.wav --model runs/me/model --lora runs/me/model": ["--duration", "0.1"],
    "emo-eval generated/ --reference real/ -o evaluation": ONE_CORE,
    "emo-eval --model runs/fine_tune/model --set real/": ["-o", "evaluation_of_model", *ONE_CORE],
    "emo-eval --model mini --set real/ --window 10 --controls": [*TINY, "-o", "evaluation_with_controls", *ONE_CORE],
}
FROM_CLIPS = {
    "emo-prepare report clips/ report.html": [],
    "emo-prepare shards clips/ shards/": [],
    "emo-train configs/mini/motion_autoencoder.yaml": ["steps=1", "batch_size=1", "validation_samples=1", FP32],
}
BENCHMARKS = [
    "emo-bench portrait.png song.wav --vs steps=4",
    "emo-bench datasets/samples/portrait.png datasets/samples/song.wav",
]
LABELS = "python -m emo.preparation.labels data/train/grid data/labels/grid"
WITH_STAND_INS = {  # scripts, whose commands only write down their arguments -> a command that is among them
    "scripts/prepare_mini.sh FaceXModel/ kokoro/": "--drivers data/clips/grid",
    "scripts/train_mini.sh": "python - runs/mini/diffusion/model runs/mini/painters/model runs/mini/model",
    "scripts/prepare_heads.sh photos/ FaceXModel/ kokoro/ heads/ grid_clips/": "--drivers grid_clips/",
}
FOLLOWED = {*FROM_VIDEOS, *FROM_CLIPS, *BENCHMARKS, *WITH_STAND_INS, LABELS}


def matches(patterns: str, command: str) -> bool:
    return re.fullmatch(re.sub(r"\n\s+", "", patterns), command) is not None


@pytest.fixture
def run(run_main):
    """run(command, *more) runs it with more arguments behind its own; it must end with 0."""

    def call(command: str, *more: str) -> None:
        words = [*shlex.split(command), *more]
        module, function = SCRIPTS[Path(words[0]).name].split(":")
        code, _, err = run_main(getattr(importlib.import_module(module), function), *words)
        assert code in (0, None), f"{shlex.join(words)}\n{err}"

    return call


@pytest.fixture
def drawn_video(run, reader_folder) -> Path:
    """raw/RD_drawn_000.mp4: a drawn head that speaks for 1.2 s, named as the recipe of HDTF wants it."""
    run("emo-prepare synth drawn/ --text configs/mini/sentences.txt --count 1 --seconds 1.2 --size 256")
    (reader_folder / "raw").mkdir()
    (video,) = (reader_folder / "drawn").glob("*.mp4")
    return video.rename(reader_folder / "raw" / "RD_drawn_000.mp4")


def test_every_command_is_run_or_listed_with_the_reason(document_commands, cheap_commands):
    """Each in exactly one way, and no entry of the lists above is left over from a command that is gone."""
    lists = {"test_command_runs": cheap_commands, "this file": FOLLOWED, "another file": RUN_ELSEWHERE}
    for text, place in document_commands.items():
        ways = [f"not run: {reason}" for reason, patterns in NOT_RUN.items() if matches(patterns, text)]
        ways += [name for name, commands in lists.items() if text in commands]
        assert len(ways) == 1, f"{place}: {text!r} must stand in one list of tests/docs/test_run.py, not in {ways}"
    named = FOLLOWED | RUN_ELSEWHERE.keys()
    assert not named - document_commands.keys()
    assert not [reason for reason, p in NOT_RUN.items() if not any(matches(p, text) for text in document_commands)]
    for command, file in RUN_ELSEWHERE.items():
        assert command in (ROOT / "tests" / file).read_text(), f"tests/{file} does not run {command!r}"


def test_command_runs(cheap_command, reader_folder, run, tiny_model_folder):
    """emo-infer with a tiny model, which takes the same way as any other, and a fifth of a second where it may."""
    program = Path(cheap_command.text.split()[0]).name
    more = {"emo-prepare": SMALL_DRAWN, "emo-info": ["--no-speed"]}.get(program, [])
    if program == "emo-infer":
        more = ["--model", str(tiny_model_folder), "--device", "cpu", "--dtype", "float32"]
        more += [] if "--duration" in cheap_command.text else ["--duration", "0.2"]
    before = {*reader_folder.iterdir()}
    run(cheap_command.text, *more)
    made = {path.suffix for path in {*reader_folder.iterdir()} - before}
    assert made == {"emo-infer": {".mp4"}, "emo-publish": {".md"}, "emo-prepare": {""}}.get(program, set())


def test_from_videos_to_a_model_and_its_figures(reader_folder, drawn_video, tiny_model_folder, run):
    (reader_folder / "tiny").symlink_to(tiny_model_folder)
    for name in ("generated", "real"):
        shutil.copytree("raw", name)
    Path("annot_time.txt").write_text("RD_drawn_000.mp4 0:00-0:05\n")
    for command, more in FROM_VIDEOS.items():
        run(command, *more)
    made = [
        "shards/index.parquet",
        "runs/me/model/lora",
        "evaluation/report.html",
        "evaluation_of_model/report.json",
        "evaluation_with_controls/report.html",
    ]
    assert all(Path(name).exists() for name in made)


def test_from_clips(reader_folder, clips_folder, run):
    for name in ("clips", "data/clips/heads/train"):
        shutil.copytree(clips_folder, name)
    for name in ("data/clips/heads/held_out", "data/clips/grid"):
        shutil.copytree(clips_folder, name, ignore=shutil.ignore_patterns("a*"))  # one clip is enough
    for command, more in FROM_CLIPS.items():
        run(command, *more)
    assert all(Path(name).exists() for name in ("report.html", "shards/index.parquet", "runs/mini/motion_autoencoder"))


@pytest.mark.parametrize("line", BENCHMARKS)
def test_benchmark_runs(line, reader_folder, tiny_model_folder, run, monkeypatch):
    (reader_folder / "tiny").symlink_to(tiny_model_folder)
    if "--vs" not in line:  # a new process takes seconds to start: only one command starts them
        monkeypatch.setattr(bench, "measure_in_new_process", bench.measure_run)
    run(line, *SHORT)
    assert Path("bench.svg").stat().st_size > 1000


def test_labels_are_written(reader_folder, samples, monkeypatch):
    """MediaPipe, which needs an environment of its own, has a stand-in whose meshes are points in the middle."""
    landmarks = [SimpleNamespace(x=0.5, y=0.5, z=0.0)] * 478

    class FaceMesh:
        def __init__(self, is_picture, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def process(self, frame):
            return SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=landmarks)])

    solutions = SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=FaceMesh))
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(solutions=solutions))
    Path("data/train/grid").mkdir(parents=True)
    shutil.copy(samples / "portrait.png", "data/train/grid/face.png")
    _, _, module, *folders = LABELS.split()
    monkeypatch.setattr(sys, "argv", [module, *folders])
    runpy.run_module(module, run_name="__main__")
    assert (load_file("data/labels/grid/face.safetensors")["landmarks"] == np.float32([256, 256, 0])).all()


@pytest.mark.skipif(shutil.which("sh") is None, reason="has no shell")
@pytest.mark.parametrize("call", WITH_STAND_INS)
def test_script_runs_its_commands(call, tmp_path):
    """In their order, one after the other, until one fails; test_commands.py parses each of them."""
    for name in ("emo-prepare", "emo-train", "python"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/said\n! [ -e {tmp_path}/fail ]\n')
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(call), cwd=ROOT, env=environment, capture_output=True, text=True)
    said = (tmp_path / "said").read_text().splitlines()
    assert done.returncode == 0, done.stderr
    assert len(said) > 1 and any(WITH_STAND_INS[call] in line for line in said)
    configs = [ROOT / line.split()[1] for line in said if line.startswith("emo-train")]
    assert all(config.is_file() for config in configs)
    (tmp_path / "fail").touch()
    (tmp_path / "said").unlink()
    assert subprocess.run(shlex.split(call), cwd=ROOT, env=environment).returncode != 0
    assert (tmp_path / "said").read_text().splitlines() == said[:1]
