"""SyncNet sees each face of a video where it is, and what it finds late is moved."""

from pathlib import Path

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.data.clip import ClipInfo
from emo.face.crop import sync_crop, sync_squares
from emo.face.landmarks import IBUG
from emo.face.tracking import Track
from emo.media.audio import read_audio
from emo.media.video import read_video
from emo.preparation.clips import Job, Watch, prepare_track, read_mesh
from emo.preparation.filters import Limits
from emo.preparation.quality import look
from emo.preparation.sound import Listener
from emo.speech.syncnet import LipSync


@pytest.fixture
def shown(monkeypatch):
    """What SyncNet was shown, call by call: faces (T 224 224 3) and the wave; it answers `shown.answer`."""

    class Shown(list):
        answer = LipSync(0, 9.0, 6.0)

        def __call__(self, net, faces, wave):
            self.append((np.stack(list(faces)), wave))
            return self.answer

    made = Shown()
    monkeypatch.setattr("emo.preparation.clips.syncnet_sync", made)
    return made


def test_faces_are_found_in_any_order(footage, shown):
    video, labels = footage()
    frames, landmarks = list(read_video(video, 25)), read_mesh(labels)[:, IBUG, :2]
    watch = Watch(None, video)
    for first, end in [(3, 10), (12, 20), (5, 15), (0, 7)]:
        watch.sync(first, landmarks[first:end], np.zeros(0))
        squares = sync_squares(landmarks[first:end])
        want = [sync_crop(f, s) for f, s in zip(frames[first:end], squares, strict=True)]
        assert np.array_equal(shown[-1][0], want)


def prepare(video, labels, **limits):
    mesh = read_mesh(labels)
    track = Track(0, mesh[:, IBUG, :2])
    (sight,), numbered = look(read_video(video, 25), [track]), enumerate(read_video(video, 25))
    info, given = ClipInfo("head", "anna", "drawn", "", 0), Limits(shortest_seconds=1.0, least_voice=0.0, **limits)
    job = Job(Path(), None, 64, given)
    return prepare_track(track, sight, mesh, numbered, Listener(video), info, job, Watch(None, video))[0]


@pytest.mark.parametrize("late", [-3, 0, 3])
def test_what_syncnet_finds_late_is_moved_and_told(footage, shown, late):
    video, labels = footage()
    whole = read_audio(video, SAMPLE_RATE, 0, 2.0)
    shown.answer = LipSync(late, 4.0, 7.0)
    clip = prepare(video, labels)
    assert np.array_equal(shown[0][1], whole)  # it heard what the video says
    assert (clip.info.sync_offset_frames, clip.info.sync_confidence, clip.info.sync_by) == (late, 4.0, "syncnet")
    step = late * SAMPLE_RATE // 25
    common = min(len(clip.wave), len(whole) - abs(step))
    assert common > SAMPLE_RATE
    assert np.abs(clip.wave[max(0, -step) :][:common] - whole[max(0, step) :][:common]).max() < 1e-3
    assert not clip.wave[: max(0, -step)].any()


def test_lips_that_syncnet_does_not_hear_are_left_out(footage, shown):
    shown.answer = LipSync(0, 2.9, 9.0)
    with pytest.raises(InputError, match="head: the lips do not say what is heard"):
        prepare(*footage())
    assert prepare(*footage(), least_sync_confidence=2.5).info.sync_by == "syncnet"
