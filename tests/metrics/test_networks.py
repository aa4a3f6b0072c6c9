"""emo-eval with the field's networks: their figures are those of the frames, kept, and asked for by weights alone."""

import itertools
import json
from dataclasses import replace
from math import nan

import numpy as np
import pytest
import torch
from scipy.io import savemat

from emo.cli.eval import main, parser
from emo.core.errors import InputError
from emo.core.files import save_arrays
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.metrics import expression, i3d, inception, networks, videomae
from emo.metrics import reconstruction as lpips
from emo.metrics.distances import distance, set_distance
from emo.metrics.features import LookAtBoth, features_of
from emo.metrics.identity import identity_drift, kept_identity
from emo.metrics.networks import NETWORKS, look_of
from emo.metrics.registry import Asked
from emo.metrics.runner import evaluate
from emo.metrics.tracks import Watch, save_tracks
from emo.models import arcface

COUNT = 40  # frames: more than are looked at together


def colours(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What stands for a network of sets: the mean colour of each frame."""
    return frames.mean((2, 3)).astype(np.float32)


def shades(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """What stands for ArcFace: a vector that turns as the frame gets lighter; NaN where no face is seen."""
    angles = frames.mean((1, 2, 3)) / 100
    faces = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.where(np.isfinite(landmarks).all((1, 2))[:, None], faces, np.nan).astype(np.float32)


def quarter(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """What stands for LPIPS: it looks at two videos, at no face."""
    assert made.shape == true.shape
    return np.full(len(made), 0.25, np.float32)


def frames_of(video) -> np.ndarray:
    return np.stack(list(read_video(video, 25))).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def sets(tmp_path_factory, portrait):
    """Folders `made` and `real` of two videos each, of 32 pixels: the made ones darker."""
    folder = tmp_path_factory.mktemp("sets")
    for name, k in itertools.product(("made", "real"), range(2)):
        (folder / name).mkdir(exist_ok=True)
        with VideoWriter(folder / name / f"clip{k}.mp4", 25) as video:
            for shade in range(COUNT):
                video.write(portrait[::6, ::6] // (1 + (name == "made")) + shade * (k + 1))
    return folder


@pytest.fixture
def each(tracks):
    """Instead of looking for a face it is where it was in the footage, out of sight in frame 3; the rest is true."""
    names = ("landmarks", "gaze", "face_sharpness", "mouth_sharpness", "colour", "change", "background", "level")
    seen = np.arange(COUNT) != 3
    known = replace(tracks, seen=seen, **{name: getattr(tracks, name)[:COUNT] for name in names})

    def work_on(work, videos):
        for video in videos:
            path = work.folder / f"{video.parent.name}_{video.stem}.safetensors"
            if isinstance(work, Watch):
                save_tracks(path, known)
            yield video, path if isinstance(work, Watch) else work(video)

    return work_on


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """Networks without weights, and files of weights for them."""
    looks = {"inception": colours, "arcface": shades, "lpips": quarter}
    files = {}
    for option, look in looks.items():
        monkeypatch.setitem(NETWORKS, option, replace(NETWORKS[option], load=lambda path, look=look: look))
        files[option] = tmp_path / option
        files[option].write_text(option)
    return files


def report_of(out) -> tuple[dict, dict]:
    told = json.loads((out / "report.json").read_text())["sets"]
    return tuple(told)


def test_the_figures_are_those_of_the_frames(sets, each, stand_ins, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, Asked(networks=stand_ins, reconstruction=True), each)
    made, real = report_of(tmp_path)
    frames = {path.stem: frames_of(path) for path in sorted((sets / "made").iterdir())}
    truth = {path.stem: frames_of(path) for path in sorted((sets / "real").iterdir())}
    a, b = (np.concatenate([colours(clip, None) for clip in clips.values()]) for clips in (frames, truth))
    fid = made["distances"]["FID"]
    assert fid["mean"] == pytest.approx(distance(a, b)) and fid["clips"] == 2 and real["distances"] == {}
    assert 0 < fid["low"] < fid["mean"] < fid["high"]
    for stem, clip in frames.items():
        one, faces = made["each"][stem], shades(np.delete(clip, 3, 0), np.zeros((COUNT - 1, 68, 2)))
        cosines = faces[1:] @ faces[0]
        assert (one["CSIM"], one["CSIM_worst_frame"]) == pytest.approx((cosines.mean(), cosines.min()), abs=1e-5)
        error = np.square(clip.astype(float) - truth[stem]).mean((1, 2, 3))
        assert one["PSNR"] == pytest.approx(np.mean(10 * np.log10(255**2 / error)), abs=1e-4)
        assert 0 < one["SSIM"] < 1 and one["LPIPS"] == 0.25 and real["each"][stem]["PSNR"] is None


def test_table_and_page_show_them_and_say_what_is_lacking(sets, each, stand_ins, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, Asked(networks=stand_ins), each)
    table, page = ((tmp_path / name).read_text() for name in ("table.md", "report.html"))
    made, _ = report_of(tmp_path)
    figure = made["distances"]["FID"]
    cell = f"{figure['mean']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"
    assert f"| FID | low | {cell} | – |" in table and f"<td>{cell}</td>" in page and "FID (good: low)" in page
    assert "| CSIM (cosine) | as real |" in table and "PSNR (" not in table and "100 resamples" in table
    lacking = table[table.index("Not measured:") :]
    assert "FVD (--i3d)" in lacking and "(--syncnet)" in lacking and "(--reconstruction)" in lacking
    assert "CSIM" not in lacking and "FID (--inception)" not in lacking


def test_without_weights_nothing_is_looked_at_again(sets, each, tmp_path):
    def watched_once(work, videos):
        assert isinstance(work, Watch) or not videos
        return each(work, videos)

    evaluate([sets / "made"], sets / "real", tmp_path, Asked(), watched_once)
    table = (tmp_path / "table.md").read_text()
    assert "FID (--inception)" in table and "| FID" not in table and "CSIM (" not in table.split("Not measured")[0]


def test_what_was_seen_is_kept(sets, each, stand_ins, tmp_path, monkeypatch):
    asked = Asked(networks=stand_ins, reconstruction=True)
    evaluate([sets / "made"], sets / "real", tmp_path, asked, each)
    first = (tmp_path / "report.json").read_text()
    for place in ("look_of", "read_video"):
        monkeypatch.setattr(f"emo.metrics.features.{place}", lambda *_: pytest.fail("looked again"))
    evaluate([sets / "made"], sets / "real", tmp_path, asked, each)
    assert (tmp_path / "report.json").read_text() == first


def test_a_frozen_picture_keeps_its_person(sets, each, stand_ins, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, Asked(controls=True, networks=stand_ins), each)
    _, still, _, real = json.loads((tmp_path / "report.json").read_text())["sets"]
    assert still["measures"]["CSIM"]["mean"] == pytest.approx(1)
    assert real["measures"]["CSIM"]["mean"] < 0.99


def test_frames_are_looked_at_in_order_with_their_landmarks(sets):
    video = sets / "real" / "clip0.mp4"
    landmarks = np.arange(COUNT)[:, None, None] + np.zeros((COUNT, 68, 2))
    found = features_of(video, landmarks, lambda frames, points: np.c_[colours(frames, points), points[:, 0, 0]])
    assert np.array_equal(found, np.c_[colours(frames_of(video), None), np.arange(COUNT)])


def test_a_set_beside_itself_is_nowhere_apart_and_long_features_have_no_interval(tmp_path):
    random = np.random.default_rng(0)
    for k, longer in itertools.product(range(3), (4, 600)):
        save_arrays(tmp_path / f"{longer}_{k}", {"features": random.normal(k, 1, (9, longer)).astype(np.float32)})
    short, long = ([tmp_path / f"{longer}_{k}" for k in range(3)] for longer in (4, 600))
    same, other = set_distance(short, short), set_distance(short[:1], short[1:])
    assert same.mean == pytest.approx(0, abs=1e-5) and other.mean > 1 and other.low <= other.mean <= other.high
    assert np.isnan(set_distance(long, long).low) and set_distance(long, long).mean < 1e-5
    save_arrays(tmp_path / "none", {"features": np.zeros((0, 4), np.float32)})
    assert np.isnan(set_distance([tmp_path / "none"], short).mean)


def test_the_person_is_the_first_frames():
    seconds = np.arange(300) / 25
    faces = np.stack([np.cos(seconds / 60), np.sin(seconds / 60)], 1)  # turns by a radian a minute
    faces[0] = nan
    found = kept_identity(faces)
    assert found.worst == pytest.approx(np.cos((seconds[-1] - seconds[1]) / 60))
    fallen = np.cos((seconds[[-38, 37]] - seconds[1]) / 60)  # the middles of the last quarter and of the first
    assert identity_drift(faces) == pytest.approx((fallen[0] - fallen[1]) / (225 / 25 / 60), rel=0.02)
    assert np.isnan(kept_identity(faces[:2]).mean) and np.isnan(identity_drift(faces[:1]))


def test_pictures_of_two_sizes_are_refused(sets, portrait, tmp_path):
    with VideoWriter(tmp_path / "small.mp4", 25) as video:
        video.write(portrait[::12, ::12])
    made, true = sets / "made" / "clip0.mp4", tmp_path / "small.mp4"
    with pytest.raises(InputError, match="clip0.mp4 has 32 x 32 pixels and .*small.mp4 16 x 16 pixels"):
        LookAtBoth(tmp_path, {made: true}, None, "")(made)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--inception", "none.pth"), "--inception none.pth is no file: give pt_inception-2015-12-05-6726825d.pth"),
        (("--lpips", "none.pth"), "give --reconstruction too"),
        (("--i3d", "{broken}"), "can't be loaded as I3D"),
        (("--reconstruction",), "no video has the name of one in real"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_looked_at(sets, portrait, tmp_path, run_main, given, said):
    (tmp_path / "broken").write_text("no weights")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.mp4").write_text("no video")
    given = [argument.format(broken=tmp_path / "broken") for argument in given]
    code, _, err = run_main(
        main, "emo-eval", tmp_path / "others", "--reference", sets / "real", "-o", tmp_path / "out", *given
    )
    assert code == 2 and said in err and err.count("\n") == 1


def test_options_name_the_files_that_the_networks_want():
    published = {"inception": inception, "i3d": i3d, "videomae": videomae, "arcface": arcface, "deep3d": expression}
    wanted = {option: module.PUBLISHED.file for option, module in published.items()} | {"lpips": lpips.ALEXNET.file}
    assert {option: network.file for option, network in NETWORKS.items()} == wanted
    assert all(f"--{option}" in parser().format_help() for option in wanted)


def test_each_option_loads_its_network(made_up, pictures, tmp_path, monkeypatch):
    nets = {"inception": inception.Inception(), "i3d": i3d.I3D(), "arcface": arcface.IResNet(arcface.BLOCKS[2])}
    for option, net in nets.items():
        torch.save(made_up(net), tmp_path / option)
    torch.save({"net_recon": made_up(expression.FaceRegressor())}, tmp_path / "deep3d")
    torch.save(made_up(lpips.LPIPS().looked), tmp_path / "lpips")
    points = np.random.RandomState(5).rand(68, 2) * 60
    savemat(tmp_path / "similarity_Lm3D_all.mat", {"lm": np.random.RandomState(6).rand(68, 3)})
    frames, landmarks = pictures(16, 64), np.stack([points] * 16)
    landmarks[1:] = nan
    found = {o: look_of(o, tmp_path / o)(frames, landmarks) for o in ("i3d", "arcface", "deep3d")}
    found["inception"] = look_of("inception", tmp_path / "inception")(frames[:1], landmarks[:1])
    shapes = {"inception": (1, 2048), "i3d": (1, 400), "arcface": (16, 512), "deep3d": (1, 64)}
    assert {option: features.shape for option, features in found.items()} == shapes
    assert np.isfinite(found["arcface"][0]).all() and np.isnan(found["arcface"][1:]).all()
    assert look_of("lpips", tmp_path / "lpips")(frames[:2], frames[:2]).tolist() == [0, 0]
    net = videomae.make_videomae(
        5, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28
    )
    monkeypatch.setattr(videomae, "load_videomae", lambda path: net.eval())
    assert networks.videomae(tmp_path)(frames, landmarks).shape == (1, 8)
