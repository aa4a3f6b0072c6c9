"""One pass over a video yields what is in it, and nothing between where the face is out of sight."""

from dataclasses import fields, replace

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.files import save_arrays
from emo.face.refinement import FaceDetails
from emo.metrics.registry import EvaluationOptions, list_measures, measure_tracks
from emo.metrics.stability import interpolate_gaps
from emo.metrics.tracks import VideoTracks, load_tracks, save_tracks, track_frames


def test_a_gap_is_crossed_in_a_straight_line():
    values = np.array([[1.0, 9], [np.nan, np.nan], [3, 5], [np.nan, np.nan]])
    visible = np.array([True, False, True, False])
    assert interpolate_gaps(values, visible).tolist() == [[1, 9], [2, 7], [3, 5], [3, 5]]
    assert np.isnan(interpolate_gaps(values, np.zeros(4, bool))[1]).all()


def test_heads_are_not_turned_where_none_is_seen(tracks):
    gap = np.arange(len(tracks.face_visible)) % 9 < 3
    crossed = np.where(gap[:, None, None], 1000.0, tracks.landmarks)  # what lies in a gap does not count
    those = [measure for measure in list_measures(EvaluationOptions()) if measure.name == "delta_P"]
    (clean,), (gaps,) = (
        measure_tracks(replace(tracks, face_visible=visible, landmarks=points), those).values()
        for visible, points in ((tracks.face_visible, tracks.landmarks), (~gap, crossed))
    )
    assert clean > 0 and gaps == pytest.approx(clean, rel=0.2)


def test_a_video_without_a_face_says_nothing_of_one_and_all_else():
    frames = [np.full((40, 60, 3), 100 + 3 * (k % 2), np.uint8) for k in range(20)]
    tracks = track_frames(frames, None, lambda frame: None)
    figures = measure_tracks(tracks, list_measures(EvaluationOptions(4)))
    assert figures.pop("face_visible") == 0 and figures.pop("background_change") == pytest.approx(3)
    assert figures.pop("border_jump") == pytest.approx(1)
    assert np.isnan([*figures.values()]).all()


def test_color_light_and_change_are_those_of_the_picture(footage):
    grey = [np.full_like(footage.frames[0], level) for level in (119, 119, 124)]
    look = FaceDetails(footage.landmarks[0], np.zeros(2), 0.0)
    tracks = track_frames(grey, None, lambda frame: look)
    assert tracks.color[0] == pytest.approx([50.03, 0, 0], abs=0.3)  # L* of sRGB 119
    assert tracks.frame_change.tolist() == [0, 0, 5] and tracks.background_change[1:].tolist() == [0, 5]
    assert np.isnan(tracks.loudness_db).all() and tracks.face_visible.all()


def test_what_is_no_file_of_tracks_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_text("no tracks")
    with pytest.raises(InputError, match="broken"):
        load_tracks(tmp_path / "x.safetensors")
    save_arrays(tmp_path / "other.safetensors", {"other": np.zeros(3)})
    with pytest.raises(InputError, match="other.safetensors is not a file of tracks"):
        load_tracks(tmp_path / "other.safetensors")


def test_tracks_come_back_as_they_were(tracks, tmp_path):
    save_tracks(tmp_path / "t.safetensors", tracks)
    back = load_tracks(tmp_path / "t.safetensors")
    assert all(
        np.array_equal(getattr(back, f.name), getattr(tracks, f.name), equal_nan=True) for f in fields(VideoTracks)
    )
