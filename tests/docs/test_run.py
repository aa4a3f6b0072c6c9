"""Commands of README and docs are run as they stand, on small files of the names that they give."""

import importlib
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
SMALL_DRAWN = ["--count", "1", "--seconds", "0.2", "--size", "64"]
ONE_STEP = [
    "steps=1",
    "batch_size=1",
    "data.num_frames=2",
    "loss.perceptual_channel_weight=0",
]  # its weights take half a minute
LENIENT = ["--limits", "min_seconds=1", "min_lip_sync_confidence=-1", "max_lip_sync_offset_frames=30"]


@pytest.fixture
def run(run_main):
    """run(command, *more) runs it with more arguments behind its own; it must end with 0."""

    def call(command: str, *more: str) -> None:
        words = [*shlex.split(command), *more]
        module, function = SCRIPTS[words[0]].split(":")
        code, _, err = run_main(getattr(importlib.import_module(module), function), *words)
        assert code in (0, None), f"{shlex.join(words)}\n{err}"

    return call


def test_command_runs(cheap_command, reader_folder, run, tiny_model_folder):
    """emo-infer with a tiny model, which takes the same way as any other, and a fifth of a second where it may."""
    program = cheap_command.text.split()[0]
    more = {"emo-prepare": SMALL_DRAWN, "emo-info": ["--no-speed"]}.get(program, [])
    if program == "emo-infer":
        more = ["--model", str(tiny_model_folder), "--device", "cpu", "--dtype", "float32"]
        more += [] if "--duration" in cheap_command.text else ["--duration", "0.2"]
    before = {*reader_folder.iterdir()}
    run(cheap_command.text, *more)
    made = {path.suffix for path in {*reader_folder.iterdir()} - before}
    assert made == {"emo-infer": {".mp4"}, "emo-publish": {".md"}, "emo-prepare": {""}}.get(program, set())


def test_from_videos_to_a_published_model(commands, reader_folder, run):
    """The commands that depend on each other, in the order in which a reader comes to them, on one drawn video."""

    def follow(command: str, *more: str) -> None:
        assert command in commands, f"no document has {command!r} any more: change this test with it"
        run(command, *more)

    run("emo-prepare synth raw/ --text configs/mini/sentences.txt --count 1 --seconds 1.2 --size 256")
    (reader_folder / "emo").symlink_to(ROOT / "emo")  # where fine_tune.yaml finds the weights of mini
    follow("emo-prepare raw/ shards/ --size 256", "--workers", "1", *LENIENT)
    follow("emo-train configs/mini/fine_tune.yaml", *ONE_STEP)
    follow("emo-infer portrait.png song.wav --model runs/fine_tune/model", "--duration", "0.1")
    follow("emo-train configs/mini/fine_tune.yaml output=runs/me lora.rank=8", *ONE_STEP)
    follow("emo-infer me.jpg speech.wav --model runs/me/model --lora runs/me/model", "--duration", "0.1")
    for name in ("generated", "real"):
        shutil.copytree("raw", name)
    follow("emo-eval generated/ --reference real/ -o evaluation", "--workers", "1")
    (reader_folder / "bench.json").write_text("[]")  # emo-bench starts processes, which take longer than all of this
    publish = (
        "emo-publish runs/fine_tune OWNER/NAME --license cc-by-4.0 --report evaluation/report.json --bench bench.json"
    )
    follow(publish, "--card", "card.md")
    assert "cc-by-4.0" in (reader_folder / "card.md").read_text()
