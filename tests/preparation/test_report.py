"""The report page: hours accepted, of whom, and why the rest was rejected."""

import re
import shutil

import numpy as np
from PIL import Image

from emo.cli.prepare import main
from emo.data.clip import ClipInfo
from emo.media.html import histogram_chart
from emo.preparation.processing_log import LogItem, ProcessingLog
from emo.preparation.report import interleave_groups, list_measurements, write_report


def test_the_page_counts_accepted_and_rejected_clips(clips_folder, run_main, tmp_path):
    log = ProcessingLog(clips_folder)
    log.add("x.mp4", [LogItem("x_0", 36.0, "the <face> is small"), LogItem("x_1", 18.0, "the <face> is small")])
    log.add("a.mp4", [LogItem("a0", 18.0)])
    (clips_folder / "dropped").mkdir()
    Image.new("RGB", (96, 96)).save(clips_folder / "dropped" / "x_1.jpg")
    code, out, _ = run_main(main, "emo-prepare", "report", clips_folder, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (clips_folder / "processing_log.jsonl").unlink()
    shutil.rmtree(clips_folder / "dropped")
    assert code == 0 and out.strip().endswith("page.html")
    assert "<h1>3 clips, 0.001 hours, 2 people</h1>" in page and page.count('<img src="data:image/jpeg') == 4
    assert "<td>found</td><td>3</td><td>0.020</td>" in page and "<td>accepted</td><td>1</td><td>0.005</td>" in page
    assert "<td>the &lt;face&gt; is small</td><td>2</td><td>0.015</td>" in page and "<td>anna</td><td>2</td>" in page
    assert 'title="x_1: the &lt;face&gt; is small"' in page
    for name in ("size of the face", "how far the head is turned", "sharpness", "music (0 clips with vocals apart)"):
        assert f"<figcaption>{name}</figcaption>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained


def test_clips_of_the_same_moment_are_named(clips_folder, tmp_path):
    for suffix in (".json", ".mp4", ".safetensors"):
        for name in ("a0", "again"):
            shutil.copy(clips_folder / f"a0{suffix}", tmp_path / f"{name}{suffix}")
    write_report([tmp_path], tmp_path / "page.html")
    assert "<td>a0, again</td>" in (tmp_path / "page.html").read_text()


def test_what_was_not_measured_is_in_no_histogram():
    infos = [ClipInfo(name, "anna", "drawn", "", 50, sharpness=value) for name, value in [("a", 0.4), ("b", None)]]
    assert np.isfinite(list_measurements("sharpness", infos)).tolist() == [True, False]


def test_a_histogram_counts_what_is_a_number():
    counts = re.findall(r"<title>(\d+)</title>", histogram_chart("x", [0.0, 1.0, 1.0, float("nan")], "s"))
    assert counts == ["1", *["0"] * 18, "2"]


def test_the_sheet_shows_one_of_each_before_the_second_of_any():
    assert interleave_groups(list("abcde"), list("xxxyz")) == list("adebc")


def test_the_page_of_a_folder_without_clips_is_refused(run_main, tmp_path):
    code, _, err = run_main(main, "emo-prepare", "report", tmp_path, tmp_path / "page.html")
    assert code == 2 and "holds no prepared clips" in err and not (tmp_path / "page.html").exists()
