"""A moving head is held still, and what must not be learnt from is refused with the reason."""

import csv

import cv2
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from emo.cli.prepare import main
from emo.data.clip import SAMPLE_RATE, ClipInfo, load_clip, read_clip_frames, save_clip
from emo.data.corpus import prepare_stills, prepare_videos
from emo.data.prepare import IBUG, at_clip_rate, into_square, load_mesh, pick, pieces, prepare_track, read_mesh, smooth
from emo.data.screen import Limits
from emo.errors import InputError
from emo.face.mouth import opening
from emo.face.region import Region, region_of_landmarks, transform
from emo.face.track import Track
from emo.media.audio import read_audio
from emo.media.video import VideoWriter, probe_video, read_video

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


def prepare(video, labels, size, shot=None):
    """prepare_track of the labelled face of a whole video, or of a shot in it."""
    mesh = at_clip_rate(read_mesh(labels), probe_video(video).fps)
    first, end = shot or (0, len(mesh))
    numbered = enumerate(read_video(video, 25))
    return prepare_track(video, Track(first, mesh[first:end, IBUG, :2]), mesh, numbered, info(), size, Limits())


def test_a_moving_head_is_held_still(footage):
    clip, frames = prepare(*footage(), 64)
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
    clip, frames = prepare(*footage(), 128)
    opened = np.linalg.norm(clip.landmarks[:, 62] - clip.landmarks[:, 66], axis=1)
    assert np.corrcoef(opened, openings)[0, 1] > 0.99
    for frame, points in list(zip(frames, clip.landmarks, strict=True))[::10]:
        x, y = (points[60:68].mean(0) * 128).astype(int)
        assert np.abs(frame[y, x].astype(int) - [150, 60, 60]).max() < 30  # the red of the drawn mouth


def test_another_rate_becomes_25_frames_per_second(footage, openings):
    at_50 = np.repeat(openings, 2)
    clip, frames = prepare(*footage(openings=at_50, fps=50), 64)
    assert clip.info.num_frames == COUNT == len(list(frames))
    opened = np.linalg.norm(clip.landmarks[:, 62] - clip.landmarks[:, 66], axis=1)
    assert np.corrcoef(opened, openings)[0, 1] > 0.95


def test_a_small_face_is_refused(footage):
    with pytest.raises(InputError, match="head: the face is smaller than 90 pixels"):
        prepare(*footage(scale=0.3), 64)


@pytest.mark.parametrize("kind", ["against the sound", "shut"])
def test_a_mouth_that_does_not_follow_the_sound_is_refused(footage, openings, kind):
    other = 1 - openings if kind == "against the sound" else 0 * openings
    with pytest.raises(InputError, match="head: the mouth does not follow the sound"):
        prepare(*footage(openings=other), 64)


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
    with pytest.raises(InputError, match="none.safetensors is missing"):
        load_mesh(tmp_path / "none.safetensors")
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


def test_pick_takes_frames_by_number():
    numbered = enumerate("abcdefgh")
    assert list(pick(numbered, range(1, 3))) == list("bc") and list(pick(numbered, range(5, 6))) == ["f"]
    assert next(numbered) == (6, "g")  # none was taken beyond the last


def test_a_long_track_is_cut_into_equal_pieces():
    track = Track(7, np.zeros((250, 68, 2), np.float32))
    assert [(piece.first, piece.end) for piece in pieces(track, 4.0)] == [(7, 90), (90, 174), (174, 257)]
    assert [(piece.first, piece.end) for piece in pieces(track, 10.0)] == [(7, 257)]


def test_labels_of_another_rate_are_those_of_the_frame_that_is_shown():
    numbers = np.arange(60.0)[:, None]
    assert at_clip_rate(numbers, 50)[:, 0].tolist() == list(range(0, 60, 2))
    assert at_clip_rate(numbers, 30)[:7, 0].tolist() == [0, 1, 2, 3, 4, 6, 7] and len(at_clip_rate(numbers, 30)) == 50


