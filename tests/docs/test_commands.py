"""Every command that the documents name is understood by the program that it calls; the cheap ones run."""

import argparse
import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest

from emo import InputError
from emo.cli.bench import make_live_parser

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
PROGRAMS_OF_OTHERS = {
    "git",
    "hf",
    "lint-imports",
    "mkdocs",
    "pre-commit",
    "pyright",
    "pytest",
    "ruff",
    "serve",
    "wandb",
}
OPTIONS_OF_OTHERS = {"-e", "-m", "-n", "-q", "--check", "--gpus", "--signal", "--strict"}
PAGES = {  # of the options of a command
    "emo-infer": "docs/inference.md",
    "emo-train": "docs/training.md",
    "emo-prepare": "docs/data.md",
    "emo-eval": "docs/evaluation.md",
    "emo-bench": "docs/evaluation.md",
    "emo-convert": "docs/published-models.md",
    "emo-publish": "docs/published-models.md",
    "emo-models": "docs/published-models.md",
    "emo-detect": "docs/responsible-use.md",
    "emo-info": "docs/installation.md",
    "emo-dub": "docs/dubbing.md",
    "emo-serve": "docs/live.md",
}


class Parsed(BaseException):
    """Ends a command once its arguments are understood."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments


@pytest.fixture
def parse(monkeypatch, capsys):
    """parse(main, *words) -> the arguments as the command understands them. It fails with the command's own message."""
    understand = argparse.ArgumentParser.parse_args

    def stop(parser, args=None, namespace=None):
        raise Parsed(understand(parser, args, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)

    def call(main, *words: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", list(words))
        try:
            main()
        except Parsed as parsed:
            return parsed.arguments
        except SystemExit as end:
            pytest.fail(
                f"{shlex.join(words)}: {capsys.readouterr().err.strip()}" if end.code else "it only printed help"
            )
        pytest.fail(f"{shlex.join(words)}: its arguments were not parsed")

    return call


def main_of(script: str):
    module, function = SCRIPTS[script].split(":")
    return getattr(importlib.import_module(module), function)


def script_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The script of the package that a command calls, and its words: `emo infer A`, `.venv/bin/emo-infer A`, `python -m
    emo.cli.infer A` and `docker run ... infer A` are all `emo-infer A`."""
    program = Path(words[0]).name
    if program == "docker" and words[1] == "run":
        image = next(index for index, word in enumerate(words) if re.fullmatch(r"emo:\w+", word))
        return script_of(["emo", *words[image + 1 :]])
    if program == "emo" and len(words) > 1 and f"emo-{words[1]}" in SCRIPTS:
        return f"emo-{words[1]}", words[2:]
    if program in SCRIPTS:
        return program, words[1:]
    if "-m" in words[:-1]:
        place = words.index("-m") + 1
        for script, target in SCRIPTS.items():
            if target.split(":")[0] == words[place]:
                return script, words[place + 1 :]
    return None


def check_pip(words: list[str]) -> None:
    extras = {*PROJECT["optional-dependencies"]}
    for word in words:
        for extra in re.findall(r"[\w-]+", "".join(re.findall(r"(?:^\.|emo-portrait)\[([^\]]+)\]", word))):
            assert extra in extras, f"{word}: pyproject.toml has no extra {extra}, only {sorted(extras)}"


def check_docker(words: list[str]) -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    arguments = re.findall(r"^ARG (\w+)", recipe, re.MULTILINE)
    for option, value in zip(words, words[1:], strict=False):
        if option == "--build-arg":
            assert value.split("=")[0] in arguments


def check_train(words: list[str]) -> None:
    from emo.core.config import load_config

    config, *overrides = [word for word in words if not word.startswith("-")]
    load_config(ROOT / config, overrides)


def check_prepare(arguments: argparse.Namespace) -> None:
    from emo.preparation import filters, sources

    if getattr(arguments, "limits", None):
        filters.read_limits({}, arguments.limits)
    if getattr(arguments, "recipe", None):
        sources.read_recipe(ROOT / arguments.recipe)


def test_command_is_understood(command, parse, monkeypatch):
    check_command(shlex.split(command.text), parse, monkeypatch)


def check_command(words: list[str], parse, monkeypatch) -> None:
    program, ours = Path(words[0]).name, script_of(words)
    if ours:
        script, rest = ours
        arguments = parse(main_of(script), script, *rest)
        if script == "emo-train":
            check_train(rest)
        if script == "emo-prepare":
            check_prepare(arguments)
        if program == "accelerate":
            check_accelerate(words)
    elif program in {"pip", "pip3"} or words[1:3] == ["-m", "pip"]:
        check_pip(words)
    elif program == "docker":
        check_docker(words)
    elif program in {"python", "python3", "torchrun"}:
        check_python(words, parse, monkeypatch)
    elif words[0] == ".":
        assert words[1] == ".venv/bin/activate"
    elif (ROOT / words[0]).is_file():
        assert (ROOT / words[0]).stat().st_mode & 0o111, f"{words[0]} is not executable"
    else:
        assert program in PROGRAMS_OF_OTHERS, f"no test knows the program {program}"


def check_accelerate(words: list[str]) -> None:
    from accelerate.commands.launch import launch_command_parser

    args = launch_command_parser().parse_known_args(words[2:])[0]
    assert args.config_file is None or (ROOT / args.config_file).is_file()


def check_python(words: list[str], parse, monkeypatch) -> None:
    """`python -m MODULE`, or a script of the repository whose arguments its own parser understands."""
    if "-m" in words:
        module = words[words.index("-m") + 1]
        assert module == "venv" or importlib.util.find_spec(module), f"there is no module {module}"
        return
    script = ROOT / words[1]
    assert script.is_file(), f"there is no {words[1]}"
    if "argparse" in script.read_text():
        monkeypatch.syspath_prepend(script.parent)
        parse(lambda: runpy.run_path(str(script), run_name="__main__"), *words[1:])


@cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser that a command reads its arguments with."""
    parsers = []

    def stop(parser, args=None, namespace=None):
        parsers.append(parser)
        raise Parsed(argparse.Namespace())

    with patch.object(argparse.ArgumentParser, "parse_args", stop), patch.object(sys, "argv", [script]):
        try:
            main_of(script)()
        except Parsed:
            pass
    return parsers[0]


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Those of a command and of its kinds of work, without help's."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {*action.option_strings} - {"-h", "--help"}
        if isinstance(action, argparse._SubParsersAction):
            found |= {name for kind in action.choices.values() for name in options_of(kind)}
    return found


def test_option_exists(option):
    text = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    known = {name for script in SCRIPTS if script != "emo" for name in options_of(parser_of(script))}
    known |= options_of(make_live_parser())
    known |= OPTIONS_OF_OTHERS | {"--help"} | {*re.findall(r"add_argument\(\"(--[\w-]+)\"", text)}
    assert option.text in known, f"{option}: no command has {option.text}"


@pytest.mark.parametrize("script", PAGES)
def test_every_option_is_documented(script, documents):
    page = documents[PAGES[script]]
    missing = [name for name in options_of(parser_of(script)) if name.startswith("--") and f"`{name}`" not in page]
    assert not missing, f"{PAGES[script]} says nothing of {missing} of {script}"


def test_every_limit_and_measure_is_documented(documents):
    from emo.metrics.registry import EvaluationOptions, list_measures
    from emo.preparation.filters import ClipLimits

    for limit in fields(ClipLimits):
        row = re.search(rf"^\|.*`{limit.name}`.*$", documents["docs/data.md"], re.MULTILINE)
        assert row and f"{limit.default:g}" in row[0], f"docs/data.md does not say {limit.name}={limit.default:g}"
    missing = [
        m.name
        for m in list_measures(EvaluationOptions(window=6))
        if f"`{m.name}`" not in documents["docs/evaluation.md"]
    ]
    assert not missing, f"docs/evaluation.md says nothing of {missing}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_is_listed(script, documents):
    assert f"`{script}`" in documents["docs/index.md"] and f"`{script}`" in documents["README.md"]


@pytest.mark.parametrize(
    "wrong",
    [
        "emo-infer a.png a.wav --fsp 25",
        "emo-infer a.png",
        "emo infer a.png a.wav --fps many",
        "emo-prepare raw/ shards/ --limits min_secs=1",
        "emo-prepare synth out/",
        "emo-train configs/mini/fine_tune.yaml stesp=3",
        "emo-train configs/none.yaml",
        "accelerate launch --config_file configs/none.yaml -m emo.cli.train configs/mini/fine_tune.yaml",
        "docker run --rm emo:cpu infer a.png a.wav --fsp 25",
        "docker build --build-arg VARIATION=cuda .",
        "pip install 'emo-portrait[trian]'",
        "python -m emo.none",
        "python benchmarks/none.py",
        "python benchmarks/full_size.py --staged 1",
        "emo-dance a.png",
    ],
)
def test_a_wrong_command_is_found(wrong, parse, monkeypatch):
    with pytest.raises((AssertionError, pytest.fail.Exception, InputError)):
        check_command(shlex.split(wrong), parse, monkeypatch)
