"""SyncNet is shown the crops of the face that was followed, and hears their sound."""

from dataclasses import replace

import numpy as np

from emo.evaluation import lips
from emo.evaluation.measures import Asked, measure_tracks, measures
from emo.evaluation.tracks import FPS
from emo.face.sync_crop import sync_crop, sync_squares
from emo.media.video import VideoWriter, read_video
from emo.models.syncnet import LipSync


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