def test_a_shot_has_its_own_frames_and_sound(footage):
    video, labels = footage()
    whole, frames = prepare(video, labels, 64)
    part, later = prepare(video, labels, 64, shot=(15, 45))
    assert part.info.num_frames == 30 and np.array_equal(part.wave, whole.wave[15 * 640 : 45 * 640])
    close = np.abs(part.landmarks[8:-8] - whole.landmarks[23:37]).max()
    assert close < 0.01  # beside the smoothing at the ends
    pairs = list(zip(list(later)[8:-8], list(frames)[23:37], strict=True))
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pairs) < 3
    with pytest.raises(InputError, match="head: the shot is shorter than 1 s"):
        prepare(video, labels, 64, shot=(0, 20))


def test_each_shot_of_a_video_becomes_a_clip_and_what_is_left_out_is_written_down(footage, write_wav, tmp_path, capsys):
    video, labels = footage()
    meshes, landscape = load_mesh(labels), np.zeros((320, 400, 3), np.uint8)
    film, sound = tmp_path / "film" / "two.mp4", read_audio(video, SAMPLE_RATE)
    film.parent.mkdir()
    seen = list(read_video(video))
    frames = [*seen, *[landscape + 240] * 10, *seen]
    write_wav(tmp_path / "two.wav", np.concatenate([sound, np.zeros(6400, np.float32), sound]))
    with VideoWriter(film, 25, tmp_path / "two.wav") as writer:
        for frame in frames:
            writer.write(frame)
    gap = np.full((10, 468, 3), np.nan, np.float32)
    save_file({"landmarks": np.concatenate([meshes, gap, meshes])}, film.parent / "two.safetensors")
    assert prepare_videos(film.parent, film.parent, tmp_path / "clips", 64, None, None, Limits()) == 2
    first, last = (load_clip(tmp_path / "clips" / f"two_{k}.json") for k in (0, 2))
    assert first.info.num_frames == last.info.num_frames == COUNT
    assert np.abs(first.landmarks - last.landmarks).max() < 0.01 and np.abs(first.wave - last.wave).max() < 0.05
    dropped = list(csv.DictReader((tmp_path / "clips" / "dropped.csv").open()))
    assert dropped == [{"name": "two_1", "reason": "two_1: the face is out of sight; cut the video where it is seen"}]
    assert "left out: two_1: the face is out of sight" in capsys.readouterr().out


@pytest.fixture
def pair(samples, write_wav, wave, tmp_path):
    """A folder with a video without labels, at 50 frames per second: the sample portrait twice, side by side."""
    face = np.array(Image.open(samples / "portrait.png").convert("RGB").resize((256, 256)))
    folder = tmp_path / "raw"
    folder.mkdir()
    write_wav(tmp_path / "pair.wav", wave)
    with VideoWriter(folder / "pair.mp4", 50, tmp_path / "pair.wav") as writer:
        for _ in range(100):
            writer.write(np.concatenate([face, face], axis=1))
    return folder


def test_without_labels_each_face_is_followed_and_becomes_a_clip(pair, tmp_path, run_main):
    clips = tmp_path / "clips"
    code, out, _ = run_main(main, "emo-prepare", "videos", pair, clips, "--size", 64, "--limits", "lowest_sync=-1")
    assert code == 0 and out.endswith("clips: 2 clips\n")
    left, right = (load_clip(clips / f"pair_{k}.json") for k in (0, 1))
    assert left.landmarks.shape == (COUNT, 68, 2) and left.mesh.shape == (COUNT, 0, 2)
    assert np.abs(left.landmarks - right.landmarks).max() < 0.02 and np.array_equal(left.wave, right.wave)
    frames = [np.stack(list(read_clip_frames(clips / f"pair_{k}.json"))).astype(int) for k in (0, 1)]
    assert frames[0].shape == (COUNT, 64, 64, 3) and np.abs(frames[0] - frames[1]).mean() < 5


