"""An evaluation decodes each video once, whatever is measured, and gives what measuring each thing alone gives."""

from dataclasses import replace

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.face.crop import SYNCNET_MEDIAN_FRAMES, crop_for_syncnet, syncnet_squares
from emo.face.refinement import FaceDetails
from emo.media import video, video_pass
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.metrics import single_pass
from emo.metrics.distances import load_features
from emo.metrics.networks.catalog import NETWORKS
from emo.metrics.portrait import measure_portrait
from emo.metrics.registry import EvaluationOptions
from emo.metrics.runner import evaluate, group_videos
from emo.metrics.single_pass import (
    EvaluationPass,
    PairObserver,
    SyncNetObserver,
    VideoGroup,
    decode_in_step,
    load_thumbnails,
)
from emo.metrics.stability import interpolate_gaps
from emo.metrics.tracks import load_tracks
from emo.speech.syncnet import SyncNetScore

COUNT = 40


@pytest.fixture(scope="module")
def sets(footage, sound_path, tmp_path_factory):
    """Folders `made` and `other` of two generated videos each, and `real` of three, 4 frames longer."""
    folder = tmp_path_factory.mktemp("sets")
    for number, (name, clips) in enumerate((("made", "ab"), ("other", "ab"), ("real", "abc"))):
        (folder / name).mkdir()
        for shade, clip in enumerate(clips):
            with VideoWriter(folder / name / f"{clip}.mp4", 25, sound_path) as writer:
                for frame in footage.frames[: COUNT + 4 * (name == "real")]:
                    writer.write(frame // (2 + number) + 3 * shade)
    return folder


def count_calls(convert, pictures: list):
    def counted(*given, **options):
        pictures.append(1)
        return convert(*given, **options)

    return counted


@pytest.fixture
def decoded(monkeypatch) -> list:
    """Grows by one with each frame of a video that is decoded to a picture."""
    pictures = []
    for module in (video, video_pass):
        monkeypatch.setattr(module, "to_upright_rgb", count_calls(module.to_upright_rgb, pictures))
    return pictures


class FakeScorer:
    """Stands for SyncNet: keeps the crops that it is given."""

    instances: list["FakeScorer"] = []

    def __init__(self, net):
        self.crops, self.wave = [], None
        FakeScorer.instances.append(self)

    def add(self, crop):
        self.crops.append(crop)

    def finish(self, wave):
        self.wave = wave
        return SyncNetScore(2, 5.5, 8.25)


@pytest.fixture
def syncnet(monkeypatch):
    """The scorers that were made."""
    monkeypatch.setattr(FakeScorer, "instances", [])
    monkeypatch.setattr(single_pass, "SyncNetScorer", FakeScorer)
    monkeypatch.setattr(single_pass, "load_syncnet", lambda path: None)
    return FakeScorer.instances


@pytest.fixture
def options(monkeypatch, tmp_path, syncnet) -> EvaluationOptions:
    """Options that turn on every measure, by networks without weights."""
    weights = {}
    for name, network in NETWORKS.items():
        extract = (lambda a, b: np.zeros(len(a), np.float32)) if name == "lpips" else features_with_landmarks
        monkeypatch.setitem(NETWORKS, name, replace(network, load=lambda path, extract=extract: extract))
        weights[name] = tmp_path / name
        weights[name].write_text(name)
    return EvaluationOptions(12, weights["i3d"], controls=True, networks=weights, reconstruction=True)


def features_with_landmarks(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(T 4): mean color of each frame, and where its first landmark is."""
    return np.c_[frames.mean((2, 3)), np.nan_to_num(landmarks[:, 0, 0])].astype(np.float32)


def map_groups(work, groups):
    return ((group, work(group)) for group in groups)


def test_every_video_is_decoded_once_for_all_measures(sets, options, decoded, tmp_path):
    evaluate([sets / "made", sets / "other"], sets / "real", tmp_path / "out", options, map_groups)
    assert len(decoded) == 4 * COUNT + 3 * (COUNT + 4)
    evaluate([sets / "made", sets / "other"], sets / "real", tmp_path / "out", options, map_groups)
    assert len(decoded) == 4 * COUNT + 3 * (COUNT + 4)  # nothing is decoded again


def test_a_network_more_decodes_each_video_once_more_and_tracks_no_face(sets, options, decoded, tmp_path, monkeypatch):
    evaluate([sets / "made"], sets / "real", tmp_path / "out", EvaluationOptions(), map_groups)
    before = len(decoded)
    monkeypatch.setattr(single_pass, "make_face_tracker", lambda: pytest.fail("a face is tracked again"))
    one = replace(EvaluationOptions(), networks={"inception": options.networks["inception"]})
    evaluate([sets / "made"], sets / "real", tmp_path / "out", one, map_groups)
    assert len(decoded) == 2 * before


def test_files_are_named_by_their_content(sets, tmp_path, decoded):
    first = sets / "made" / "a.mp4"
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(first.read_bytes())
    work = EvaluationPass(tmp_path)
    files, count = work(VideoGroup((first,)))[first], len(decoded)
    assert work(VideoGroup((copy,)))[copy] == files and len(decoded) == count == COUNT
    copy.write_bytes((sets / "made" / "b.mp4").read_bytes())
    assert work(VideoGroup((copy,)))[copy] != files


def test_tracks_of_another_version_are_made_again(sets, tmp_path):
    path, work = sets / "made" / "a.mp4", EvaluationPass(tmp_path)
    files = work.list_files(path, None)
    single_pass.save_arrays(files.tracks, {"other": np.zeros(3)})
    work(VideoGroup((path,)))
    assert len(load_tracks(files.tracks).face_visible) == COUNT


class Landmarks:
    """Landmarks of a video, NaN where the face is not visible."""

    def __init__(self, points: np.ndarray, visible: np.ndarray):
        self.points = np.where(visible[:, None, None], points.astype(np.float64), np.nan)

    def visible_landmarks(self, number: int) -> np.ndarray:
        return self.points[number]


GAPS = {
    "always visible": [],
    "a gap": [range(10, 25)],
    "late, gaps, lost at the end": [range(0, 3), range(7, 8), range(12, 30), range(35, COUNT)],
    "visible once": [range(0, 20), range(21, COUNT)],
}


@pytest.mark.parametrize("gaps", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize("limit", [10**9, 5 * 160 * 160 * 3], ids=["waiting frames fit", "they do not"])
def test_syncnet_gets_the_crops_of_the_interpolated_face(footage, sets, syncnet, gaps, limit, monkeypatch, tmp_path):
    monkeypatch.setattr(single_pass, "MAX_WAITING_BYTES", limit)
    visible, path = np.ones(COUNT, bool), sets / "made" / "a.mp4"
    for gap in gaps:
        visible[gap] = False
    source = Landmarks(footage.landmarks[:COUNT], visible)
    observer = SyncNetObserver(source, None, footage.wave, path, tmp_path / "score.safetensors")
    decode_in_step({path: [observer]}, [])
    observer.save()
    squares = syncnet_squares(interpolate_gaps(source.points, visible))
    expected = [crop_for_syncnet(frame, square) for frame, square in zip(read_video(path, FPS), squares, strict=True)]
    assert np.array_equal(syncnet[-1].crops, expected) and syncnet[-1].wave is footage.wave
    assert single_pass.load_arrays(observer.path)["syncnet"].tolist() == [5.5, 8.25, 2]


@pytest.mark.parametrize(
    ("sound", "visible", "count"),
    [(False, True, COUNT), (True, False, COUNT), (True, True, SYNCNET_MEDIAN_FRAMES - 1)],
    ids=["no sound", "no face", "too short"],
)
def test_without_sound_or_face_syncnet_has_no_score(footage, syncnet, sound, visible, count, tmp_path):
    wave = footage.wave if sound else None
    source = Landmarks(footage.landmarks[:COUNT], np.full(COUNT, visible))
    observer = SyncNetObserver(source, None, wave, tmp_path / "none.mp4", tmp_path / "score.safetensors")
    for number, frame in enumerate(footage.frames[:count]):
        observer.add_frame(number, frame)
    observer.save()
    assert np.isnan(single_pass.load_arrays(observer.path)["syncnet"]).all()


def test_frames_reach_the_networks_in_order_with_their_landmarks(footage, sets, options, monkeypatch, tmp_path):
    points = iter(footage.landmarks)
    monkeypatch.setattr(
        single_pass, "make_face_tracker", lambda: lambda frame: FaceDetails(next(points), np.zeros(2), 0.0)
    )
    path = sets / "made" / "a.mp4"
    work = EvaluationPass(tmp_path, networks={"i3d": options.networks["i3d"]}, weight_names={"i3d": "w"})
    files = work(VideoGroup((path,)))[path]
    frames = np.stack(list(read_video(path, FPS))).transpose(0, 3, 1, 2)
    expected = features_with_landmarks(frames, footage.landmarks[:COUNT])
    assert np.array_equal(load_features(files.features["i3d"]), expected)


def test_portraits_and_controls_are_compared_in_the_same_pass(footage, sets, decoded, monkeypatch, tmp_path):
    points, portrait = iter(footage.landmarks), measure_portrait(footage.frames[0] // 2, footage.landmarks[0])
    monkeypatch.setattr(
        single_pass, "make_face_tracker", lambda: lambda frame: FaceDetails(next(points), np.zeros(2), 0.0)
    )
    monkeypatch.setattr(single_pass, "read_portrait", lambda path: portrait)
    video, picture, asked = sets / "made" / "a.mp4", tmp_path / "a.png", tmp_path / "a.csv"
    picture.write_bytes(b"picture")
    asked.write_text("speed\n0.4\n")
    tracks = EvaluationPass(tmp_path, portraits={video: picture}, asked={video: asked})(VideoGroup((video,)))[
        video
    ].load()
    assert len(decoded) == COUNT and tracks.portrait.shape == (COUNT, 3) and tracks.asked.shape == (COUNT, 7)
    assert 0.7 < np.median(tracks.portrait[:, 0]) < 1.3 and tracks.asked[:, 0] == pytest.approx(0.4)
    picture.write_bytes(b"another")  # is compared anew, without tracking the face again
    EvaluationPass(tmp_path, portraits={video: picture})(VideoGroup((video,)))
    assert len(decoded) == 2 * COUNT and next(points, None) is not None


def test_thumbnails_are_spread_over_a_video_of_any_length(footage, sets, tmp_path):
    source = Landmarks(np.repeat(footage.landmarks[:1], 1000, axis=0), np.ones(1000, bool))
    for count in (1, 7, 500):
        observer = single_pass.ThumbnailObserver(source, tmp_path / "thumbnails" / f"{count}.safetensors")
        for number in range(count):
            observer.add_frame(number, footage.frames[0])
        observer.save()
        numbers = np.array([number for number, _ in load_thumbnails(observer.path)])
        wanted = np.linspace(0, count - 1, 6)
        assert np.abs(numbers - wanted).max() <= max(0.5, count / 64) and len(numbers) == 6


def test_pictures_of_two_sizes_are_refused(footage, tmp_path):
    pair = PairObserver(tmp_path / "made.mp4", tmp_path / "true.mp4", tmp_path / "x", None)
    with pytest.raises(InputError, match="made.mp4 has 160 x 160 pixels and .*true.mp4 80 x 80 pixels"):
        pair.add_frames(footage.frames[0], footage.frames[0][::2, ::2])


def test_videos_are_grouped_with_the_real_one_of_their_name(sets):
    videos = {name: sorted((sets / name).iterdir()) for name in ("made", "other", "real")}
    grouped = group_videos(videos, "real", True)
    assert [(len(group.videos), group.real.stem) for group in grouped] == [(2, "a"), (2, "b"), (0, "c")]
    alone = group_videos(videos, "real", False)
    assert len(alone) == 7 and {group.real for group in alone} == {None}
    with pytest.raises(InputError, match="no video has the name"):
        group_videos({"made": [sets / "made" / "z.mp4"], "real": videos["real"]}, "real", True)
