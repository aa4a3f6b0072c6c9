"""emo-eval: what it writes is what was measured, the same command goes on, and what is wrong is one line."""

import json
import re

import pytest

from emo.cli.eval import main
from emo.evaluation.evaluate import evaluate
from emo.evaluation.faults import Footage, frozen_picture
from emo.evaluation.watch import Watch, save_tracks
from emo.media.video import VideoWriter

COUNT = 48  # frames


@pytest.fixture
def sets(tmp_path, portrait):
    """Folders `made` and `real` of three videos each, of 64 pixels."""
    for name in ("made", "real"):
        (tmp_path / name).mkdir()
        for k in range(3):
            with VideoWriter(tmp_path / name / f"clip{k}.mp4", 25) as video:
                for shade in range(COUNT):
                    video.write(portrait[::3, ::3] // (1 + k) + shade)
    return tmp_path


@pytest.fixture
def each(footage, track):
    """Instead of looking: every video of `made` shows a frozen picture, but clip1, which is as real as all others."""
    part = Footage(footage.frames[:COUNT], footage.wave[: COUNT * 640], footage.landmarks[:COUNT])
    frozen, real = track(frozen_picture(part)), track(part)

    def look(work: Watch, videos):
        for video in videos:
            path = work.folder / f"{video.parent.name}_{video.stem}.safetensors"
            save_tracks(path, frozen if video.parent.name == "made" and video.stem != "clip1" else real)
            yield video, path

    return look


def test_the_report_says_what_was_measured(sets, each):
    evaluate([sets / "made"], sets / "real", sets / "out", 12, each)
    told = json.loads((sets / "out" / "report.json").read_text())
    made, real = told["sets"]
    assert [made["name"], real["name"], told["reference"]] == ["made", "real", "real"]
    assert real["score"]["mean"] == 1 and made["score"]["mean"] < 0.8
    assert made["each"]["clip1"]["score"] == pytest.approx(1) and made["each"]["clip0"]["lip_dynamics"] == 0
    lips = made["measures"]["lip_dynamics"]
    assert lips["clips"] == 3 and lips["mean"] == pytest.approx(real["measures"]["lip_dynamics"]["mean"] / 3)
    assert lips["low"] == 0 and lips["high"] > lips["mean"]
    assert made["measures"]["mouth_voice_r"]["clips"] == 1  # of a mouth that never moves nothing is said
    assert told["settings"]["window_frames"] == 12 and told["settings"]["frames_per_second"] == 25


def test_table_card_and_page_show_the_same_figures(sets, each):
    evaluate([sets / "made"], sets / "real", sets / "out", None, each)
    told = json.loads((sets / "out" / "report.json").read_text())
    figure = told["sets"][0]["measures"]["lip_dynamics"]
    cell = f"{figure['mean']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"
    table, card, page = ((sets / "out" / name).read_text() for name in ("table.md", "card.md", "report.html"))
    row = next(line for line in table.splitlines() if "lip_dynamics" in line)
    assert cell in row and row in card and f"<td>{cell}</td>" in page and "border_jump" not in page
    assert "made (3 clips)" in table and "2000 bootstrap resamples" in table
    assert page.count("<h3>clip1: 1.00") == 1 and page.count('<img src="data:image/jpeg') == 2 * 6  # best and worst
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained


def test_two_folders_of_one_name_are_refused(sets, each, tmp_path, run_main):
    code, _, err = run_main(
        main, "emo-eval", sets / "made", sets / "made", "--reference", sets / "real", "-o", tmp_path
    )
    assert code == 2 and "rename one" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{made}", "--reference", "nowhere"), "nowhere is no folder"),
        (("{out}", "--reference", "{real}"), "holds no videos"),
        (("{made}", "--reference", "{real}", "--window", "1"), "--window 1"),
        (("{made}", "--reference", "{real}", "--workers", "0"), "--workers 0"),
        (("{made}",), "--reference"),
    ],
)
def test_what_is_wrong_is_one_line(sets, run_main, arguments, said):
    (sets / "out").mkdir()
    places = {name: str(sets / name) for name in ("made", "real", "out")}
    code, _, err = run_main(main, "emo-eval", *(a.format(**places) for a in arguments), "-o", sets / "out")
    assert code == 2 and said in err and err.count("\n") == 1


def test_a_broken_video_is_one_line_and_leaves_no_report(sets, run_main):
    (sets / "made" / "clip0.mp4").write_text("no video")
    given = (sets / "made", "--reference", sets / "real", "-o", sets / "out", "--workers", 1)
    code, _, err = run_main(main, "emo-eval", *given)
    said = err.strip().splitlines()[-1]
    assert code == 2 and said.startswith("emo-eval: ") and "clip0.mp4 can't be read" in said
    assert not (sets / "out" / "report.json").exists()
