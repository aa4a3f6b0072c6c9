"""Files for contributors and packagers say the same as the package and its README."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import emo

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))  # config.yml is no form
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_workflow_runs_the_checks_on_every_system_and_version():
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert f">={matrix['python'][0]}" == PROJECT["requires-python"]
    assert [step["run"].split()[0] for step in jobs["test"]["steps"] if step.get("if") == "runner.os != 'Windows'"] == [
        ".ci/run"
    ]
    commands = [step["run"] for step in jobs["extras"]["steps"] if "run" in step]
    install = next(command for command in commands if "install" in command)
    assert {*re.findall(r"\w+", install.split("[")[1])} == {*PROJECT["optional-dependencies"]} - {"all"}
    assert any("pytest" in command for command in commands)


def test_windows_activates_the_scripts_of_its_environment():
    """The workflow replaces the one path in .ci/run that differs on Windows."""
    pattern, replacement = re.search(r"sed 's#(.+?)#(.+?)#' \.ci/run", WORKFLOW.read_text()).groups()
    changed, count = re.subn(re.escape(pattern), replacement, (ROOT / ".ci" / "run").read_text())
    assert count == 1 and ". .venv/Scripts/activate" in changed


def test_torch_is_the_same_version_everywhere():
    texts = [(ROOT / name).read_text() for name in ("README.md", "Dockerfile", ".ci/run", "docs/installation.md")]
    versions = re.findall(r"(?:torch==|TORCH=|`TORCH` \()(\d[\d.]*\d)", "\n".join([*texts, WORKFLOW.read_text()]))
    assert len(versions) >= 7 and len({*versions}) == 1


def test_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == emo.__version__ and citation["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_docker_copies_what_the_build_needs():
    recipe = (ROOT / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", recipe, re.MULTILINE) for name in line.split()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed >= {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "emo"}
    assert "USER emo" in recipe


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda form: form.stem
)
def test_issue_form_is_complete(form):
    content = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= content.keys()
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert all(element["type"] in kinds and "attributes" in element for element in content["body"])
    named = [element["id"] for element in content["body"] if element["type"] != "markdown"]
    assert len(named) == len({*named}) > 0


def test_changelog_has_an_unreleased_section():
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"


def test_every_package_is_explained(documents):
    """docs/dependencies.md names each requirement, of extras too."""
    page = documents["docs/dependencies.md"].lower()
    lines = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    names = {re.match(r"[\w-]+", line)[0].lower() for line in lines} - {PROJECT["name"]}
    short = {"opencv-python-headless": "opencv", "av": "(pyav)"}
    assert not [name for name in names if short.get(name, name) not in page]
