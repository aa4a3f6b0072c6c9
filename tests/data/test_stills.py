"""A still face talks like a clip does."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from emo.data.animate import parting
from emo.data.clip import list_clips, load_clip, read_clip_frames, save_clip
from emo.data.heard import fit_motion
from emo.data.stills import prepare_stills
from emo.errors import InputError
from emo.face.mouth import opening
from emo.models.pretrained import load_part


@pytest.fixture
def stills(draw, mesh_of, tmp_path):
    """A folder of two drawn faces with their labels in it, one too small to use."""
    for name, size in (("one", 400), ("small", 100)):
        Image.fromarray(draw(0, size)).save(tmp_path / f"{name}.png")
        mesh = np.column_stack([mesh_of(0) * size, np.zeros(468)])[None]
        save_file({"landmarks": np.float32(mesh)}, tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.fixture
def make(stills, clips_folder, ear):
    """make(out, **options) -> how many clips of the stills lie in the folder `out`."""
    usual = dict(hold_out=None, drivers=[clips_folder], ear=ear, num_frames=8, takes=1, styled=0.0, made_up=0.0)
    return lambda out, **options: prepare_stills(stills, stills, out, 64, **usual | options)


def test_a_still_talks_in_several_clips_some_in_another_style(stills, make, clips_folder, monkeypatch, capsys):
    def pictures(out: str, styled: float) -> list[np.ndarray]:
        assert make(stills / out, takes=2, styled=styled) == 2
        return [np.stack(list(read_clip_frames(stills / out / f"one_{take}.json"))) for take in (0, 1)]

    monkeypatch.setattr("emo.data.stills.VARIED", 0.0)
    plain, styled = pictures("plain", 0.0), pictures("styled", 1.0)
    assert "left out: small_0: the face is smaller" in capsys.readouterr().out
    assert all(a.shape == b.shape and np.abs(a.astype(int) - b).mean() > 3 for a, b in zip(plain, styled, strict=True))
    clips = [load_clip(stills / "plain" / f"one_{take}.json") for take in (0, 1)]
    assert [clip.info.person for clip in clips] == ["one", "one"] and clips[0].info.source != clips[1].info.source
    for clip in clips:
        driver = load_clip(clips_folder / f"{clip.info.source.split()[-1]}.json")
        pieces = np.lib.stride_tricks.sliding_window_view(driver.voice, len(clip.wave))
        assert (pieces[::640] == clip.wave).all(1).any()


def test_a_still_moves_as_its_own_voice_is_heard(stills, make, ear, clips_folder, monkeypatch):
    monkeypatch.setattr("emo.data.stills.VARIED", 1.0)
    make(stills / "varied", num_frames=16)
    clip = load_clip(stills / "varied" / "one_0.json")
    said = fit_motion(list_clips([str(clips_folder)]), load_part(ear))(clip.wave, len(clip.landmarks))
    driver = load_clip(clips_folder / f"{clip.info.source.split()[-1]}.json")
    assert not np.isin(clip.wave[clip.wave != 0], driver.voice).all()
    print(opening(clip.landmarks).round(3), parting(said).round(3))
    assert np.corrcoef(opening(clip.landmarks), parting(said).clip(0))[0, 1] > 0.95


def test_the_inside_of_the_mouth_is_worn_like_the_picture(stills, make, monkeypatch):
    monkeypatch.setattr("emo.data.stills.paint", lambda image, rng: image)
    monkeypatch.setattr("emo.data.stills.wear", lambda image, rng: np.repeat(image[..., :1], 3, -1))
    make(stills / "grey", styled=1.0)
    frames = np.stack(list(read_clip_frames(stills / "grey" / "one_0.json"))).astype(int)
    assert np.ptp(frames, axis=-1).max() < 6  # grey all over, what was painted from the driver's clip too


def test_a_profile_and_a_face_at_the_edge_are_left_out(stills, make, mesh_of, monkeypatch, capsys):
    def left_out(mesh) -> str:
        save_file({"landmarks": np.float32(np.column_stack([mesh, np.zeros(468)])[None])}, stills / "one.safetensors")
        out = stills / str(len(list(stills.iterdir())))
        make(out)
        return capsys.readouterr().out

    assert "one_0: the picture's edge cuts the face off" in left_out(mesh_of(0) * 400 + [0, 60])
    monkeypatch.setattr("emo.data.stills.turned_degrees", lambda landmarks: np.full(len(landmarks), 36.0))
    assert "one_0: the head is turned by more than 35 degrees" in left_out(mesh_of(0) * 400)


def test_a_driver_without_a_mesh_is_refused(stills, make, make_clip, openings, tmp_path):
    clip, frames = make_clip("bare", "anna", openings[:16])
    clip.mesh = clip.mesh[:, :0]
    (tmp_path / "bare").mkdir()
    save_clip(tmp_path / "bare", clip, iter(frames))
    with pytest.raises(InputError, match="bare.json has no face mesh to drive with: prepare it with --labels"):
        make(stills / "out", drivers=[tmp_path / "bare"])


def test_a_still_that_its_motion_tears_is_left_out(stills, make, monkeypatch, capsys):
    monkeypatch.setattr("emo.data.stills.unsteadiness", lambda pictures: 3.01)
    assert make(stills / "out") == 0
    assert "left out: one_0: what" in capsys.readouterr().out
