"""Shards hold each clip once and whole, their bytes depend on the clips alone, and people stay on one side."""

import tarfile

import pyarrow.parquet
import pytest

from emo.core.errors import InputError
from emo.data.clip import load_clip
from emo.data.shards import grouped, split_of, write_shards


@pytest.fixture
def clips(clips_folder) -> list:
    return sorted(clips_folder.glob("*.json"))


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def test_every_clip_is_whole_in_one_shard_and_in_the_index(clips_folder, clips, tmp_path):
    shards = write_shards([str(clips_folder)], tmp_path / "out", 1, 0.0)  # one clip each
    index = pyarrow.parquet.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert [row["name"] for row in index] == ["a0", "a1", "b0"] and len(shards) == 3
    for row, clip in zip(index, clips, strict=True):
        with tarfile.open(tmp_path / "out" / row["shard"]) as tar:
            assert tar.getnames() == [f"{clip.stem}{s}" for s in (".json", ".mp4", ".safetensors")]
            tar.extractall(tmp_path / "back", filter="data")
        assert row["seconds"] == 16 / 25 and row["split"] == "train" and row["person"] == load_clip(clip).info.person
        for file in clip.parent.glob(f"{clip.stem}.*"):
            assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


def test_a_second_run_writes_nothing_and_an_interrupted_one_ends_the_same(clips_folder, tmp_path):
    options = ([str(clips_folder)], tmp_path / "one", 1, 0.5)
    first = write_shards(*options)
    times = [path.stat().st_mtime_ns for path in first]
    assert [path.stat().st_mtime_ns for path in write_shards(*options)] == times
    first[1].with_name(f"{first[1].name}.part").write_bytes(b"half")
    first[1].unlink()
    assert write_shards(*options) == first and not list((tmp_path / "one").glob("*.part"))
    write_shards([str(clips_folder)], tmp_path / "other", 1, 0.5)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_other_sizes_leave_no_old_shards_and_nothing_of_others_goes(clips_folder, tmp_path):
    write_shards([str(clips_folder)], tmp_path, 1, 0.0)
    (tmp_path / "mine.tar").write_bytes(b"not a shard")
    (whole,) = write_shards([str(clips_folder)], tmp_path, 10**9, 0.0)
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == sorted(["mine.tar", whole.name])


def test_groups_stay_within_their_size_but_for_a_clip_that_is_larger(clips):
    sizes = [sum(f.stat().st_size for f in clip.parent.glob(f"{clip.stem}.*")) for clip in clips]
    assert grouped(clips, sum(sizes)) == [clips]
    assert grouped(clips, sizes[0] + sizes[1]) == [clips[:2], clips[2:]]
    assert grouped(clips, 1) == [[clip] for clip in clips]


def test_a_person_is_on_one_side_and_the_share_is_kept():
    sides = [split_of(f"person {k}", 0.1) for k in range(3000)]
    assert sides.count("validation") == pytest.approx(300, abs=60)
    assert all(split_of(f"person {k}", 0.3) == "validation" for k, side in enumerate(sides) if side == "validation")


def test_a_clip_with_a_missing_file_and_a_name_given_twice_are_refused(clips_folder, make_clip, openings, tmp_path):
    from emo.data.clip import save_clip

    save_clip(tmp_path, *make_clip("a0", "carl", openings[:16]))
    with pytest.raises(InputError, match="2 clips are named a0"):
        write_shards([str(clips_folder), str(tmp_path)], tmp_path / "out", 1, 0.0)
    (tmp_path / "a0.mp4").unlink()
    with pytest.raises(InputError, match="a0.mp4 is missing: prepare a0 again"):
        write_shards([str(tmp_path)], tmp_path / "out", 1, 0.0)
