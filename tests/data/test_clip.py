"""Prepared clips: saved is what is loaded, broken ones are named, held-out people are left out."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emo.core.errors import InputError
from emo.data.clip import (
    RENAMED_FIELDS,
    list_clips,
    load_clip,
    load_clip_info,
    parse_clip_info,
    read_clip_frames,
    save_clip,
)
from emo.data.sampling import list_pictures, person_weights


@pytest.fixture
def saved(make_clip, openings, tmp_path):
    """A clip of 8 frames, its frames and the path of its JSON."""
    clip, frames = make_clip("one", "anna", openings[10:18], size=96)
    save_clip(tmp_path, clip, frames)
    return clip, frames, tmp_path / "one.json"


def test_saved_and_loaded_is_the_same(saved):
    clip, frames, path = saved
    loaded = load_clip(path)
    union = loaded.info.face_box
    assert asdict(loaded.info) == asdict(clip.info) | {"face_box": union}
    boxes = load_file(path.with_suffix(".safetensors"))["face_boxes"]
    assert union == pytest.approx([*boxes[:, :2].min(0), *boxes[:, 2:].max(0)], abs=1e-4) and boxes.shape == (8, 4)
    inside = (boxes[:, None, :2] <= clip.landmarks) & (clip.landmarks <= boxes[:, None, 2:])
    assert inside.mean() > 0.9  # from the forehead to the chin
    for name in ("wave", "landmarks", "head_speed", "mesh"):
        assert np.array_equal(getattr(loaded, name), getattr(clip, name)) and getattr(loaded, name).dtype == np.float32
    again = np.stack(list(read_clip_frames(path))).astype(int)
    assert again.shape == (8, 96, 96, 3)
    assert [int(np.abs(again[i] - frames).mean((1, 2, 3)).argmin()) for i in (0, 5)] == [
        int(np.abs(frames[i].astype(int) - frames).mean((1, 2, 3)).argmin()) for i in (0, 5)
    ]
    assert np.abs(again - frames).mean() < 3


def test_a_clip_without_vocals_has_its_wave_as_voice_and_one_with_them_the_vocals(saved, tmp_path):
    clip, frames, path = saved
    tensors = load_file(path.with_suffix(".safetensors"))
    del tensors["vocals"]
    save_file(tensors, path.with_suffix(".safetensors"))
    assert np.array_equal(load_clip(path).voice, clip.wave)
    save_clip(tmp_path, replace(clip, vocals=clip.wave / 2), iter(frames))
    assert np.array_equal(load_clip(path).voice, clip.wave / 2) and np.array_equal(load_clip(path).wave, clip.wave)


def test_an_emotion_is_written_where_it_is_known(saved, tmp_path):
    clip, frames, path = saved
    assert "emotion" not in load_file(path.with_suffix(".safetensors"))
    emotion = np.eye(7, dtype=np.float32)[:, :7][np.arange(8) % 7]
    save_clip(tmp_path, replace(clip, emotion=emotion), iter(frames))
    assert np.array_equal(load_clip(path).emotion, emotion)


def test_views_are_saved_as_what_they_show(make_clip, tmp_path):
    clip, frames = make_clip("view", "anna", np.linspace(0, 1, 4))
    clip.mesh = clip.mesh[:, ::-1]
    expected = clip.mesh.copy()
    save_clip(tmp_path, clip, frames)
    assert np.array_equal(load_clip(tmp_path / "view.json").mesh, expected)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"{}", b"[]", b"\xff\xfe"])
def test_a_broken_clip_is_named(saved, suffix, content):
    path = saved[2]
    broken = path.with_suffix(f".{suffix}")
    broken.unlink() if content is None else broken.write_bytes(content)
    with pytest.raises(InputError, match=r"one.json is not a prepared clip \(.*\): prepare it again") as caught:
        load_clip(path)
    assert "\n" not in str(caught.value)


def test_who_is_held_out_is_not_listed(clips_folder, tmp_path):
    hold_out = tmp_path / "hold_out.txt"
    hold_out.write_text("bert\nnobody\n")
    names = [path.stem for path in list_clips([str(clips_folder)], str(hold_out))]
    assert names == ["a0", "a1"] and [p.stem for p in list_clips([str(clips_folder)])] == ["a0", "a1", "b0"]


def test_a_folder_without_clips(tmp_path):
    with pytest.raises(InputError, match="holds no prepared clips: make them with emo-prepare"):
        list_clips([str(tmp_path)])


def test_a_missing_list_of_the_held_out_stops_everything(clips_folder):
    """Silence here would train on those who must not be trained on."""
    with pytest.raises(InputError, match="nowhere.txt can't be read"):
        list_clips([str(clips_folder)], "nowhere.txt")


def test_broken_json_in_a_folder_is_named(saved, tmp_path):
    (tmp_path / "two.json").write_text("{")
    with pytest.raises(InputError, match="two.json is not a prepared clip"):
        list_clips([str(tmp_path)])
    (tmp_path / "two.json").write_text(json.dumps({"name": "two"}))
    with pytest.raises(InputError, match="two.json is not a prepared clip"):
        list_clips([str(tmp_path)])


def test_clips_of_earlier_versions_are_read(saved):
    """Their JSON has other names for the same values."""
    info = asdict(load_clip_info(saved[2])) | {"occluded_ratio": 0.25, "sync_scorer": "lip_sync"}
    new_names = {new: old for old, new in RENAMED_FIELDS.items()}
    old = {new_names.get(name, name): value for name, value in info.items()} | {"sync_by": "ear"}
    assert {"licence", "covered"} <= old.keys()
    assert asdict(parse_clip_info(json.dumps(old).encode(), "old")) == info


def test_held_out_pictures_are_not_listed(tmp_path):
    for name in ("anna.png", "bert.JPG", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "out.txt").write_text("anna")
    assert [p.name for p in list_pictures([str(tmp_path)])] == ["anna.png", "bert.JPG"]
    assert [p.name for p in list_pictures([str(tmp_path)], str(tmp_path / "out.txt"))] == ["bert.JPG"]


def test_many_clips_of_a_person_weigh_as_the_root_of_as_many_people():
    chances = person_weights(["a"] * 16 + ["b"] * 4 + ["c"])
    assert chances.sum() == pytest.approx(1)
    assert chances[:16].sum() == pytest.approx(4 / 7) and chances[16:20].sum() == pytest.approx(2 / 7)
    assert np.ptp(chances[:16]) == 0
