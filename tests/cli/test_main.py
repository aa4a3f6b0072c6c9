"""emo: lists its verbs and runs them."""

import tomllib
from pathlib import Path

import pytest

from emo import __version__
from emo.cli.main import VERBS, main

ROOT = Path(__file__).parents[2]


def test_every_command_is_a_verb():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {f"emo-{verb}": f"emo.cli.{module}:main" for verb, (module, _) in VERBS.items()} == {
        name: target for name, target in scripts.items() if name != "emo"
    }


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_the_verbs_are_listed(run_main, arguments):
    code, out, err = run_main(main, "emo", *arguments)
    assert code == 0 and err == "" and all(f"\n  {verb} " in out for verb in VERBS)


def test_the_version(run_main):
    assert run_main(main, "emo", "--version")[:2] == (0, f"emo {__version__}\n")


def test_a_verb_runs_its_command(run_main):
    from emo.cli import models

    assert run_main(main, "emo", "models") == run_main(models.main, "emo-models")
    code, _, err = run_main(main, "emo", "infer", "only.png")
    assert code == 2 and err.startswith("emo-infer: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "hint"),
    [("infre", "did you mean infer?"), ("emo-eval", "did you mean eval?"), ("xyz", "give one of infer, ")],
)
def test_an_unknown_command_is_one_line(run_main, verb, hint):
    code, _, err = run_main(main, "emo", verb)
    assert code == 2 and hint in err and err.count("\n") == 1
