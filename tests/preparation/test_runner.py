"""Every video is decoded once; what becomes of each face in it is logged, and nothing stops the run."""

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from emo.cli.prepare import main
from emo.core.errors import InputError, OutputError
from emo.core.timing import SAMPLE_RATE
from emo.data.clip import load_clip, read_clip_frames
from emo.media.audio import read_audio
from emo.media.image import read_image
from emo.media.video import read_video
from emo.media.video_writer import VideoWriter
from emo.preparation.clips import PreparationJob, load_mesh
from emo.preparation.filters import ClipLimits
from emo.preparation.processing_log import LogItem, ProcessingLog, read_processing_log
from emo.preparation.runner import prepare_videos
from emo.preparation.sources import Recipe, list_sources
from emo.speech.voice_activity import load_voice_detector

COUNT = 50


OPEN = {
    "min_seconds": 1,
    "min_lip_sync_confidence": -1,
    "max_lip_sync_offset_frames": 15,
    "min_motion": 0,
    "min_speech_ratio": 0,
}  # limits that let 2 s of a portrait with a buzz pass


def prepare(raw, out, labels=None, **limits) -> int:
    """How many clips `out` holds afterwards."""
    job = PreparationJob(out, labels, 64, ClipLimits(**limits))
    return prepare_videos(list_sources(raw, Recipe()), job, set(), None, 1, None)


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
    buzz = {"min_seconds": 1, "min_speech_ratio": 0, "min_lip_sync_confidence": -1, "max_lip_sync_offset_frames": 15}
    assert prepare(film.parent, tmp_path / "clips", film.parent, **buzz) == 2
    first, last = (load_clip(tmp_path / "clips" / f"two__{k}.json") for k in (0, 2))
    assert first.info.num_frames == last.info.num_frames == COUNT
    assert first.gaze.shape == (COUNT, 2) and first.info.occluded_ratio is not None
    assert np.abs(first.landmarks - last.landmarks).max() < 0.01 and np.abs(first.wave - last.wave).max() < 0.05
    assert read_processing_log(tmp_path / "clips")["two.mp4"] == [
        LogItem("two__0", 2.0),
        LogItem("two__1", 0.4, "no face for more than 5 frames: trim the video to where it is visible"),
        LogItem("two__2", 2.0),
    ]
    assert "left out: two__1: no face for more than 5 frames" in capsys.readouterr().out


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


def test_the_sound_of_unfit_pictures_is_not_separated(pair, tmp_path):
    def separate(wave, sample_rate):
        raise AssertionError("music was separated from a sound that is not needed")

    job = PreparationJob(tmp_path / "clips", None, 64, ClipLimits(min_seconds=1, min_face_pixels=999), separate)
    assert prepare_videos(list_sources(pair, Recipe()), job, set(), None, 1, None) == 0
    (found,) = read_processing_log(job.out).values()
    assert {piece.reason for piece in found} == {"the face is smaller than min_face_pixels=999"}


def test_without_labels_each_face_is_followed_and_becomes_a_clip(pair, tmp_path, run_main):
    clips = tmp_path / "clips"
    given = [f"{name}={value}" for name, value in OPEN.items()]
    code, out, _ = run_main(main, "emo-prepare", "videos", pair, clips, "--size", 64, "--limits", *given)
    assert code == 0 and out.endswith("clips: 2 clips\n")
    left, right = (load_clip(clips / f"pair__{k}.json") for k in (0, 1))
    assert left.landmarks.shape == (COUNT, 68, 2) and left.mesh.shape == (COUNT, 0, 2)
    assert np.abs(left.landmarks - right.landmarks).max() < 0.02 and np.array_equal(left.wave, right.wave)
    assert left.gaze.shape == (COUNT, 2) and np.abs(left.gaze).max() < 0.3 and left.info.occluded_ratio == 0
    assert abs(left.info.sync_offset_frames) <= 15 and 0 <= left.info.sync_confidence < 1
    frames = [np.stack(list(read_clip_frames(clips / f"pair__{k}.json"))).astype(int) for k in (0, 1)]
    assert frames[0].shape == (COUNT, 64, 64, 3) and np.abs(frames[0] - frames[1]).mean() < 5


def test_a_photo_under_a_sound_and_a_video_of_nobody_are_left_out(pair, tmp_path, run_main):
    with VideoWriter(pair / "nobody.mp4", 25) as writer:
        for _ in range(30):
            writer.write(np.full((128, 128, 3), 90, np.uint8))
    (pair / "cut.mp4").write_bytes((pair / "nobody.mp4").read_bytes()[:900])
    (pair / "text.mp4").write_text("no video")
    short = "--limits", "min_seconds=1", "--workers", 1
    code, out, _ = run_main(main, "emo-prepare", "videos", pair, tmp_path / "clips", *short)
    assert code == 0 and out.endswith("clips: 0 clips\n")
    assert (
        "left out: nobody: no face was found" in out
        and "left out: pair__1: the face moves less than min_motion=" in out
    )
    assert "left out: cut: the file " in out and "left out: text: the file " in out
    face = read_image(tmp_path / "clips" / "dropped" / "pair__1.jpg")
    assert face.shape == (96, 96, 3) and face.std() > 30


