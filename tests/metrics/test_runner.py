"""emo-eval: what it writes is what was measured, the same command goes on, and what is wrong is one line."""

import itertools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from emo.cli.eval import generate_set, main
from emo.media.audio import probe_audio
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.metrics.faults import Footage, freeze_picture
from emo.metrics.gallery import to_gallery
from emo.metrics.registry import EvaluationOptions
from emo.metrics.runner import evaluate
from emo.metrics.tracks import save_tracks

COUNT = 48  # frames


@pytest.fixture(scope="module")
def sets(tmp_path_factory, portrait):
    """Folders `made` and `real` of three videos each, of 64 pixels, and one that is `empty`. Leave them as they are."""
    folder = tmp_path_factory.mktemp("sets")
    for name in ("made", "real", "empty"):
        (folder / name).mkdir()
    for name, k in itertools.product(("made", "real"), range(3)):
        with VideoWriter(folder / name / f"clip{k}.mp4", 25) as video:
            for shade in range(COUNT):
                video.write(portrait[::3, ::3] // (1 + k) + shade + (name == "made"))
    return folder


@pytest.fixture(scope="module")
def map_groups(footage, track):
    """Nothing is tracked: all videos of `made` show a frozen picture except clip1, which is as real as all others."""
    part = Footage(footage.frames[:COUNT], footage.wave[: COUNT * 640], footage.landmarks[:COUNT])
    frozen, real = track(freeze_picture(part)), track(part)

    def measure(work, groups):
        for group in groups:
            for video in group.all:
                is_frozen = video.parent.name == "made" and video.stem != "clip1"
                save_tracks(work.list_files(video, group.real).tracks, frozen if is_frozen else real)
            yield group, work(group)

    return measure


def test_the_report_says_what_was_measured(sets, map_groups, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, EvaluationOptions(12), map_groups)
    content = json.loads((tmp_path / "report.json").read_text())
    made, real = content["sets"]
    assert [made["name"], real["name"], content["reference"]] == ["made", "real", "real"]
    assert real["score"]["mean"] == 1 and made["score"]["mean"] < 0.8
    assert made["each"]["clip1"]["score"] == pytest.approx(1) and made["each"]["clip0"]["lip_dynamics"] < 1e-9
    lips = made["measures"]["lip_dynamics"]
    assert lips["clips"] == 3 and lips["mean"] == pytest.approx(real["measures"]["lip_dynamics"]["mean"] / 3)
    assert lips["low"] < 1e-9 and lips["high"] > lips["mean"]
    assert made["each"]["clip0"]["mouth_voice_r"] == 0 and made["each"]["clip0"]["mouth_voice_lag"] is None
    assert made["measures"]["mouth_voice_r"]["clips"] == 3 and made["measures"]["mouth_voice_lag"]["clips"] == 1
    assert content["settings"]["window_frames"] == 12 and content["settings"]["frames_per_second"] == 25


def test_table_card_and_page_show_the_same_figures(sets, map_groups, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, EvaluationOptions(), map_groups)
    content = json.loads((tmp_path / "report.json").read_text())
    figure = content["sets"][0]["measures"]["lip_dynamics"]
    cell = f"{figure['mean']:.3g} [{round(figure['low'], 9):.3g}, {figure['high']:.3g}]"
    table, card, page = ((tmp_path / name).read_text() for name in ("table.md", "card.md", "report.html"))
    row = next(line for line in table.splitlines() if "lip_dynamics" in line)
    assert cell in row and row in card and f"<td>{cell}</td>" in page and "border_jump" not in page
    assert "made (3 clips)" in table and "2000 bootstrap resamples" in table
    assert page.count("<h3>clip1: 1.00") == 1 and page.count('<img src="data:image/jpeg') == 2 * 6  # best and worst
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained


def test_controls_stand_beside_and_score_less(sets, map_groups, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, EvaluationOptions(controls=True), map_groups)
    _, still, _, _ = content = json.loads((tmp_path / "report.json").read_text())["sets"]
    assert [one["name"] for one in content] == ["made", "frozen picture", "another's sound", "real"]
    assert still["score"]["mean"] < content[3]["score"]["mean"] == 1


def test_without_real_videos_there_are_figures_and_no_score(sets, map_groups, tmp_path):
    report = evaluate([sets / "made"], None, tmp_path, EvaluationOptions(), map_groups)
    content = json.loads((tmp_path / "report.json").read_text())
    (made,) = content["sets"]
    assert content["reference"] is None and made["score"]["mean"] is None and made["closeness"] != {}
    assert made["each"]["clip1"]["lip_dynamics"] > 0.1 > made["each"]["clip0"]["lip_dynamics"]
    table, card = ((tmp_path / name).read_text() for name in ("table.md", "card.md"))
    assert "| score |" not in table and "THEval" not in table and "real:" not in table and "against" not in card
    assert report.all_sets == report.sets and "lip_dynamics" in (tmp_path / "report.html").read_text()


def test_the_gallery_plays_every_generated_video_beside_its_figures(sets, map_groups, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    report = evaluate([sets / "made"], sets / "real", out, EvaluationOptions(), map_groups)
    page = (out / "gallery.html").read_text()
    sources = re.findall(r'<video [^>]*src="([^"]+)"', page)
    assert [(out / source).resolve() for source in sources] == sorted((sets / "made").iterdir())
    assert page.count("mouth_voice_r 0<br>") == 2 and "<table>" not in page and page.count("face_visible 1") == 3
    named = {name: tmp_path / "a b" / f"{name}.mp4" for name in ("anna__song", "anna__talk", "bert__song")}
    report.sets[0].clips[:] = named
    grid = to_gallery(report, {"made": [*named.values()]}, tmp_path)
    assert grid.count("<tr>") == 3 and grid.count("<td>") == 4 and 'src="a%20b/bert__song.mp4"' in grid
    assert grid.index("<th>talk</th>") < grid.index("<th>anna</th>") < grid.index("<th>bert</th>")


def test_two_folders_of_one_name_are_refused(sets, tmp_path, run_main):
    code, _, err = run_main(
        main, "emo-eval", sets / "made", sets / "made", "--reference", sets / "real", "-o", tmp_path
    )
    assert code == 2 and "rename one" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{made}", "--reference", "nowhere"), "nowhere is not a folder"),
        (("{empty}", "--reference", "{real}"), "holds no videos"),
        (("{made}", "--reference", "{real}", "--window", "1"), "--window: 1 is below 2"),
        (("{made}", "--reference", "{real}", "--workers", "0"), "--workers: 0 is below 1"),
        (("{made}", "--montage"), "--montage needs real videos"),
        (("{made}", "--controls", "--workers", "1"), "--controls needs real videos"),
        (("{made}", "--portraits", "nowhere"), "--portraits nowhere is not a folder"),
        (("{made}", "--asked", "{made}"), "name the files like the videos"),
        (("{made}", "--portraits", "{made}"), "PORTRAIT_SOUND.mp4"),
        (("--reference", "{real}"), "nothing to measure"),
        (("--model", "mini"), "--model and --set go together"),
    ],
)
def test_what_is_wrong_is_one_line(sets, tmp_path, run_main, arguments, message):
    places = {name: str(sets / name) for name in ("made", "real", "empty")}
    code, _, err = run_main(main, "emo-eval", *(a.format(**places) for a in arguments), "-o", tmp_path)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_broken_video_is_one_line_and_leaves_no_report(sets, tmp_path, run_main):
    shutil.copytree(sets / "made", tmp_path / "made")
    (tmp_path / "made" / "clip0.mp4").write_text("no video")
    given = (tmp_path / "made", "--reference", sets / "real", "-o", tmp_path / "out", "--workers", 1)
    code, _, err = run_main(main, "emo-eval", *given)
    message = err.strip().splitlines()[-1]
    assert code == 2 and message.startswith("emo-eval: ") and "clip0.mp4 can't be read" in message
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_model_makes_its_set_from_the_real_one(samples, sound_path, tiny_model_folder, tmp_path):
    face = np.array(Image.open(samples / "portrait.png").convert("RGB").resize((96, 96)))
    (tmp_path / "real").mkdir()
    with VideoWriter(tmp_path / "real" / "a.mp4", 25, sound_path, duration_seconds=0.24) as video:
        for _ in range(6):
            video.write(face)
    folder = generate_set(str(tiny_model_folder), tmp_path / "real", tmp_path / "out")
    portrait = np.array(Image.open(tmp_path / "out" / "portraits" / "a.png"))
    assert np.array_equal(portrait, next(read_video(tmp_path / "real" / "a.mp4")))
    (made,) = folder.iterdir()
    assert made.name == "a.mp4" and folder.name.endswith(tiny_model_folder.name)
    assert [frame.shape for frame in read_video(made)] == [face.shape] * 6
    assert abs(probe_audio(made).seconds - 0.24) < 0.05
    before = made.stat().st_mtime_ns
    generate_set(str(tiny_model_folder), tmp_path / "real", tmp_path / "out")
    assert made.stat().st_mtime_ns == before
    other = shutil.copytree(tiny_model_folder, tmp_path / "other" / tiny_model_folder.name)
    assert generate_set(str(other), tmp_path / "real", tmp_path / "out") != folder
