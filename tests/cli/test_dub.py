"""emo-dub: what it refuses with one line, and what it passes on."""

from pathlib import Path

import pytest

from emo.cli.dub import default_output, face_point, main, make_parser, named_sound, span


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no new sound: give a sound file, or --speaker NAME=FILE"),
        (["new.wav", "--speaker", "A=a.wav"], "a common sound and --speaker exclude each other"),
        (["new.wav", "--only", "25-10"], "'25-10' is not START-END in seconds"),
        (["new.wav", "--face", "320,240"], "'320,240' is not FRAME:X,Y"),
        (["--speaker", "anna.wav"], "'anna.wav' is not NAME=FILE"),
        (["new.wav", "--crf", "60"], "60 is not between 0 and 51"),
        (["new.wav", "--rttm", "missing.rttm"], "missing.rttm can't be read as RTTM"),
        (["new.wav"], "film.mp4: no such file"),
        (["new.wav", "--plan", "plan.txt"], "--plan plan.txt: give a name that ends with .json"),
    ],
)
def test_errors_are_one_line(options, message, run_main, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, error = run_main(main, "emo-dub", "film.mp4", *options)
    assert code == 2 and message in error and error.count("\n") == 1


def test_values():
    assert face_point("12:3.5,4") == (12, 3.5, 4.0)
    assert named_sound("ANNA=a=b@home.wav") == ("ANNA", Path("a=b@home.wav"), None)
    assert named_sound("ANNA=a.wav@7:10,20") == ("ANNA", Path("a.wav"), (7, 10.0, 20.0))
    assert span("10-25.5") == (10.0, 25.5)
    assert default_output(Path("x/film.mkv"), Path("y/french.wav")) == Path("film_french.mkv")
    assert default_output(Path("film.mkv"), None) == Path("film_dubbed.mkv")
    assert make_parser().parse_args(["f.mp4", "s.wav", "--keep-background"]).keep_background == "htdemucs"
