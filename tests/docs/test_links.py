"""Every relative link and anchor of the documents has a target; paths, modules and settings that they name exist."""

import importlib.util
import re
import tomllib
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE = ("http://", "https://", "mailto:")
ON_THE_HOST = "../../actions/"  # pages that the host of the repository makes, not files of it


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and MkDocs both make them."""
    text = re.sub(r"^( *)```.*?^\1```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+?)#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "")).strip().lower()
        slug = re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain))
        count = sum(
            anchor == slug or anchor.startswith(f"{slug}-") and anchor[len(slug) + 1 :].isdigit() for anchor in found
        )
        found.add(f"{slug}-{count}" if count else slug)
    return found


def test_target_exists(link):
    target = link.text
    if target.startswith((*OUTSIDE, ON_THE_HOST)):
        return
    assert not target.startswith("/"), f"{link}: {target} is absolute"
    path, _, anchor = target.partition("#")
    file = (link.document.parent / path).resolve() if path else link.document
    assert file.is_relative_to(ROOT), f"{link}: {target} leaves the repository"
    assert file.exists(), f"{link}: {target} does not exist"
    if ROOT / "docs" in link.document.parents:
        assert ROOT / "docs" in file.parents, f"{link}: {target} is not part of the site, name its path as code"
    if anchor:
        assert anchor in anchors(file), f"{link}: {file.name} has no heading #{anchor}, only {sorted(anchors(file))}"


def test_path_exists(repository_path):
    assert (ROOT / repository_path.text).exists(), f"{repository_path}: {repository_path.text} does not exist"


def test_dotted_name_exists(dotted_name):
    for name, package in {"livekit": "livekit.agents", "pipecat": "pipecat"}.items():
        if dotted_name.text.startswith(f"emo.integrations.{name}."):
            pytest.importorskip(package)  # extras of 50 packages and more, which `dev` leaves out
    assert exists(dotted_name.text), f"{dotted_name}: there is no {dotted_name.text}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, which is not imported, or something in one."""
    parent, _, last = name.rpartition(".")
    if not parent:
        return importlib.util.find_spec(name) is not None
    if not exists(parent):
        return False
    try:
        if importlib.util.find_spec(name):
            return True
    except ModuleNotFoundError:  # the parent is no package
        pass
    owner = importlib.import_module(parent) if importlib.util.find_spec(parent) else None
    return hasattr(owner, last)


def test_setting_exists(setting):
    """A setting with a value is one of a run; without one it may also be an argument of the model, or a task."""
    from emo import EMOModel
    from emo.core.config import Config, load_config
    from emo.training.task import TASKS

    name, _, value = setting.text.partition("=")
    if value:
        load_config(ROOT / "configs" / "mini" / "fine_tune.yaml", [setting.text])
        return
    sections = asdict(Config())
    inner = {f"{section}.{key}" for section, keys in sections.items() if isinstance(keys, dict) for key in keys}
    known = {*sections, *inner, *(key.partition(".")[2] for key in inner), *signature(EMOModel).parameters, *TASKS}
    assert name in known, f"{setting}: no run has a setting {name}"


def test_architecture_shows_the_layers(documents):
    """One row for each package, lowest first, in the order that import-linter keeps."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = re.findall(r"^\| (\d+) \| `emo/(\w+)(?:/|\.py)`", documents["docs/architecture.md"], re.MULTILINE)
    layers = [layer for layer in reversed(layers) if not layer.startswith("(")]  # those are for packages to come
    shown = [{name for number, name in rows if int(number) == layer} for layer in range(1, len(layers) + 1)]
    assert shown == [{*re.findall(r"\w+", layer)} for layer in layers]
    folders = {path.parent.name for path in (ROOT / "emo").glob("*/__init__.py")}
    assert folders <= {name for _, name in rows}


def test_documents_are_utf_8_and_end_with_a_line(document):
    text = document.read_bytes().decode("utf-8")
    assert text.endswith("\n") and not text.endswith("\n\n") and "\r" not in text


def test_anchors_are_those_of_headings(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# `emo-infer`: make it\n## Use\n```bash\n# no heading\n```\n## Use\n### [A link](b.md), too\n")
    assert anchors(page) == {"emo-infer-make-it", "use", "use-1", "a-link-too"}
