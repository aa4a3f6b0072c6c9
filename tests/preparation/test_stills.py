"""A still face talks like a clip does."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from emo.data.clip import load_clip, read_clip_frames, save_clip
from emo.face.landmarks import mouth_opening
from emo.preparation.stills import prepare_stills


@pytest.fixture
def stills(draw, mesh_of, tmp_path):
    """A folder of two drawn faces with their labels in it, one too small to use."""
    for name, size in (("one", 400), ("small", 100)):
        Image.fromarray(draw(0, size)).save(tmp_path / f"{name}.png")
        mesh = np.column_stack([mesh_of(0) * size, np.zeros(468)])[None]
        save_file({"landmarks": np.float32(mesh)}, tmp_path / f"{name}.safetensors")
    return tmp_path


def test_a_still_talks_in_several_clips_some_in_another_style(stills, clips_folder, capsys):
    def make(out: str, stylized_ratio: float) -> list[np.ndarray]:
        options = dict(
            hold_out=None,
            drivers=[clips_folder],
            num_frames=8,
            takes=2,
            stylized_ratio=stylized_ratio,
            recolored_lips_ratio=0.0,
        )
        assert prepare_stills(stills, stills, stills / out, 64, **options) == 2
        return [np.stack(list(read_clip_frames(stills / out / f"one_{take}.json"))) for take in (0, 1)]

    plain, styled = make("plain", 0.0), make("styled", 1.0)
    assert "left out: small_0: the face is smaller" in capsys.readouterr().out
    assert all(a.shape == b.shape and np.abs(a.astype(int) - b).mean() > 3 for a, b in zip(plain, styled, strict=True))
    clips = [load_clip(stills / "plain" / f"one_{take}.json") for take in (0, 1)]
    assert [clip.info.person for clip in clips] == ["one", "one"] and clips[0].info.source != clips[1].info.source
    for clip in clips:
        driver = load_clip(clips_folder / f"{clip.info.source.split()[-1]}.json")
        pieces = np.lib.stride_tricks.sliding_window_view(driver.wave, len(clip.wave))
        place = int(np.abs(pieces[::640] - clip.wave).sum(1).argmin())
        moved, driving = mouth_opening(clip.landmarks), mouth_opening(driver.landmarks)[place : place + 8]
        assert np.array_equal(pieces[640 * place], clip.wave) and np.corrcoef(moved, driving)[0, 1] > 0.95


def test_the_inside_of_the_mouth_is_degraded_like_the_picture(stills, clips_folder, monkeypatch):
    monkeypatch.setattr("emo.preparation.stills.stylize", lambda image, rng: image)
    monkeypatch.setattr("emo.preparation.stills.degrade", lambda image, rng: np.repeat(image[..., :1], 3, -1))
    options = dict(
        hold_out=None, drivers=[clips_folder], num_frames=8, takes=1, stylized_ratio=1.0, recolored_lips_ratio=0.0
    )
    prepare_stills(stills, stills, stills / "gray", 64, **options)
    frames = np.stack(list(read_clip_frames(stills / "gray" / "one_0.json"))).astype(int)
    assert np.ptp(frames, axis=-1).max() < 6  # gray all over, what was painted from the driver's clip too


def test_a_still_of_a_singer_sings_without_the_music_too(stills, make_clip, openings, tmp_path):
    clip, frames = make_clip("singer", "anna", openings[:16])
    clip.vocals, clip.info.music_ratio = clip.wave / 2, 0.8
    (tmp_path / "singers").mkdir()
    save_clip(tmp_path / "singers", clip, iter(frames))
    options = dict(
        hold_out=None,
        drivers=[tmp_path / "singers"],
        num_frames=8,
        takes=1,
        stylized_ratio=0.0,
        recolored_lips_ratio=0.0,
    )
    assert prepare_stills(stills, stills, stills / "out", 64, **options) == 1
    made = load_clip(stills / "out" / "one_0.json")
    assert np.array_equal(made.voice, made.wave / 2) and made.wave.any() and made.info.music_ratio == 0.8


def test_a_profile_and_a_face_at_the_edge_are_left_out(stills, clips_folder, mesh_of, monkeypatch, capsys):
    def left_out(mesh) -> str:
        save_file({"landmarks": np.float32(np.column_stack([mesh, np.zeros(468)])[None])}, stills / "one.safetensors")
        out = stills / str(len(list(stills.iterdir())))
        options = dict(
            hold_out=None, drivers=[clips_folder], num_frames=8, takes=1, stylized_ratio=0.0, recolored_lips_ratio=0.0
        )
        prepare_stills(stills, stills, out, 64, **options)
        return capsys.readouterr().out

    assert "one_0: the face is cut off by the edge of the picture" in left_out(mesh_of(0) * 400 + [0, 60])
    monkeypatch.setattr("emo.preparation.stills.head_rotation_degrees", lambda landmarks: np.full(len(landmarks), 36.0))
    assert "one_0: the head is turned by more than 35 degrees" in left_out(mesh_of(0) * 400)


def test_a_driver_without_a_mesh_is_refused(stills, make_clip, openings, tmp_path, capsys):
    clip, frames = make_clip("bare", "anna", openings[:16])
    clip.mesh = clip.mesh[:, :0]
    (tmp_path / "bare").mkdir()
    save_clip(tmp_path / "bare", clip, iter(frames))
    options = dict(
        hold_out=None, drivers=[tmp_path / "bare"], num_frames=8, takes=1, stylized_ratio=0.0, recolored_lips_ratio=0.0
    )
    assert prepare_stills(stills, stills, stills / "out", 64, **options) == 0
    assert (
        "bare.json has no face mesh to drive with: prepare it with emo-prepare videos --labels"
        in capsys.readouterr().out
    )


def test_a_still_that_its_motion_distorts_is_left_out(stills, clips_folder, monkeypatch, capsys):
    monkeypatch.setattr("emo.preparation.stills.measure_unsteadiness", lambda pictures: 3.01)
    options = dict(
        hold_out=None, drivers=[clips_folder], num_frames=8, takes=1, stylized_ratio=0.0, recolored_lips_ratio=0.0
    )
    assert prepare_stills(stills, stills, stills / "out", 64, **options) == 0
    assert "left out: one_0: the motion of" in capsys.readouterr().out
