"""OpenMP's threads sleep while they wait, before torch is loaded and never against what the user has set."""

import os
import subprocess
import sys

import pytest

from emo.core.parallel import PASSIVE, set_passive_waiting

COMMAND = """
import os, sys
from emo.cli.command import Parser, run
run(Parser("emo-test"), lambda _: print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules), [])
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "5"}, "None")],
)
def test_every_command_sets_it_before_torch_is_loaded(given, expected):
    plain = {name: value for name, value in os.environ.items() if name not in {*PASSIVE, "GOMP_SPINCOUNT"}}
    result = subprocess.run([sys.executable, "-c", COMMAND], env=plain | given, capture_output=True, text=True)
    assert result.stdout.split() == [expected, "False"]


def test_it_says_whether_it_comes_in_time(monkeypatch):
    for name in {*PASSIVE, "GOMP_SPINCOUNT"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert not set_passive_waiting()
    assert {name: os.environ[name] for name in PASSIVE} == PASSIVE
    monkeypatch.delitem(sys.modules, "torch")
    assert set_passive_waiting()
