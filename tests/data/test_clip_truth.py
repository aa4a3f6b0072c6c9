"""Ground truth of synthetic clips is written and read back, also of clips that were written without the portrait's
landmarks."""

import json

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.data.clip import Clip, ClipInfo, save_clip_data
from emo.data.clip_truth import load_clip_truth, save_clip_truth

T, SHIFT = 4, np.array([0.1, -0.05])


def save_moved_clip(folder) -> np.ndarray:
    """A clip whose frame k shows the portrait moved by k * SHIFT; returns the portrait's landmarks."""
    portrait = np.random.default_rng(0).uniform(0.3, 0.6, (68, 2)).astype(np.float32)
    landmarks = np.stack([portrait + k * SHIFT for k in range(1, T + 1)]).astype(np.float32)
    info = ClipInfo("a", "ann", "made up", "CC0", T)
    clip = Clip(info, np.zeros(T * 640, np.float32), landmarks, np.zeros(T, np.float32), np.zeros((T, 0, 2)))
    save_clip_data(folder, clip)
    return portrait


def make_arrays() -> dict[str, np.ndarray]:
    flow = np.stack([np.broadcast_to(-k * SHIFT[:, None, None], (2, 64, 64)) for k in range(1, T + 1)])
    unsourced = np.full((T, 64, 64), 90, np.uint8)
    unsourced[2] = 10  # the frame that shows the most of the portrait
    return {"flow": flow.astype(np.float16), "unsourced": unsourced, "blink": np.zeros((T, 2), np.float32)}


def test_arrays_and_record_are_read_back(tmp_path):
    arrays = make_arrays() | {"portrait_landmarks": np.ones((68, 2), np.float32)}
    path = save_clip_truth(tmp_path, "a", arrays, {"text": "où", "format": 2})
    first = path.read_bytes()
    loaded = load_clip_truth(tmp_path / "a.json")
    assert all(np.array_equal(loaded[name], value) for name, value in arrays.items())
    assert json.loads(str(loaded["record"])) == {"text": "où", "format": 2}
    save_clip_truth(tmp_path, "a", arrays, {"format": 2, "text": "où"})
    assert path.read_bytes() == first


def test_portrait_landmarks_are_estimated_where_they_are_missing(tmp_path):
    portrait = save_moved_clip(tmp_path)
    save_clip_truth(tmp_path, "a", make_arrays(), {})
    assert load_clip_truth(tmp_path / "a.json")["portrait_landmarks"] == pytest.approx(portrait, abs=2e-3)


def test_a_clip_of_real_footage_has_none_and_a_broken_file_is_named(tmp_path):
    assert load_clip_truth(tmp_path / "a.json") == {}
    (tmp_path / "a.truth.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match="a.truth.npz"):
        load_clip_truth(tmp_path / "a.json")
