"""emo-eval with the field's networks: their figures are those of the frames, cached, and turned on by weights alone."""

import itertools
import json
from dataclasses import replace
from math import nan

import numpy as np
import pytest
import torch
from scipy.io import savemat

from emo.cli.eval import main, make_parser
from emo.core.files import save_arrays
from emo.face.refinement import FaceDetails
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.metrics import reconstruction
from emo.metrics.distances import compute_set_distance, feature_distance
from emo.metrics.identity import identity_drift, measure_own_identity
from emo.metrics.networks import catalog, expression, i3d, inception, videomae
from emo.metrics.networks.catalog import NETWORKS, load_network
from emo.metrics.registry import EvaluationOptions
from emo.metrics.runner import evaluate
from emo.models import arcface

COUNT = 40  # frames: more than a batch of the networks


def mean_colors(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Stands for a network of sets: the mean color of each frame."""
    return frames.mean((2, 3)).astype(np.float32)


def brightness_angles(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Stands for ArcFace: a vector that turns as the frame gets lighter; NaN where no face is visible."""
    angles = frames.mean((1, 2, 3)) / 100
    faces = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.where(np.isfinite(landmarks).all((1, 2))[:, None], faces, np.nan).astype(np.float32)


def constant_distance(generated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Stands for LPIPS."""
    assert generated.shape == true.shape
    return np.full(len(generated), 0.25, np.float32)


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


def map_groups(work, groups):
    return ((group, work(group)) for group in groups)


@pytest.fixture(autouse=True)
def known_face(footage, monkeypatch):
    """The face is where it is in `footage`, and not visible in frame 3, whatever the video shows."""

    def make_tracker():
        points = iter(footage.landmarks)
        faces = [FaceDetails(next(points), np.zeros(2), 0.0) if k != 3 else None for k in range(COUNT)]
        faces = iter(faces)
        return lambda frame: next(faces)

    monkeypatch.setattr("emo.metrics.single_pass.make_face_tracker", make_tracker)


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """Networks without weights, and files of weights for them."""
    extractors = {"inception": mean_colors, "arcface": brightness_angles, "lpips": constant_distance}
    files = {}
    for name, extract in extractors.items():
        network = replace(NETWORKS[name], load=lambda path, extract=extract: extract)
        monkeypatch.setitem(NETWORKS, name, network)
        files[name] = tmp_path / name
        files[name].write_text(name)
    return files


def report_of(out) -> tuple[dict, dict]:
    sets_content = json.loads((out / "report.json").read_text())["sets"]
    return tuple(sets_content)


def test_the_figures_are_those_of_the_frames(sets, stand_ins, tmp_path):
    options = EvaluationOptions(networks=stand_ins, reconstruction=True)
    evaluate([sets / "made"], sets / "real", tmp_path, options, map_groups)
    made, real = report_of(tmp_path)
    frames = {path.stem: frames_of(path) for path in sorted((sets / "made").iterdir())}
    truth = {path.stem: frames_of(path) for path in sorted((sets / "real").iterdir())}
    a, b = (np.concatenate([mean_colors(clip, None) for clip in clips.values()]) for clips in (frames, truth))
    fid = made["distances"]["FID"]
    assert fid["mean"] == pytest.approx(feature_distance(a, b)) and fid["clips"] == 2 and real["distances"] == {}
    assert 0 < fid["low"] < fid["mean"] < fid["high"]
    for stem, clip in frames.items():
        one, faces = made["each"][stem], brightness_angles(np.delete(clip, 3, 0), np.zeros((COUNT - 1, 68, 2)))
        cosines = faces[1:] @ faces[0]
        assert (one["CSIM"], one["CSIM_worst_frame"]) == pytest.approx((cosines.mean(), cosines.min()), abs=1e-5)
        error = np.square(clip.astype(float) - truth[stem]).mean((1, 2, 3))
        assert one["PSNR"] == pytest.approx(np.mean(10 * np.log10(255**2 / error)), abs=1e-4)
        assert 0 < one["SSIM"] < 1 and one["LPIPS"] == 0.25 and real["each"][stem]["PSNR"] is None


def test_table_and_page_show_them_and_what_was_not_measured(sets, stand_ins, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, EvaluationOptions(networks=stand_ins), map_groups)
    table, page = ((tmp_path / name).read_text() for name in ("table.md", "report.html"))
    made, _ = report_of(tmp_path)
    figure = made["distances"]["FID"]
    cell = f"{figure['mean']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}]"
    assert f"| FID | low | {cell} | – |" in table and f"<td>{cell}</td>" in page and "FID (good: low)" in page
    assert "| CSIM (cosine) | as real |" in table and "PSNR (" not in table and "100 resamples" in table
    lacking = table[table.index("Not measured:") :]
    without_weights, not_compared, *_ = lacking.split(";")
    assert "LSE-C, LSE-D, FVD, " in without_weights and "weights of their networks" in without_weights
    assert "PSNR, SSIM" in not_compared and "frame by frame" in not_compared
    assert "CSIM" not in lacking and " FID," not in lacking and "--" not in lacking


def test_without_weights_their_measures_are_listed_as_not_measured(sets, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, EvaluationOptions(), map_groups)
    measured, lacking = (tmp_path / "table.md").read_text().split("Not measured")
    assert " FID," in lacking and "| FID" not in measured and "CSIM (" not in measured


def test_a_frozen_picture_keeps_its_person(sets, stand_ins, tmp_path):
    evaluate([sets / "made"], sets / "real", tmp_path, EvaluationOptions(controls=True, networks=stand_ins), map_groups)
    _, still, _, real = json.loads((tmp_path / "report.json").read_text())["sets"]
    assert still["measures"]["CSIM"]["mean"] == pytest.approx(1)
    assert real["measures"]["CSIM"]["mean"] < 0.99


def test_a_set_beside_itself_is_nowhere_apart_and_long_features_have_no_interval(tmp_path):
    random = np.random.default_rng(0)
    for k, longer in itertools.product(range(3), (4, 600)):
        save_arrays(tmp_path / f"{longer}_{k}", {"features": random.normal(k, 1, (9, longer)).astype(np.float32)})
    short, long = ([tmp_path / f"{longer}_{k}" for k in range(3)] for longer in (4, 600))
    same, other = compute_set_distance(short, short), compute_set_distance(short[:1], short[1:])
    assert same.mean == pytest.approx(0, abs=1e-5) and other.mean > 1 and other.low <= other.mean <= other.high
    assert np.isnan(compute_set_distance(long, long).low) and compute_set_distance(long, long).mean < 1e-5
    save_arrays(tmp_path / "none", {"features": np.zeros((0, 4), np.float32)})
    assert np.isnan(compute_set_distance([tmp_path / "none"], short).mean)


def test_the_person_is_the_first_frames():
    seconds = np.arange(300) / 25
    faces = np.stack([np.cos(seconds / 60), np.sin(seconds / 60)], 1)  # turns by a radian a minute
    faces[0] = nan
    found = measure_own_identity(faces)
    assert found.worst == pytest.approx(np.cos((seconds[-1] - seconds[1]) / 60))
    fallen = np.cos((seconds[[-38, 37]] - seconds[1]) / 60)  # the middles of the last quarter and of the first
    assert identity_drift(faces) == pytest.approx((fallen[0] - fallen[1]) / (225 / 25 / 60), rel=0.02)
    assert np.isnan(measure_own_identity(faces[:2]).mean) and np.isnan(identity_drift(faces[:1]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--inception", "none.pth"), "--inception none.pth is not a file: give pt_inception-2015-12-05-6726825d.pth"),
        (("--lpips", "none.pth"), "--lpips needs --reconstruction"),
        (("--i3d", "{broken}"), "can't be loaded as I3D"),
        (("--reconstruction",), "no video has the name of one in real"),
    ],
)
def test_errors_are_reported_before_anything_is_decoded(sets, portrait, tmp_path, run_main, given, message):
    (tmp_path / "broken").write_text("no weights")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.mp4").write_text("no video")
    given = [argument.format(broken=tmp_path / "broken") for argument in given]
    code, _, err = run_main(
        main, "emo-eval", tmp_path / "others", "--reference", sets / "real", "-o", tmp_path / "out", *given
    )
    assert code == 2 and message in err and err.count("\n") == 1


def test_options_name_the_files_that_the_networks_want():
    published = {"inception": inception, "i3d": i3d, "videomae": videomae, "arcface": arcface, "deep3d": expression}
    wanted = {option: module.PUBLISHED.file for option, module in published.items()}
    wanted["lpips"] = reconstruction.ALEXNET.file
    assert {option: network.file for option, network in NETWORKS.items()} == wanted
    assert all(f"--{option}" in make_parser().format_help() for option in wanted)


def test_each_option_loads_its_network(made_up, pictures, tmp_path, monkeypatch):
    nets = {"inception": inception.Inception(), "i3d": i3d.I3D(), "arcface": arcface.IResNet(arcface.STAGE_DEPTHS[2])}
    for option, net in nets.items():
        torch.save(made_up(net), tmp_path / option)
    torch.save({"net_recon": made_up(expression.FaceRegressor())}, tmp_path / "deep3d")
    torch.save(made_up(reconstruction.LPIPS().backbone), tmp_path / "lpips")
    points = np.random.RandomState(5).rand(68, 2) * 60
    savemat(tmp_path / "similarity_Lm3D_all.mat", {"lm": np.random.RandomState(6).rand(68, 3)})
    frames, landmarks = pictures(16, 64), np.stack([points] * 16)
    landmarks[1:] = nan
    found = {o: load_network(o, tmp_path / o)(frames, landmarks) for o in ("i3d", "arcface", "deep3d")}
    found["inception"] = load_network("inception", tmp_path / "inception")(frames[:1], landmarks[:1])
    shapes = {"inception": (1, 2048), "i3d": (1, 400), "arcface": (16, 512), "deep3d": (1, 64)}
    assert {option: features.shape for option, features in found.items()} == shapes
    assert np.isfinite(found["arcface"][0]).all() and np.isnan(found["arcface"][1:]).all()
    assert load_network("lpips", tmp_path / "lpips")(frames[:2], frames[:2]).tolist() == [0, 0]
    net = videomae.make_videomae(
        5, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28
    )
    monkeypatch.setattr(videomae, "load_videomae", lambda path: net.eval())
    assert catalog.load_videomae_extractor(tmp_path)(frames, landmarks).shape == (1, 8)
