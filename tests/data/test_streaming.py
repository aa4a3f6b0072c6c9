"""Samples of shards: each clip in its turn, whoever reads and wherever one begins; broken clips are passed over."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.data.clip import load_clip, read_clip_frames, save_clip
from emo.data.sampling import SampleSpec
from emo.data.shards import locate_members, read_index, write_shards
from emo.data.streaming import RawSample, SampleStream, ShardDataset, find_frame_reader

SPEC = SampleSpec(num_frames=4, contiguous=True, motion_frames=2, audio_margin=1, speed_margin=1)


@pytest.fixture(scope="module")
def many(make_clip, openings, tmp_path_factory):
    """A folder of the clips c0 to c6 of 8 to 14 frames, in shards of one or two."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(7):
        save_clip(folder, *make_clip(f"c{number}", f"person {number}", openings[: 8 + number]))
    sizes = [sum(file.stat().st_size for file in folder.glob(f"c{number}.*")) for number in range(7)]
    write_shards([str(folder)], folder / "shards", 2 * max(sizes), 0.0)
    return folder


def opened(folder, workers: int = 0, spec: SampleSpec = SPEC, **options) -> SampleStream:
    options = dict(size=64, variants=1, seed=0, open_shards=2, cache=folder / "cache") | options
    samples = ShardDataset(read_index(str(folder), "train"), spec, **options)
    return SampleStream(samples, workers, folder / "broken.jsonl")


def same(one: RawSample, other: RawSample) -> bool:
    values = [vars(sample) | vars(sample.labels) for sample in (one, other)]
    keys = values[0].keys() - {"labels"}
    pairs = [(values[0][key], values[1][key]) for key in keys]
    return all(np.array_equal(a, b, equal_nan=isinstance(a, torch.Tensor)) for a, b in pairs)


def test_an_epoch_has_each_clip_once_and_its_frames_and_sound_belong_together(many):
    samples = opened(many / "shards").take(range(7))
    assert sorted(sample.name for sample in samples) == [f"c{number}" for number in range(7)]
    for sample in samples:
        clip, frames = (read(many / f"{sample.name}.json") for read in (load_clip, read_clip_frames))
        frames = np.stack(list(frames))
        rows = sample.audio_rows[1:-1].tolist()
        assert rows == list(range(rows[0], rows[0] + 4)) and sample.num_frames == len(frames)
        before = rows[0] >= 2
        assert len(sample.frames) == 5 + 2 * before
        assert np.array_equal(sample.frames[-5:-1].numpy(), frames[rows])
        assert any(np.array_equal(sample.frames[-1].numpy(), frame) for frame in frames)
        if before:
            assert np.array_equal(sample.frames[:2].numpy(), frames[rows[0] - 2 : rows[0]])
        assert sample.in_clip.tolist() == [rows[0] > 0, *[True] * 4, rows[-1] < len(frames) - 1]
        assert np.array_equal(sample.wave.numpy(), clip.wave) and sample.fps == 25
        assert sample.labels.head_speed[1:-1].tolist() == clip.head_speed[rows].tolist()


def test_going_on_elsewhere_with_other_processes_neither_repeats_nor_skips(many):
    """Three steps of four samples by one process; the next by two, one with a worker of its own."""
    whole = opened(many / "shards").take(range(20))
    first = opened(many / "shards")
    before = [first.take(range(4 * step, 4 * step + 4)) for step in range(3)]
    ranks = [opened(many / "shards", workers) for workers in (0, 1)]
    after = [[rank.take(range(4 * step + r, 4 * step + 4, 2)) for r, rank in enumerate(ranks)] for step in (3, 4)]
    together = sum(before, []) + [s for one, two in after for pair in zip(one, two, strict=True) for s in pair]
    assert len(together) == 20 and all(same(a, b) for a, b in zip(together, whole, strict=True))
    assert not same(whole[0], opened(many / "shards", seed=1).take(range(1))[0])
    assert same(first.take(range(2, 3))[0], whole[2])  # back again


