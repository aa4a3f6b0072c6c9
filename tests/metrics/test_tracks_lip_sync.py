"""SyncNet is shown the crops of the face that was followed, and hears their sound; the ear tells what is off."""

from dataclasses import replace

import numpy as np
import pytest

from emo.core.timing import FPS
from emo.face.crop import sync_crop, sync_squares
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.metrics import tracks as lips
from emo.metrics.registry import Asked, measure_tracks, measures
from emo.speech.lip_sync import REACH_FRAMES
from emo.speech.syncnet import LipSync


def test_syncnet_is_shown_what_was_followed(footage, tracks, tmp_path, monkeypatch):
    shown = {}

    def listen(net, faces, wave):
        shown.update(net=net, faces=list(faces), wave=wave)
        return LipSync(2, 5.5, 8.25)

    monkeypatch.setattr(lips, "syncnet_sync", listen)
    with VideoWriter(tmp_path / "a.mp4", FPS) as video:
        for frame in footage.frames:
            video.write(frame)
    sync = lips.sync_of(tmp_path / "a.mp4", tracks, footage.wave, "net")
    assert sync.tolist() == [5.5, 8.25, 2] and shown["net"] == "net" and shown["wave"] is footage.wave
    squares = sync_squares(tracks.landmarks)
    known = [sync_crop(frame, square) for frame, square in zip(read_video(tmp_path / "a.mp4"), squares, strict=True)]
    assert np.array_equal(shown["faces"], known)
    figures = measure_tracks(replace(tracks, sync=sync), measures(Asked(syncnet=tmp_path)))
    assert [figures[name] for name in ("LSE-C", "LSE-D", "syncnet_offset")] == [5.5, 8.25, 2]


def test_without_sound_or_face_nothing_is_asked(tracks, tmp_path):
    blind = replace(tracks, seen=np.zeros(len(tracks.seen), bool))
    for given, wave in ((tracks, None), (blind, np.zeros(16000, np.float32))):
        assert np.isnan(lips.sync_of(tmp_path / "none.mp4", given, wave, None)).all()


@pytest.mark.parametrize("late", [-7, 0, 4])
def test_the_ear_tells_how_many_frames_a_sound_is_off(tracks, late):
    seen = tracks.landmarks[:, 48:] - tracks.landmarks[:, 27:36].mean(1, keepdims=True)  # beside the nose
    heard = np.pad(seen.reshape(len(seen), -1), [(REACH_FRAMES, REACH_FRAMES), (0, 0)], mode="edge")
    confidence, offset = lips.ear_sync(replace(tracks, heard=np.roll(heard, late, axis=0)))
    assert offset == abs(late) and confidence > 0.3


def test_the_ear_says_nothing_of_lips_that_rest_or_of_no_sound(tracks):
    still = np.repeat(tracks.landmarks[:1], len(tracks.landmarks), axis=0)
    confidence, offset = lips.ear_sync(replace(tracks, landmarks=still))
    assert confidence == 0 and np.isnan(offset)
    assert np.isnan(lips.ear_sync(replace(tracks, heard=tracks.heard * np.nan))).all()
