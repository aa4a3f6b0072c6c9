"""emo-info: what a bug report needs, also where torch is missing or broken."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from emo.cli import info

ROOT = Path(__file__).parents[2]


def test_all_parts_are_shown(run_main):
    code, out, _ = run_main(info.main, "emo-info", "--json", "--no-speed")
    parts = json.loads(out)
    assert code == 0 and list(parts) == [name for name in info.PARTS if name != "speed"]
    assert not any("error" in part for part in parts.values())
    assert parts["packages"]["torch"] != "missing" and parts["devices"]["default"] in ("cpu", "cuda", "mps")
    assert "libx264" in parts["codecs"]["encoders"] and "h264" in parts["codecs"]["decoders"]
    assert parts["weights"]["mini"].endswith(" MB")


def test_the_speed_of_mini_is_measured(monkeypatch):
    monkeypatch.setattr(info, "CHECK_FRAMES", 2)
    assert "frames/s of 512 x 512 pixels" in info.measure_speed()["mini"]


def test_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(info.EXTRAS) == set(project["optional-dependencies"]) - {"all", "dev", "docs"}


@pytest.mark.parametrize(
    "problem", ["ModuleNotFoundError('No module named torch')", "OSError('libtorch.so: not found')"]
)
def test_it_works_where_torch_does_not(tmp_path, problem):
    (tmp_path / "torch.py").write_text(f"raise {problem}\n")
    command = [sys.executable, "-c", "import sys; sys.argv = ['emo-info']; from emo.cli.info import main; main()"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert "devices:\n  error" in done.stdout and problem.split("'")[1] in done.stdout
    assert "numpy" in done.stdout and "Traceback" not in done.stderr
