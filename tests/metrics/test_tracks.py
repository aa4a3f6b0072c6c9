"""One pass over a video yields what is in it, and nothing between where the face is out of sight."""

from dataclasses import fields, replace

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.files import content_name
from emo.face.refinement import Look
from emo.media.video_writer import VideoWriter
from emo.metrics.registry import Asked, measure_tracks, measures
from emo.metrics.tracks import Tracks, Watch, list_videos, load_tracks, track_video, watch, without_gaps


def test_a_gap_is_crossed_in_a_straight_line():
    values = np.array([[1.0, 9], [np.nan, np.nan], [3, 5], [np.nan, np.nan]])
    seen = np.array([True, False, True, False])
    assert without_gaps(values, seen).tolist() == [[1, 9], [2, 7], [3, 5], [3, 5]]
    assert np.isnan(without_gaps(values, np.zeros(4, bool))[1]).all()


def test_heads_are_not_turned_where_none_is_seen(tracks):
    gap = np.arange(len(tracks.seen)) % 9 < 3
    crossed = np.where(gap[:, None, None], 1000.0, tracks.landmarks)  # what lies in a gap does not count
    those = [measure for measure in measures(Asked()) if measure.name == "delta_P"]
    (clean,), (gaps,) = (
        measure_tracks(replace(tracks, seen=seen, landmarks=points), those).values()
        for seen, points in ((tracks.seen, tracks.landmarks), (~gap, crossed))
    )
    assert clean > 0 and gaps == pytest.approx(clean, rel=0.2)


def test_a_video_without_a_face_says_nothing_of_one_and_all_else():
    frames = [np.full((40, 60, 3), 100 + 3 * (k % 2), np.uint8) for k in range(20)]
    tracks = track_video(frames, None, lambda frame: None)
    figures = measure_tracks(tracks, measures(Asked(4)))
    assert figures.pop("face_seen") == 0 and figures.pop("background_change") == pytest.approx(3)
    assert figures.pop("border_jump") == pytest.approx(1)
    assert np.isnan([*figures.values()]).all()


def test_colour_light_and_change_are_those_of_the_picture(footage):
    grey = [np.full_like(footage.frames[0], level) for level in (119, 119, 124)]
    look = Look(footage.landmarks[0], np.zeros(2), 0.0)
    tracks = track_video(grey, None, lambda frame: look)
    assert tracks.colour[0] == pytest.approx([50.03, 0, 0], abs=0.3)  # L* of sRGB 119
    assert tracks.change.tolist() == [0, 0, 5] and tracks.background[1:].tolist() == [0, 5]
    assert np.isnan(tracks.level).all() and tracks.seen.all()


def test_a_file_is_watched_once_and_known_by_its_content(samples, sound_path, tmp_path, monkeypatch):
    from PIL import Image

    face = np.array(Image.open(samples / "portrait.png").convert("RGB").resize((96, 96)))
    with VideoWriter(tmp_path / "a.mp4", 25, sound_path, duration_seconds=0.12) as video:
        for _ in range(3):
            video.write(face)
    path = Watch(tmp_path)(tmp_path / "a.mp4")
    tracks = load_tracks(path)
    assert tracks.seen.tolist() == [True] * 3 and tracks.landmarks.shape == (3, 68, 2)
    assert np.abs(tracks.landmarks[:, 30] - [48, 52]).max() < 2  # the nose
    assert tracks.level.shape == (3,) and np.isfinite(tracks.level).all()
    (tmp_path / "a.mp4").rename(tmp_path / "b.mp4")
    monkeypatch.setattr("emo.metrics.tracks.watch", lambda video: pytest.fail("watched again"))
    assert Watch(tmp_path)(tmp_path / "b.mp4") == path
    (tmp_path / "b.mp4").write_bytes(b"something else")
    assert content_name(tmp_path / "b.mp4") != path.stem


def test_what_is_no_video_or_no_tracks_is_refused(tmp_path):
    (tmp_path / "x.mp4").write_text("no video")
    with pytest.raises(InputError, match="x.mp4"):
        watch(tmp_path / "x.mp4")
    (tmp_path / "x.safetensors").write_text("no tracks")
    with pytest.raises(InputError, match="broken"):
        load_tracks(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="no folder"):
        list_videos(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no videos"):
        list_videos(make(tmp_path / "empty"))


def make(folder):
    folder.mkdir()
    return folder


def test_tracks_come_back_as_they_were(tracks, tmp_path):
    from emo.metrics.tracks import save_tracks

    save_tracks(tmp_path / "t.safetensors", tracks)
    back = load_tracks(tmp_path / "t.safetensors")
    assert all(np.array_equal(getattr(back, f.name), getattr(tracks, f.name), equal_nan=True) for f in fields(Tracks))