def test_readers_read_ahead_only_what_follows(many, monkeypatch):
    stream, begun = opened(many / "shards"), []
    read_from = stream.read_from
    monkeypatch.setattr(stream, "read_from", lambda numbers: begun.append(numbers.start) or read_from(numbers))
    for numbers in (range(0, 4, 2), range(4, 8, 2), range(9, 13, 2), range(13, 15)):
        stream.take(numbers)
    assert begun == [0, 9, 13]


def spoil(shards, name: str, kind: str) -> None:
    """Breaks one clip in its shard."""
    for shard in shards.glob("*.tar"):
        if f"{name}.mp4" in locate_members(shard):
            data, member = bytearray(shard.read_bytes()), locate_members(shard)[f"{name}.{kind}"]
            data[member[0] + 40 : sum(member)] = b"\xff" * (member[1] - 40)
            shard.write_bytes(data)


@pytest.mark.parametrize("kind", ["json", "mp4", "safetensors"])
def test_a_broken_clip_is_named_and_its_place_taken_alike_everywhere(many, tmp_path, kind, capsys):
    write_shards([str(many)], tmp_path, 1, 0.0)
    sound = [sample.name for sample in opened(tmp_path).take(range(14))]
    spoil(tmp_path, "c3", kind)
    stream = opened(tmp_path)
    whole = stream.take(range(14))
    names = [sample.name for sample in whole]
    assert list(stream.broken) == ["c3"] and capsys.readouterr().out.count("left out: c3: ") == 1
    (row,) = [json.loads(line) for line in (tmp_path / "broken.jsonl").open()]
    assert row == {"clip": "c3", "reason": stream.broken["c3"]} and str(tmp_path) in row["reason"]
    assert "c3" not in names and len(names) == 14
    assert [a for a, b in zip(names, sound, strict=True) if a != b] and sound.count("c3") == 2
    assert all(a == b for a, b in zip(names, sound, strict=True) if b != "c3")
    parts = [opened(tmp_path, workers=rank).take(range(rank, 14, 2)) for rank in range(2)]
    assert all(same(parts[n % 2][n // 2], whole[n]) for n in range(14))


def test_with_only_broken_clips_or_a_shard_missing_the_run_ends_in_one_line(many, tmp_path):
    write_shards([str(many)], tmp_path, 1, 0.0)
    with pytest.raises(InputError, match=r"^32 clips in a row are broken, the last: c\d in .* is of 64 x 64 pixels"):
        opened(tmp_path, size=128).take(range(1))
    for shard in tmp_path.glob("*.tar"):
        shard.unlink()
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"^/.*tar is missing: make the shards again[^\n]*$"):
            opened(tmp_path, workers).take(range(1))


def test_an_augmented_voice_comes_in_its_share_of_the_samples(many):
    samples = opened(many / "shards", variants=4).take(range(40))
    own = [sample.fps == 25.0 for sample in samples]
    assert 4 <= sum(own) <= 18 and len({sample.fps for sample in samples}) == 1 + own.count(False)
    for sample in samples:
        assert len(sample.wave) == pytest.approx(sample.num_frames * 16000 / sample.fps, abs=2)


def test_single_frames_have_no_motion_frames(many):
    spec = replace(SPEC, contiguous=False, motion_frames=0, audio_margin=0, speed_margin=0, num_frames=1)
    assert {sample.frames.shape for sample in opened(many / "shards", spec=spec).take(range(7))} == {(2, 64, 64, 3)}


def test_decord_reads_the_same_samples(many):
    """`data.video_reader=decord` changes the colors of the frames a little and nothing else."""
    pytest.importorskip("decord")
    for mine, other in zip(
        opened(many / "shards").take(range(7)),
        opened(many / "shards", read_frames=find_frame_reader("decord")).take(range(7)),
        strict=True,
    ):
        assert np.abs(mine.frames.numpy().astype(int) - other.frames.numpy()).mean() < 4
        assert same(mine, replace(other, frames=mine.frames))


def test_an_unknown_or_missing_video_reader_is_one_line(monkeypatch):
    with pytest.raises(InputError, match="^data.video_reader=opencv: choose pyav or decord$"):
        find_frame_reader("opencv")
    monkeypatch.setattr("emo.data.streaming.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^data.video_reader=decord: decord is missing: pip .*emo-portrait\[train\]"):
        find_frame_reader("decord")
