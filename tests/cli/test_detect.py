"""emo-detect: what it prints and with which code it ends."""

import json

import numpy as np
import pytest
from PIL import Image

from emo.cli.detect import main
from emo.provenance.payload import Payload
from emo.provenance.watermark import Watermark


@pytest.fixture(scope="module")
def files(tmp_path_factory, portrait):
    """A marked picture, an unmarked one, and one that can't be read."""
    folder = tmp_path_factory.mktemp("detect")
    large = np.asarray(Image.fromarray(portrait).resize((384, 384)))
    Image.fromarray(Watermark(Payload(5)).mark(large)).save(folder / "marked.png")
    Image.fromarray(large).save(folder / "plain.png")
    (folder / "broken.png").write_text("no picture")
    return folder


def test_exit_codes(run_main, files):
    code, out, _ = run_main(main, "emo-detect", str(files / "marked.png"))
    assert code == 0 and "made by emo: yes" in out and "payload 1000000000000005" in out
    code, out, _ = run_main(main, "emo-detect", str(files / "marked.png"), str(files / "plain.png"))
    assert code == 1 and "plain.png: made by emo: no mark found, which does not say that it is real" in out
    code, out, _ = run_main(main, "emo-detect", str(files))
    assert code == 2 and out.count("made by emo: ") == 2 and "broken.png" in out


def test_json_and_report(run_main, files, tmp_path):
    page = tmp_path / "marks.html"
    code, out, _ = run_main(main, "emo-detect", str(files / "marked.png"), "--json", "--report", str(page))
    (report,) = json.loads(out)
    assert code == 0 and report["made_by_emo"] and report["watermark"]["payload"] == "1000000000000005"
    assert report["watermark"]["false_alarm_probability"] < 1e-6 and report["metadata"]["aigc"] is None
    assert "marked.png" in page.read_text()


def test_missing_files_and_empty_folders(run_main, tmp_path):
    code, out, err = run_main(main, "emo-detect", str(tmp_path / "none.mp4"))
    assert code == 2 and "none.mp4" in out + err
    code, _, err = run_main(main, "emo-detect", str(tmp_path))
    assert code == 2 and "has no pictures or videos" in err
