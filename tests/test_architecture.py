"""The house rules that code can check: floors, file length, quick `--help`, packages that must stay away."""

import ast
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "emo").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BANNED = {"torchvision", "torchaudio"}


def imports(file: Path) -> set[str]:
    """Dotted names of every module that a file imports, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(ROOT)}: relative import, write it out"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_keeps_the_rules(file):
    assert len(file.read_text().splitlines()) <= 500
    names = imports(file)
    assert not BANNED & {name.split(".")[0] for name in names}


def test_tests_are_short_too():
    for file in (ROOT / "tests").rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 500, file


@pytest.mark.parametrize("command", PROJECT["scripts"])
def test_help_does_not_import_torch(command):
    module, function = PROJECT["scripts"][command].split(":")
    code = f"""
import sys
sys.argv = [{command!r}, "--help"]
from {module} import {function}
try:
    {function}()
except SystemExit as end:
    assert not end.code
heavy = {{"torch", "diffusers", "transformers", "cv2", "av"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout and command in done.stdout


def test_no_torchvision_or_torchaudio():
    wanted = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    assert not [line for line in wanted if any(name in line for name in BANNED)]
    assert not [name for name in BANNED if find_spec(name)]


def test_datasets_holds_no_python():
    assert (ROOT / "datasets" / "README.md").exists()
    assert list((ROOT / "datasets").rglob("*.py")) == []  # it would shadow the `datasets` package
