"""SyncNet gets the crops of each face, and a sound that it finds late is moved."""

from pathlib import Path

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.data.clip import ClipInfo
from emo.face.crop import crop_for_syncnet, syncnet_squares
from emo.face.landmarks import MEDIAPIPE_TO_IBUG
from emo.face.tracking import Track
from emo.media.audio import read_audio
from emo.media.video import read_video
from emo.preparation.clips import PreparationJob, cut_for_syncnet, prepare_track, read_mesh
from emo.preparation.face_patches import SYNCNET_REACH
from emo.preparation.filters import ClipLimits
from emo.preparation.sound import VideoAudio
from emo.speech.syncnet import SyncNetScore


@pytest.fixture
def shown(monkeypatch):
    """What SyncNet was shown, call by call: faces (T 224 224 3) and the wave; it answers `shown.answer`."""

    class Shown(list):
        answer = SyncNetScore(0, 9.0, 6.0)

        def __call__(self, net, faces, wave):
            self.append((np.stack(list(faces)), wave))
            return self.answer

    made = Shown()
    monkeypatch.setattr("emo.preparation.clips.score_syncnet", made)
    monkeypatch.setattr("emo.preparation.clips.load_syncnet", lambda path: None)
    return made


def test_syncnet_sees_the_crops_of_the_whole_frames(footage, keep_patches):
    video, labels = footage()
    frames, landmarks = list(read_video(video, 25)), read_mesh(labels)[:, MEDIAPIPE_TO_IBUG, :2]
    patches = keep_patches(frames, [Track(0, landmarks)], reach=SYNCNET_REACH)
    for first, end in [(3, 10), (12, 20), (5, 15), (0, 50)]:
        squares = syncnet_squares(landmarks[first:end])
        want = [crop_for_syncnet(f, s) for f, s in zip(frames[first:end], squares, strict=True)]
        assert np.array_equal(list(cut_for_syncnet(first, landmarks[first:end], patches)), want)


@pytest.fixture
def prepare(keep_patches):
    """prepare(video, labels, limits) -> the clip of the labeled face of a video."""

    def call(video, labels, **limits):
        mesh = read_mesh(labels)
        track = Track(0, mesh[:, MEDIAPIPE_TO_IBUG, :2])
        patches = keep_patches(read_video(video, 25), [track], reach=SYNCNET_REACH)
        limits = ClipLimits(min_seconds=1.0, min_speech_ratio=0.0, **limits)
        job = PreparationJob(Path(), None, 64, limits, syncnet=Path("syncnet_v2.model"))
        info = ClipInfo("head", "anna", "drawn", "", 0)
        return prepare_track(track, mesh, patches, VideoAudio(video), info, job)[0]

    return call


@pytest.mark.parametrize("late", [-3, 0, 3])
def test_a_late_sound_is_moved_and_its_offset_written(footage, shown, prepare, late):
    video, labels = footage()
    whole = read_audio(video, SAMPLE_RATE, 0, 2.0)
    shown.answer = SyncNetScore(late, 4.0, 7.0)
    clip = prepare(video, labels)
    assert np.array_equal(shown[0][1], whole)  # the sound of the video as it is
    assert (clip.info.sync_offset_frames, clip.info.sync_confidence, clip.info.sync_scorer) == (late, 4.0, "syncnet")
    step = late * SAMPLE_RATE // 25
    common = min(len(clip.wave), len(whole) - abs(step))
    assert common > SAMPLE_RATE
    assert np.abs(clip.wave[max(0, -step) :][:common] - whole[max(0, step) :][:common]).max() < 1e-3
    assert not clip.wave[: max(0, -step)].any()


def test_lips_that_do_not_match_are_left_out(footage, shown, prepare):
    shown.answer = SyncNetScore(0, 2.9, 9.0)
    with pytest.raises(InputError, match="head: the lip-sync confidence is below min_syncnet_confidence="):
        prepare(*footage())
    assert prepare(*footage(), min_syncnet_confidence=2.5).info.sync_scorer == "syncnet"
