"""Each clip is complete in one shard; the bytes of shards depend on the clips alone, and people stay on one side."""

import shutil
import tarfile

import numpy as np
import pyarrow.parquet
import pytest

from emo.core.errors import InputError
from emo.data.clip import load_clip
from emo.data.clip_truth import parse_clip_truth, save_clip_truth
from emo.data.shards import assign_split, group_by_size, read_shard_truth, write_shards


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
            tar.extractall(tmp_path / "back")
        assert row["seconds"] == 16 / 25 and row["split"] == "train" and row["person"] == load_clip(clip).info.person
        for file in clip.parent.glob(f"{clip.stem}.*"):
            assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


def test_a_second_run_writes_nothing_and_an_interrupted_one_ends_the_same(clips_folder, tmp_path):
    options = ([str(clips_folder)], tmp_path / "one", 1, 0.5)
    first = write_shards(*options)
    times = [path.stat().st_mtime_ns for path in first]
    assert [path.stat().st_mtime_ns for path in write_shards(*options)] == times
    for name in (f"{first[1].name}.part", ".0123.part"):
        (tmp_path / "one" / name).write_bytes(b"half")
    first[1].unlink()
    assert write_shards(*options) == first and not list((tmp_path / "one").rglob("*.part"))
    write_shards([str(clips_folder)], tmp_path / "other", 1, 0.5)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_other_sizes_leave_no_old_shards_and_nothing_of_others_goes(clips_folder, tmp_path):
    write_shards([str(clips_folder)], tmp_path, 1, 0.0)
    (tmp_path / "mine.tar").write_bytes(b"not a shard")
    (whole,) = write_shards([str(clips_folder)], tmp_path, 10**9, 0.0)
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == sorted(["mine.tar", whole.name])


def test_groups_stay_within_their_size_but_for_a_clip_that_is_larger(clips):
    sizes = [sum(f.stat().st_size for f in clip.parent.glob(f"{clip.stem}.*")) for clip in clips]
    assert group_by_size(clips, sum(sizes)) == [clips]
    assert group_by_size(clips, sizes[0] + sizes[1]) == [clips[:2], clips[2:]]
    assert group_by_size(clips, 1) == [[clip] for clip in clips]


def test_a_person_is_on_one_side_and_the_share_is_kept():
    sides = [assign_split(f"person {k}", 0.1) for k in range(3000)]
    assert sides.count("validation") == pytest.approx(300, abs=60)
    assert all(assign_split(f"person {k}", 0.3) == "validation" for k, side in enumerate(sides) if side == "validation")


def test_a_clip_with_a_missing_file_and_a_name_given_twice_are_refused(clips_folder, make_clip, openings, tmp_path):
    from emo.data.clip import save_clip

    save_clip(tmp_path, *make_clip("a0", "carl", openings[:16]))
    with pytest.raises(InputError, match="2 clips are named a0"):
        write_shards([str(clips_folder), str(tmp_path)], tmp_path / "out", 1, 0.0)
    (tmp_path / "a0.mp4").unlink()
    with pytest.raises(InputError, match="a0.mp4 is missing: prepare a0 again"):
        write_shards([str(tmp_path)], tmp_path / "out", 1, 0.0)


def test_the_ground_truth_of_synthetic_clips_lies_in_their_shard(clips_folder, tmp_path):
    clips = shutil.copytree(clips_folder, tmp_path / "clips")  # the others are not to see the ground truth
    (before,) = write_shards([str(clips)], tmp_path / "before", 10**9, 0.0)
    save_clip_truth(clips, "a1", {"scale": np.ones(16, np.float32)}, {"text": "oui"})
    (shard,) = write_shards([str(clips)], tmp_path / "out", 10**9, 0.0)
    assert read_shard_truth(shard, "a0") is None and shard.name != before.name
    truth = parse_clip_truth(read_shard_truth(shard, "a1"), "a1")
    assert truth["scale"].sum() == 16 and "oui" in str(truth["record"])