def test_a_still_mouth_under_speech_and_a_video_of_nobody_are_left_out(pair, tmp_path, run_main):
    with VideoWriter(pair / "nobody.mp4", 25) as writer:
        for _ in range(30):
            writer.write(np.full((128, 128, 3), 90, np.uint8))
    code, out, _ = run_main(main, "emo-prepare", "videos", pair, tmp_path / "clips")
    assert code == 0 and out.endswith("clips: 0 clips\n")
    assert "left out: nobody: no face is seen" in out and "left out: pair_1: the mouth does not follow" in out


@pytest.fixture
def stills(draw, mesh_of, tmp_path):
    """A folder of two drawn faces with their labels in it, one too small to use."""
    for name, size in (("one", 400), ("small", 100)):
        Image.fromarray(draw(0, size)).save(tmp_path / f"{name}.png")
        mesh = np.column_stack([mesh_of(0) * size, np.zeros(468)])[None]
        save_file({"landmarks": np.float32(mesh)}, tmp_path / f"{name}.safetensors")
    return tmp_path


def test_a_still_talks_in_several_clips_some_in_another_style(stills, clips_folder, capsys):
    def make(out: str, styled: float) -> list[np.ndarray]:
        options = dict(hold_out=None, drivers=[clips_folder], num_frames=8, takes=2, styled=styled, reshaped=0.0)
        assert prepare_stills(stills, stills, stills / out, 64, **options) == 2
        return [np.stack(list(read_clip_frames(stills / out / f"one_{take}.json"))) for take in (0, 1)]

    plain, styled = make("plain", 0.0), make("styled", 1.0)
    assert "left out: small.png: the face is smaller" in capsys.readouterr().out
    assert all(a.shape == b.shape and np.abs(a.astype(int) - b).mean() > 3 for a, b in zip(plain, styled, strict=True))
    clips = [load_clip(stills / "plain" / f"one_{take}.json") for take in (0, 1)]
    assert [clip.info.person for clip in clips] == ["one", "one"] and clips[0].info.source != clips[1].info.source
    for clip in clips:
        driver = load_clip(clips_folder / f"{clip.info.source.split()[-1]}.json")
        pieces = np.lib.stride_tricks.sliding_window_view(driver.wave, len(clip.wave))
        place = int(np.abs(pieces[::640] - clip.wave).sum(1).argmin())
        moved, driving = opening(clip.landmarks), opening(driver.landmarks)[place : place + 8]
        assert np.array_equal(pieces[640 * place], clip.wave) and np.corrcoef(moved, driving)[0, 1] > 0.95


def test_a_driver_without_a_mesh_is_refused(stills, make_clip, openings, tmp_path, capsys):
    clip, frames = make_clip("bare", "anna", openings[:16])
    clip.mesh = clip.mesh[:, :0]
    (tmp_path / "bare").mkdir()
    save_clip(tmp_path / "bare", clip, iter(frames))
    options = dict(hold_out=None, drivers=[tmp_path / "bare"], num_frames=8, takes=1, styled=0.0, reshaped=0.0)
    assert prepare_stills(stills, stills, stills / "out", 64, **options) == 0
    assert "bare.json has no face mesh to drive with: prepare it with --labels" in capsys.readouterr().out


def test_a_still_that_its_motion_tears_is_left_out(stills, clips_folder, monkeypatch, capsys):
    monkeypatch.setattr("emo.data.corpus.unsteadiness", lambda pictures: 3.01)
    options = dict(hold_out=None, drivers=[clips_folder], num_frames=8, takes=1, styled=0.0, reshaped=0.0)
    assert prepare_stills(stills, stills, stills / "out", 64, **options) == 0
    assert "left out: one_0: the motion of" in capsys.readouterr().out
