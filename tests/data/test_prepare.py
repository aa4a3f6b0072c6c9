"""A moving head is held still, and what must not be learnt from is refused with the reason."""

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from emo.data.clip import SAMPLE_RATE, ClipInfo
from emo.data.prepare import IBUG, into_square, load_mesh, pick, prepare_video, smooth, sync_score
from emo.errors import InputError
from emo.face.region import Region, region_of_landmarks, transform
from emo.media.video import VideoWriter

COUNT = 50


def place(index: int, scale: float = 1.0) -> np.ndarray:
    """(2 3) the drawn face of 192 pixels -> its place in frame `index` of a picture 320 high and 400 wide."""
    t = index / 25
    turn, size = 0.2 * np.sin(2 * t), scale * (1 + 0.08 * np.sin(3 * t))
    matrix = cv2.getRotationMatrix2D((96, 96), np.degrees(-turn), size)
    return matrix + np.array([[0, 0, 104 + 40 * np.sin(2.5 * t)], [0, 0, 64 + 20 * np.cos(2 * t)]])


@pytest.fixture
def footage(draw, mesh_of, openings, sound_path, tmp_path):
    """footage(scale, openings, fps) -> paths of a video of the moving head and of its mesh."""

    def make(scale=1.0, openings=openings, fps=25):
        video, labels, meshes = tmp_path / "head.mp4", tmp_path / "head.safetensors", []
        with VideoWriter(video, fps, sound_path, overwrite=True) as writer:
            for index, opening in enumerate(openings):
                matrix = place(index * 25 / fps, scale)
                face = cv2.warpAffine(draw(opening), matrix, (400, 320), borderValue=(120, 140, 160))
                writer.write(face)
                points = transform(matrix, mesh_of(opening) * 192)
                meshes.append(np.column_stack([points, np.zeros(len(points))]))
        save_file({"landmarks": np.float32(meshes)}, labels)
        return video, labels

    return make


def info() -> ClipInfo:
    return ClipInfo("head", "anna", "drawn", "", 0)


def test_a_moving_head_is_held_still(footage):
    clip, frames = prepare_video(*footage(), 64, info())
    frames = np.stack(list(frames)).astype(int)
    assert frames.shape == (COUNT, 64, 64, 3) and clip.info.num_frames == COUNT
    assert len(clip.wave) == 2 * SAMPLE_RATE and clip.landmarks.shape == (COUNT, 68, 2)
    rigid = [36, 39, 42, 45, 27, 30, 31, 35, 8]
    path = np.stack([transform(place(t), np.array([[96.0, 96.0]])) for t in range(COUNT)])[:, 0]
    side = np.mean([region_of_landmarks(transform(place(t), clip.landmarks[0] * 192)).side for t in range(3)])
    assert clip.landmarks[5:-5, rigid].std(0).max() < 0.1 * (path.std(0) / side).max()
    assert np.abs(clip.landmarks[:, [36, 45, 30]].mean((0, 1)) - [0.5, 0.42]).max() < 0.1
    eyes = frames[:, 15:30]  # of the picture itself: rows above the mouth
    assert np.abs(eyes - eyes.mean(0)).mean() < 4
    assert np.array_equal(clip.mesh[:, IBUG], clip.landmarks)


def test_the_mouth_of_the_square_is_the_mouth_of_the_mesh(footage, openings):
    clip, frames = prepare_video(*footage(), 128, info())
    opened = np.linalg.norm(clip.landmarks[:, 62] - clip.landmarks[:, 66], axis=1)
    assert np.corrcoef(opened, openings)[0, 1] > 0.99
    for frame, points in list(zip(frames, clip.landmarks, strict=True))[::10]:
        x, y = (points[60:68].mean(0) * 128).astype(int)
        assert np.abs(frame[y, x].astype(int) - [150, 60, 60]).max() < 30  # the red of the drawn mouth


def test_another_rate_becomes_25_frames_per_second(footage, openings):
    at_50 = np.repeat(openings, 2)
    clip, frames = prepare_video(*footage(openings=at_50, fps=50), 64, info())
    assert clip.info.num_frames == COUNT == len(list(frames))
    opened = np.linalg.norm(clip.landmarks[:, 62] - clip.landmarks[:, 66], axis=1)
    assert np.corrcoef(opened, openings)[0, 1] > 0.95


def test_a_small_face_is_refused(footage):
    with pytest.raises(InputError, match="head.mp4: the face is smaller than 90 pixels"):
        prepare_video(*footage(scale=0.3), 64, info())


@pytest.mark.parametrize("kind", ["against the sound", "shut"])
def test_a_mouth_that_does_not_follow_the_sound_is_refused(footage, openings, kind):
    other = 1 - openings if kind == "against the sound" else 0 * openings
    with pytest.raises(InputError, match="head.mp4: the mouth does not follow the sound"):
        prepare_video(*footage(openings=other), 64, info())


def test_short_gaps_of_the_mesh_are_filled_and_long_ones_refused(tmp_path):
    mesh = np.arange(30, dtype=np.float32)[:, None, None] * np.ones((30, 468, 3), np.float32)
    gappy = mesh.copy()
    gappy[10:14] = np.nan
    save_file({"landmarks": gappy}, tmp_path / "a.safetensors")
    assert np.allclose(load_mesh(tmp_path / "a.safetensors"), mesh)
    gappy[10:17] = np.nan
    save_file({"landmarks": gappy}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="b: the face is out of sight"):
        load_mesh(tmp_path / "b.safetensors")
    save_file({"landmarks": mesh * np.nan}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="c: the face is out of sight"):
        load_mesh(tmp_path / "c.safetensors")


def test_into_square_is_the_way_back(mesh_of):
    region = Region((120, 90), 75, 0.3)
    points = transform(region.matrix(1), mesh_of(0.5))
    assert np.allclose(into_square(points, region), mesh_of(0.5))


def test_smoothing_keeps_lines_and_stills_noise():
    line = np.arange(40.0)[:, None] * [1, -2]
    assert np.allclose(smooth(line, 2.0)[8:-8], line[8:-8])
    noise = np.random.default_rng(0).normal(size=(400, 1))
    assert smooth(noise, 2.0).std() < 0.5 * noise.std() and smooth(noise, 2.0).shape == noise.shape


def test_sync_is_found_within_a_few_frames_only(wave, openings):
    assert sync_score(np.roll(openings, 2), wave) > 0.8
    assert sync_score(np.roll(openings, 6), wave) < 0.5


def test_what_does_not_change_is_not_in_step(wave, openings):
    assert sync_score(0 * openings, wave) == sync_score(openings, 0 * wave) == 0


def test_pick_takes_frames_by_number_with_repeats():
    assert list(pick(iter("abcdef"), np.array([0, 2, 2, 5]))) == list("accf")
