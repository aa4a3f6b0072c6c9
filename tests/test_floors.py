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
# A file imports only lower floors; packages of one floor do not know each other.
FLOORS = {"cli": 5, "training": 4, "publish": 4, "hub": 3, "convert": 3}
FLOORS |= dict.fromkeys(["pipeline", "data", "evaluation"], 2)
FLOORS |= dict.fromkeys(["models", "face", "media", "config", "download", "catalogue"], 1)
FLOORS |= {"errors": 0, "__version__": 0}
BANNED = {"torchvision", "torchaudio"}


def room(module: str) -> str:
    """emo.media.audio -> media."""
    return module.split(".")[1]


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


def broken_floors(own: str, names: set[str]) -> list[str]:
    """The imports of this package among `names` that a file of room `own` may not have."""
    ours = [name for name in names if name.split(".")[0] == "emo"]
    return [name for name in ours if name == "emo" or not (room(name) == own or below(room(name), own))]


def below(lower: str, upper: str) -> bool:
    return FLOORS.get(lower, 9) < FLOORS[upper]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_keeps_the_rules(file):
    assert len(file.read_text().splitlines()) <= 300
    names = imports(file)
    assert not BANNED & {name.split(".")[0] for name in names}
    if file != ROOT / "emo" / "__init__.py":
        own = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
        assert own in FLOORS, f"{own} stands on no floor: add it to FLOORS"
        assert broken_floors(own, names) == []


def test_floors_are_told_apart():
    assert broken_floors("cli", {"emo.training.trainer.Trainer", "torch"}) == []
    assert broken_floors("media", {"emo.media.image", "emo.errors.InputError"}) == []
    for own, name in [
        ("media", "emo.face.region"),
        ("data", "emo.pipeline"),
        ("models", "emo.cli"),
        ("hub", "emo"),
    ]:
        assert broken_floors(own, {name}) == [name]


def test_tests_are_short_too():
    for file in (ROOT / "tests").rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 300, file


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
