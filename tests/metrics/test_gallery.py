"""scripts/gallery.sh asks for every portrait with every sound once; hard cases are made from the pictures given."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
FAKE_EMO = """#!/bin/sh
echo "$@" >>"$CALLS"
case $1-$2 in
    infer-*bad.png) echo "emo-infer: no face found" >&2; exit 2 ;;
    infer-*) touch "$5" ;;
esac
"""


@pytest.fixture
def run_script(tmp_path):
    """run_script(*arguments) -> exit code, and the calls of `emo` that the script made."""
    program, calls = tmp_path / "bin" / "emo", tmp_path / "calls.txt"
    program.parent.mkdir()
    program.write_text(FAKE_EMO)
    program.chmod(0o755)

    def run(*arguments: str) -> tuple[int, list[str]]:
        calls.write_text("")
        environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(calls)}
        environment |= {"INFER": "--duration 2"}
        done = subprocess.run([ROOT / "scripts" / "gallery.sh", *arguments], env=environment, cwd=tmp_path)
        return done.returncode, calls.read_text().splitlines()

    return run


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
def test_every_portrait_meets_every_sound_once(run_script, tmp_path):
    for name in ("a b.png", "bad.png", "c.png"):
        (tmp_path / name).touch()
    given = ("out", "a b.png", "bad.png", "c.png", "--", "x.wav", "y.wav")
    code, calls = run_script(*given)
    videos = sorted(path.name for path in (tmp_path / "out" / "videos").iterdir())
    assert code == 0 and videos == ["a b__x.mp4", "a b__y.mp4", "c__x.mp4", "c__y.mp4"]
    assert sum(call.startswith("infer") for call in calls) == 5 and "--duration 2" in calls[0]
    assert calls[-1] == "eval out/videos -o out --portraits out/portraits --workers 1"
    assert sorted(path.name for path in (tmp_path / "out" / "portraits").iterdir()) == ["a b.png", "c.png"]
    assert (tmp_path / "out" / "refused.txt").read_text() == "bad: emo-infer: no face found\n"
    code, calls = run_script(*given)  # what exists is kept
    assert code == 0 and [call.split()[0] for call in calls] == ["infer", "eval"]
    assert run_script("out", "c.png")[0] == 2  # no sounds


def test_hard_cases_are_made_and_show_what_they_are_named_after(samples, monkeypatch):
    spec = importlib.util.spec_from_file_location("hard_cases", ROOT / "benchmarks" / "hard_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LARGE_FACE", 600)
    monkeypatch.setattr(module, "DRAWN_PIXELS", 160)
    monkeypatch.setattr(module, "DRAWN_SEEDS", (3,))
    cases = dict(module.list_cases([samples / "portrait.png"]))
    original = np.array(Image.open(samples / "portrait.png").convert("RGB"))
    detect = module.load_face_detector().detect
    assert np.array_equal(cases["portrait_itself"], original)
    assert np.ptp(cases["portrait_black_and_white"].astype(int), axis=-1).max() == 0
    points = {name: detect(cases[f"portrait_{name}"])[0].landmarks for name in ("large_face", "small_face")}
    heights = {name: module.region_of_landmarks(np.asarray(p)).side / 1.35 for name, p in points.items()}
    assert heights == pytest.approx({"large_face": 600, "small_face": 60}, rel=0.1)
    assert len(cases) == 8 + 4 + 1 and all(p.dtype == np.uint8 and p.shape[2] == 3 for p in cases.values())
    assert detect(cases["drawn_teeth"]) and not detect(cases["nobody"])
