"""The page says how much was kept, of whom, and why the rest was not."""

import re

from emo.cli.prepare import main
from emo.data.report import histogram


def test_the_page_counts_what_was_kept_and_dropped(clips_folder, run_main, tmp_path):
    (clips_folder / "dropped.csv").write_text("name,reason\nx,x: the <face> is small\ny,y: the <face> is small\n")
    code, out, _ = run_main(main, "emo-prepare", "report", clips_folder, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (clips_folder / "dropped.csv").unlink()
    assert code == 0 and out.strip().endswith("page.html")
    assert "<h1>3 clips, 0.001 hours, 2 people</h1>" in page and page.count('<img src="data:image/jpeg') == 3
    assert "<td>the &lt;face&gt; is small</td><td>2</td>" in page and "<td>anna</td><td>2</td>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained


def test_a_histogram_counts_what_is_a_number():
    counts = re.findall(r"<title>(\d+)</title>", histogram("x", [0.0, 1.0, 1.0, float("nan")], "s"))
    assert counts == ["1", *["0"] * 18, "2"]


def test_the_page_of_a_folder_without_clips_is_refused(run_main, tmp_path):
    code, _, err = run_main(main, "emo-prepare", "report", tmp_path, tmp_path / "page.html")
    assert code == 2 and "holds no prepared clips" in err and not (tmp_path / "page.html").exists()