class CountedPacket:
    def __init__(self, packet, frames: list):
        self.packet, self.frames = packet, frames

    def __getattr__(self, name):
        return getattr(self.packet, name)

    def decode(self):
        found = self.packet.decode()
        self.frames += found if self.packet.stream.type == "video" else []
        return found


class CountedContainer:
    """A container of PyAV whose decoded frames are added to a list."""

    def __init__(self, container, frames: list):
        self.container, self.frames = container, frames

    def __getattr__(self, name):
        return getattr(self.container, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.container.close()

    def demux(self, *streams):
        return (CountedPacket(packet, self.frames) for packet in self.container.demux(*streams))


def test_each_video_is_decoded_once(pair, tmp_path, monkeypatch):
    """Shots, two faces, quality, damage, cutting: the 100 frames of the video are decoded 100 times in all."""
    decoded, real = [], av.open

    def open_counted(file, *mode, **options):
        container = real(file, *mode, **options)
        return container if mode else CountedContainer(container, decoded)

    monkeypatch.setattr(av, "open", open_counted)
    assert prepare(pair, tmp_path / "clips", **OPEN) == 2
    assert len(decoded) == 100


def test_the_largest_video_comes_first(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, size in (("a", 10), ("b", 1000), ("c", 100)):
        (raw / f"{name}.mp4").write_text("x" * size)
    assert prepare(raw, tmp_path / "clips") == 0
    assert [*read_processing_log(tmp_path / "clips")] == ["b.mp4", "c.mp4", "a.mp4"]


def test_what_is_done_is_not_done_again_and_what_was_cut_off_is(pair, tmp_path):
    clips = tmp_path / "clips"
    prepare(pair, clips, **OPEN)
    whole = {path.name: path.read_bytes() for path in clips.iterdir()}
    (clips / "pair__0.json").write_text("{}")
    prepare(pair, clips, **OPEN)
    assert (clips / "pair__0.json").read_text() == "{}"
    (clips / "processing_log.jsonl").write_text('{"source": "pair.mp')
    assert prepare(pair, clips, **OPEN) == 2
    assert {path.name: path.read_bytes() for path in clips.iterdir()} == whole


def test_an_unforeseen_error_is_a_reason_and_a_full_disk_is_the_end(pair, tmp_path, monkeypatch):
    def fail(error: Exception):
        def raise_it(*_):
            raise error

        monkeypatch.setattr("emo.preparation.clip_maker.write_frames", raise_it)

    fail(ZeroDivisionError("hm"))
    assert prepare(pair, tmp_path / "a", **OPEN) == 0
    assert read_processing_log(tmp_path / "a")["pair.mp4"] == [LogItem("pair", 0.0, "ZeroDivisionError: hm")]
    fail(OutputError("the disk is full"))
    with pytest.raises(OutputError, match="the disk is full"):
        prepare(pair, tmp_path / "b", **OPEN)
    assert read_processing_log(tmp_path / "b") == {}


def test_a_log_under_its_old_name_is_to_be_renamed(tmp_path):
    (tmp_path / "ledger.jsonl").write_text('{"source": "a.mp4", "pieces": []}\n')
    with pytest.raises(InputError, match="ledger.jsonl: rename it to processing_log.jsonl"):
        ProcessingLog(tmp_path)
    (tmp_path / "ledger.jsonl").rename(tmp_path / "processing_log.jsonl")
    assert ProcessingLog(tmp_path).done == {"a.mp4"}


def test_a_log_that_can_not_be_written_says_so(tmp_path):
    log = ProcessingLog(tmp_path)
    (tmp_path / "processing_log.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"processing_log.jsonl can't be written \(.*\); free some space"):
        log.add("a.mp4", [LogItem("a", 1.0)])


def test_a_missing_package_is_said_before_any_video_is_blamed(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("emo.speech.voice_activity.find_spec", lambda name: None)
    load_voice_detector.cache_clear()
    with pytest.raises(InputError, match="silero-vad is missing: pip install"):
        prepare(pair, tmp_path / "clips")
    load_voice_detector.cache_clear()
    assert not (tmp_path / "clips").exists()


def test_trouble_that_may_pass_is_left_to_the_next_run(pair, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ConnectionResetError("the line is dead")

    with monkeypatch.context() as patch:
        patch.setattr("emo.preparation.runner.prepare_video", fail)
        assert prepare(pair, tmp_path / "clips", **OPEN) == 0
    assert "pair.mp4: ConnectionResetError: the line is dead" in capsys.readouterr().out
    assert prepare(pair, tmp_path / "clips", **OPEN) == 2
