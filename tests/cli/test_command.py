"""What all commands share: values, one line for errors, options by their names, output that any terminal takes."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emo.cli.command import Parser, run
from emo.cli.options import face_box, hub_id, integer, number, square_size
from emo.core.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (number(1, 120), "24.5", 24.5),
        (integer(0, 2**63 - 1), "9007199254740993", 2**53 + 1),
        (integer(0, 2**63 - 1), str(2**63 - 1), 2**63 - 1),
        (integer(1), "10" * 9, int("10" * 9)),
        (square_size, "512", 512),
        (face_box, "1,2,3.5,4", (1, 2, 3.5, 4)),
        (face_box, "full", "full"),
        (hub_id, "owner/name", "owner/name"),
    ],
)
def test_values_are_exact(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (number(1, 120), "24,5", "'24,5' is not a number: write 24.5"),
        (number(1, 120), "1,2,3", "is not a number"),
        (number(1, 120), "nan", "nan is not between 1 and 120"),
        (integer(0, 9), "10", "10 is not between 0 and 9"),
        (integer(1), "0", "0 is below 1"),
        (integer(0, 9), "1.5", "'1.5' is not a whole number"),
        (square_size, "100", "100 is not a multiple of 64"),
        (face_box, "9,9,9,9", "is not a box: x1"),
        (face_box, "0,0,inf,9", "is not a box in pixels"),
        (hub_id, "a/b/c", "is not OWNER/NAME"),
    ],
)
def test_other_values_are_refused_with_the_reason(parse, text, words):
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        parse(text)


def make_parser(**options) -> Parser:
    parser = Parser("emo-test", parameters={"num_inference_steps": "--steps"}, **options)
    parser.add_argument("--face")
    parser.add_argument("--steps")
    parser.add_argument("--overwrite", action="store_true")
    return parser


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("face=1,2,3,4 is not a box", "--face 1,2,3,4 is not a box"),
        (
            "no face: give face=(x0, y0, x1, y1) or face='full'",
            "no face: give --face (x0, y0, x1, y1) or --face 'full'",
        ),
        ("3 faces (choose with face=)", "3 faces (choose with --face)"),
        ("num_inference_steps=0 is too few", "--steps 0 is too few"),
        ("x.mp4 exists: give overwrite=True", "x.mp4 exists: give --overwrite"),
        ("data.face=1 and my-face=2 stay", "data.face=1 and my-face=2 stay"),
    ],
)
def test_parameters_of_the_library_are_shown_as_options(run_main, message, shown):
    def command(args):
        raise InputError(message)

    code, out, err = run_main(lambda: run(make_parser(), command), "emo-test")
    assert (code, out, err) == (2, "", f"emo-test: {shown}\n")


@pytest.mark.parametrize("arguments", [["--styled", "1"], ["--styled=1"], ["--face", "full", "--styled"]])
def test_a_renamed_option_names_the_new_one(run_main, arguments):
    parser = make_parser(renamed={"--styled": "--stylized-ratio"})
    code, _, err = run_main(lambda: run(parser, print), "emo-test", *arguments)
    assert code == 2 and err == "emo-test: --styled is now called --stylized-ratio (see emo-test --help)\n"


def test_a_missing_package_names_its_extra(run_main):
    def command(args):
        raise ModuleNotFoundError("No module named 'pillow_heif'", name="pillow_heif.core")

    code, _, err = run_main(lambda: run(make_parser(), command), "emo-test")
    assert code == 2 and "pillow_heif is missing: pip install 'emo-portrait[heic]'" in err


def test_a_name_that_is_too_long_is_one_line(run_main, tmp_path):
    code, _, err = run_main(lambda: run(make_parser(), lambda args: (tmp_path / ("x" * 300)).touch()), "emo-test")
    assert code == 2 and "File name too long" in err and err.count("\n") == 1


def start(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_japanese_name_in_cp1252_is_printed_with_escapes():
    code = """
from emo.cli.command import Parser, run
def command(args):
    import sys
    print("\\u65e5\\u672c.mp4")
    print("\\u65e5", file=sys.stderr)
run(Parser("emo-test"), command, [])
"""
    out, err = (process := start(code, PYTHONIOENCODING="cp1252")).communicate()
    assert process.returncode == 0 and out.split() == [b"\\u65e5\\u672c.mp4"] and err.split() == [b"\\u65e5"]


def test_a_reader_that_ends_is_no_traceback():
    code = """
from emo.cli.command import Parser, run
run(Parser("emo-test"), lambda args: [print("line") for _ in range(100000)], [])
"""
    process = start(code)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE


WAITING = """
import signal, sys
{before}
from emo.cli.command import Parser, run
def command(args):
    print("ready", flush=True)
    signal.pause()
run(Parser("emo-test"), command, [])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", None)])
def test_a_kill_or_a_closed_terminal_ends_like_ctrl_c(number):
    default = f"signal.signal({int(number)}, signal.SIG_DFL)"  # the tests themselves may run under nohup
    process = start(WAITING.format(before=default))
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130 and err.strip() == b"emo-test: stopped"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_under_nohup_a_closed_terminal_changes_nothing():
    process = start(WAITING.format(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)"))
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
