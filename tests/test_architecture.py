"""The structure that docs/architecture promises: layers, sizes of files and folders, import depth, quick `--help`.

Layers and cycles between files are contracts of import-linter in pyproject.toml, which the test command runs.
"""

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "emo").rglob("*.py"))
MODULES = [file for file in FILES if file.name != "__init__.py"]
LENGTHS = {file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
BANNED = {"torchvision", "torchaudio"}  # from PyPI they are CUDA builds that break the CPU's torch
LONGEST_LINES, SHORT_LINES, MOST_SHORT, MOST_IN_A_FOLDER, MOST_IMPORTS = 500, 60, 7, 20, 10


def imports(file: Path) -> set[str]:
    """Dotted names of every module that a file imports, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(ROOT)}: relative import, write it out"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_file_imports_a_banned_package():
    assert [str(file) for file in FILES if BANNED & {name.split(".")[0] for name in imports(file)}] == []


def test_files_hold_one_idea_each():
    assert {name: lines for name, lines in LENGTHS.items() if lines > LONGEST_LINES} == {}
    short = [name for name, lines in LENGTHS.items() if lines < SHORT_LINES]
    assert len(short) <= MOST_SHORT, short
    assert 80 <= median(LENGTHS.values()) <= 210  # docstrings included


def test_no_folder_is_crowded():
    counts = Counter(Path(name).parent.as_posix() for name in LENGTHS)
    assert {folder: count for folder, count in counts.items() if count > MOST_IN_A_FOLDER} == {}


def test_tests_are_short_too():
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / "tests").rglob("*.py")}
    assert {str(file): lines for file, lines in lengths.items() if lines > LONGEST_LINES} == {}


def test_chains_of_imports_are_short():
    """A reader follows at most MOST_IMPORTS imports from a command to the bottom; imports inside functions count."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("emo", exclude_type_checking_imports=True)

    @cache
    def longest_chain(module: str) -> tuple[str, ...]:
        chains = [longest_chain(name) for name in graph.find_modules_directly_imported_by(module)]
        return (module, *max(chains, key=len, default=()))

    chain = max((longest_chain(module) for module in graph.modules), key=len)
    assert len(chain) - 1 <= MOST_IMPORTS, " > ".join(chain)


def test_every_folder_has_a_layer():
    (layers,) = (c["layers"] for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    named = {layer.strip("()") for layer in layers}
    folders = {path.name for path in (ROOT / "emo").iterdir() if (path / "__init__.py").exists()}
    assert folders | {"generation"} <= named


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
