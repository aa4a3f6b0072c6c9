"""A moving head is held still, and clips that are unfit for training are dropped with the reason."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.data.clip import ClipInfo
from emo.face.crop import region_of_landmarks, transform_points
from emo.face.landmarks import MEDIAPIPE_TO_IBUG
from emo.face.tracking import Track
from emo.media.video import probe_video, read_video
from emo.preparation.clips import (
    MAX_GAP_FRAMES,
    PreparationJob,
    load_mesh,
    prepare_track,
    read_mesh,
    resample_mesh,
    split_track,
)
from emo.preparation.filters import ClipLimits
from emo.preparation.sound import VideoAudio

COUNT = 50


@pytest.fixture
def prepare(keep_patches):
    """prepare(video, labels, size, shot, limits): prepare_track of the labeled face of a video, or of a shot in it."""

    def call(video, labels, size, shot=None, **limits):
        mesh = resample_mesh(read_mesh(labels), probe_video(video).fps)
        first, end = shot or (0, len(mesh))
        open_limits = {"min_seconds": 1.0, "min_speech_ratio": 0.0, "min_lip_sync_confidence": -1.0}
        limits = ClipLimits(**open_limits | {"max_lip_sync_offset_frames": 15} | limits)
        track = Track(first, mesh[first:end, MEDIAPIPE_TO_IBUG, :2])
        patches, info = keep_patches(read_video(video, 25), [track]), ClipInfo("head", "anna", "drawn", "", 0)
        return prepare_track(track, mesh, patches, VideoAudio(video), info, PreparationJob(Path(), None, size, limits))

    return call


def test_a_moving_head_is_held_still(footage, place_of, mesh_of, prepare):
    clip, frames = prepare(*footage(), 64)
    frames = np.stack(list(frames)).astype(int)
    assert frames.shape == (COUNT, 64, 64, 3) and clip.info.num_frames == COUNT
    assert len(clip.wave) == 2 * SAMPLE_RATE and clip.landmarks.shape == (COUNT, 68, 2)
    rigid = [36, 39, 42, 45, 27, 30, 31, 35, 8]
    path = np.stack([transform_points(place_of(t), np.array([[96.0, 96.0]])) for t in range(COUNT)])[:, 0]
    side = np.mean([region_of_landmarks(transform_points(place_of(t), clip.landmarks[0] * 192)).side for t in range(3)])
    assert clip.landmarks[5:-5, rigid].std(0).max() < 0.1 * (path.std(0) / side).max()
    assert np.abs(clip.landmarks[:, [36, 45, 30]].mean((0, 1)) - [0.5, 0.42]).max() < 0.1
    eyes = frames[:, 15:30]  # of the picture itself: rows above the mouth
    assert np.abs(eyes - eyes.mean(0)).mean() < 4
    assert np.array_equal(clip.mesh[:, MEDIAPIPE_TO_IBUG], clip.landmarks)
    squares = [
        region_of_landmarks(transform_points(place_of(t), mesh_of(0.0)[MEDIAPIPE_TO_IBUG] * 192)) for t in range(COUNT)
    ]
    assert clip.info.face_pixels == pytest.approx(min(square.side for square in squares), rel=0.03)
    assert clip.info.sharpness > 0.2 and 0 < clip.info.rotation_degrees < 50
    assert (
        clip.info.motion > 2
        and clip.info.bars_ratio == 0
        and clip.info.letter_strokes < 4
        and clip.info.speech_ratio < 0.3
    )


def test_the_mouth_of_the_square_is_the_mouth_of_the_mesh(footage, openings, prepare):
    clip, frames = prepare(*footage(), 128)
    opened = np.linalg.norm(clip.landmarks[:, 62] - clip.landmarks[:, 66], axis=1)
    assert np.corrcoef(opened, openings)[0, 1] > 0.99
    for frame, points in list(zip(frames, clip.landmarks, strict=True))[::10]:
        x, y = (points[60:68].mean(0) * 128).astype(int)
        assert np.abs(frame[y, x].astype(int) - [150, 60, 60]).max() < 30  # the red of the drawn mouth


def test_another_rate_becomes_25_frames_per_second(footage, openings, prepare):
    at_50 = np.repeat(openings, 2)
    clip, frames = prepare(*footage(openings=at_50, fps=50), 64)
    assert clip.info.num_frames == COUNT == len(list(frames))
    opened = np.linalg.norm(clip.landmarks[:, 62] - clip.landmarks[:, 66], axis=1)
    assert np.corrcoef(opened, openings)[0, 1] > 0.95


def test_a_small_face_is_refused(footage, prepare):
    with pytest.raises(InputError, match="head: the face is smaller than min_face_pixels=90"):
        prepare(*footage(scale=0.3), 64)


def test_lips_that_do_not_match_the_sound_are_refused(footage, prepare):
    info = prepare(*footage(), 64)[0].info
    assert info.sync_scorer == "lip_sync" and -1 < info.sync_confidence < 1
    with pytest.raises(InputError, match="head: the lip-sync confidence is below min_lip_sync_confidence="):
        prepare(*footage(), 64, min_lip_sync_confidence=info.sync_confidence + 0.01)
    assert prepare(*footage(), 64, min_lip_sync_confidence=info.sync_confidence - 0.01)


def test_a_photo_that_is_moved_about_is_refused(footage, openings, prepare):
    with pytest.raises(InputError, match="head: the face moves less than min_motion="):
        prepare(*footage(openings=0 * openings), 64)


def test_short_gaps_of_the_mesh_are_filled_and_long_ones_refused(tmp_path):
    mesh = np.arange(30, dtype=np.float32)[:, None, None] * np.ones((30, 468, 3), np.float32)
    gappy = mesh.copy()
    gappy[10 : 10 + MAX_GAP_FRAMES] = np.nan
    save_file({"landmarks": gappy}, tmp_path / "a.safetensors")
    assert np.allclose(load_mesh(tmp_path / "a.safetensors"), mesh)
    gappy[10 : 11 + MAX_GAP_FRAMES] = np.nan
    save_file({"landmarks": gappy}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="b: no face for more than 5 frames"):
        load_mesh(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="none.safetensors is missing"):
        load_mesh(tmp_path / "none.safetensors")
    save_file({"landmarks": mesh * np.nan}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="c: no face for more than 5 frames"):
        load_mesh(tmp_path / "c.safetensors")


def test_a_long_track_is_cut_into_equal_pieces():
    track = Track(7, np.zeros((250, 68, 2), np.float32))
    assert [(piece.first_frame, piece.end) for piece in split_track(track, 4.0)] == [(7, 90), (90, 174), (174, 257)]
    assert [(piece.first_frame, piece.end) for piece in split_track(track, 10.0)] == [(7, 257)]


def test_labels_of_another_rate_are_those_of_the_frame_that_is_shown():
    numbers = np.arange(60.0)[:, None]
    assert resample_mesh(numbers, 50)[:, 0].tolist() == list(range(0, 60, 2))
    assert resample_mesh(numbers, 30)[:7, 0].tolist() == [0, 1, 2, 3, 4, 6, 7] and len(resample_mesh(numbers, 30)) == 50


def test_a_shot_has_its_own_frames_and_sound(footage, prepare):
    video, labels = footage()
    whole, frames = prepare(video, labels, 64)
    part, later = prepare(video, labels, 64, shot=(15, 45))
    assert part.info.num_frames == 30 and np.array_equal(part.wave, whole.wave[15 * 640 : 45 * 640])
    close = np.abs(part.landmarks[8:-8] - whole.landmarks[23:37]).max()
    assert close < 0.01  # beside the smoothing at the ends
    pairs = list(zip(list(later)[8:-8], list(frames)[23:37], strict=True))
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pairs) < 3
    with pytest.raises(InputError, match="head: the shot is shorter than min_seconds=1"):
        prepare(video, labels, 64, shot=(0, 20))
