"""`emo-prepare heads`: its arguments reach the set."""

import argparse
from pathlib import Path

import pytest

from emo.cli.prepare import add_heads_arguments, prepare_heads
from emo.preparation import heads


def test_arguments_reach_the_set(monkeypatch, tmp_path, capsys):
    made = []
    monkeypatch.setattr(heads, "prepare_head_clips", lambda *given: made.append(given) or 1.5)
    parser = argparse.ArgumentParser()
    add_heads_arguments(parser)
    line = [
        "photos",
        str(tmp_path / "out"),
        "--face-model",
        "ict.npz",
        "--hours",
        "5",
        "--seconds",
        "2",
        "6",
        "--workers",
        "1",
    ]
    line += ["--drivers", "a", "b", "--kokoro", "k", "--steady-ratio", "0.25", "--seed", "7"]
    prepare_heads(parser.parse_args(line))
    settings, workers, address = made[0]
    assert (settings.hours, settings.seconds, settings.steady_ratio, settings.seed) == (5.0, (2.0, 6.0), 0.25, 7)
    assert settings.drivers == (Path("a").resolve(), Path("b").resolve()) and settings.kokoro == Path("k").resolve()
    assert settings.out == tmp_path / "out" and settings.hold_out is None and (workers, address) == (1, None)
    assert "1.500 hours" in capsys.readouterr().out


def test_a_face_model_is_asked_for():
    parser = argparse.ArgumentParser()
    add_heads_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["photos", "out"])
