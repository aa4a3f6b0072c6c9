"""A clip out of a shard is the clip that went in, wherever the shard lies; a broken one is named."""

import fsspec
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.storage import upload_files
from emo.data.clip import load_clip
from emo.data.shards import assign_split, fetch_shard, locate_members, read_index, read_shard_clip, write_shards


@pytest.fixture
def shards(clips_folder, tmp_path):
    """A folder of one shard: a0, a1 and b0."""
    write_shards([str(clips_folder)], tmp_path / "shards", 10**9, 0.0)
    return tmp_path / "shards"


def test_a_clip_comes_out_as_it_went_in(shards, clips_folder, tmp_path):
    entries = read_index(str(shards), "train")
    assert [(e.name, e.person, e.num_frames) for e in entries] == [("a0", "anna", 16), ("a1", "anna", 16)] + [
        ("b0", "bert", 16)
    ]
    for entry in entries:
        clip, video = read_shard_clip(fetch_shard(entry.shard, tmp_path / "cache"), entry.name)
        truth = load_clip(clips_folder / f"{entry.name}.json")
        assert clip.info == truth.info and video == (clips_folder / f"{entry.name}.mp4").read_bytes()
        assert np.array_equal(clip.wave, truth.wave) and np.array_equal(clip.landmarks, truth.landmarks)
    assert not (tmp_path / "cache").exists()  # nothing local is copied


def test_people_are_on_their_side_and_the_held_out_on_that_of_validation(clips_folder, tmp_path):
    write_shards([str(clips_folder)], tmp_path, 1, 0.5)
    sides = {side: {e.person for e in read_index(str(tmp_path), side)} for side in ("train", "validation")}
    assert sides == {side: {p for p in ("anna", "bert") if assign_split(p, 0.5) == side} for side in sides}
    (tmp_path / "out.txt").write_text("anna\n")
    train, validation = (read_index(str(tmp_path), side, str(tmp_path / "out.txt")) for side in sides)
    assert {e.person for e in train} == sides["train"] - {"anna"}
    assert {e.person for e in validation} == sides["validation"] | {"anna"}


def test_a_shard_from_elsewhere_is_fetched_once_and_whole(shards, tmp_path, monkeypatch):
    upload_files(sorted(shards.iterdir()), "memory://elsewhere")
    entry = read_index("memory://elsewhere", "train")[1]
    here = fetch_shard(entry.shard, tmp_path / "cache")
    assert here.parent == tmp_path / "cache" and here.read_bytes() == next(shards.glob("*.tar")).read_bytes()
    fs = fsspec.filesystem("memory")
    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "get_file", lambda *_: pytest.fail("fetched twice"))
        assert read_shard_clip(fetch_shard(entry.shard, tmp_path / "cache"), "a1")[0].info.name == "a1"
    here.unlink()
    (tmp_path / "cache" / f"{here.name}.part").write_bytes(b"half, of a process that was killed")
    assert fetch_shard(entry.shard, tmp_path / "cache").read_bytes() == next(shards.glob("*.tar")).read_bytes()
    here.unlink()
    fs.rm("/elsewhere", recursive=True)
    with pytest.raises(InputError, match="can't be fetched .*run the same command again to continue"):
        fetch_shard(entry.shard, tmp_path / "cache")
    assert not here.exists()


def test_intact_clips_of_a_cut_shard_are_read_and_the_rest_is_named(shards, tmp_path):
    (shard,) = shards.glob("*.tar")
    first, size = locate_members(shard)["b0.mp4"]
    cut = tmp_path / "cut.tar"
    cut.write_bytes(shard.read_bytes()[: first + size // 2])
    assert read_shard_clip(cut, "a1")[0].info.name == "a1"
    with pytest.raises(InputError, match="cut.tar: b0.mp4 is missing or incomplete"):
        read_shard_clip(cut, "b0")
    noise = tmp_path / "noise.tar"
    noise.write_bytes(b"noise" * 1000)
    with pytest.raises(InputError, match="noise.tar: a0.json is missing or incomplete"):
        read_shard_clip(noise, "a0")
    data, (first, size) = bytearray(shard.read_bytes()), locate_members(shard)["a0.safetensors"]
    data[first : first + 8] = b"\xff" * 8
    (tmp_path / "damaged.tar").write_bytes(data)
    with pytest.raises(InputError, match="a0 in .*damaged.tar is not a prepared clip"):
        read_shard_clip(tmp_path / "damaged.tar", "a0")


def test_a_missing_index_or_shard_is_said_in_one_line(shards, tmp_path):
    entry = read_index(str(shards), "train")[0]
    next(shards.glob("*.tar")).unlink()
    with pytest.raises(InputError, match="tar is missing: make the shards again"):
        fetch_shard(entry.shard, tmp_path)
    with pytest.raises(InputError, match="index.parquet can't be read .*: make it with emo-prepare shards"):
        read_index(str(tmp_path / "nothing"), "train")
