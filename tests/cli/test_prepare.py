"""emo-prepare RAW SHARDS: from a pile of videos to shards in one command, which goes on where it stopped."""

import sys

import fsspec
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from emo.cli.prepare import main
from emo.media.video_writer import VideoWriter

OPEN = (
    "min_lip_sync_confidence=-1",
    "max_lip_sync_offset_frames=15",
    "min_motion=0",
    "min_speech_ratio=0",
)  # a portrait with a buzz may pass
OPTIONS = ("--size", 64, "--workers", 1, "--limits", *OPEN, "min_seconds=1")


@pytest.fixture
def raw(samples, sound_path, tmp_path):
    """A folder with a video of the sample portrait and one of nobody."""
    face = np.array(Image.open(samples / "portrait.png").convert("RGB").resize((256, 256)))
    for name, picture in (("face", face), ("nobody", np.full_like(face, 90))):
        (tmp_path / "raw").mkdir(exist_ok=True)
        with VideoWriter(tmp_path / "raw" / f"{name}.mp4", 25, sound_path, duration_seconds=1.2) as writer:
            for _ in range(30):
                writer.write(picture)
    return tmp_path / "raw"


def test_videos_become_shards_and_the_same_command_changes_nothing(raw, tmp_path, run_main):
    code, out, err = run_main(main, "emo-prepare", raw, tmp_path / "shards", *OPTIONS)
    assert code == 0 and out.endswith("shards: 1 shards; open report.html there\n"), (out, err)
    assert "left out: nobody: no face was found" in out
    (row,) = pyarrow.parquet.read_table(tmp_path / "shards" / "index.parquet").to_pylist()
    assert row["name"] == "face" and (tmp_path / "shards" / row["shard"]).is_file()
    assert "face" in (tmp_path / "shards" / "report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tar")}
    assert run_main(main, "emo-prepare", raw, tmp_path / "shards", *OPTIONS)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tar")} == before


def test_footage_and_shards_may_lie_elsewhere(raw, tmp_path, run_main):
    store = fsspec.filesystem("memory")
    store.put(str(raw), "/footage", recursive=True)
    code, _, err = run_main(main, "emo-prepare", "memory://footage", "memory://shards", *OPTIONS)
    assert code == 2 and "give --work FOLDER" in err
    work = ("--work", tmp_path / "work")
    assert run_main(main, "emo-prepare", "memory://footage", "memory://shards", *work, *OPTIONS)[0] == 0
    names = sorted(path.rsplit("/", 1)[1] for path in store.ls("/shards", detail=False))
    assert [name.rsplit(".", 1)[1] for name in names] == ["parquet", "html", "tar"]
    assert (tmp_path / "work" / "shards" / names[2]).read_bytes() == store.cat_file(f"/shards/{names[2]}")


def test_a_missing_package_is_one_line_with_the_mend(raw, tmp_path, run_main, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "emo.data.shards", raising=False)
    code, _, err = run_main(main, "emo-prepare", "shards", raw, tmp_path / "shards")
    assert code == 2 and err == "emo-prepare: pyarrow is missing: pip install 'emo-portrait[prepare]'\n"
