"""Every video is looked at once; what becomes of each face in it is written down, and nothing stops the run."""

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
from emo.preparation.clips import Job, load_mesh
from emo.preparation.filters import Limits
from emo.preparation.processing_log import Ledger, Piece, read_ledger
from emo.preparation.recipe import Recipe
from emo.preparation.runner import prepare_videos, within
from emo.preparation.sources import list_sources
from emo.speech.voice_activity import packaged_voice

COUNT = 50


OPEN = {
    "shortest_seconds": 1,
    "least_ear_confidence": -1,
    "most_ear_offset_frames": 15,
    "least_change": 0,
    "least_voice": 0,
}  # limits that let 2 s of a portrait with a buzz pass


def prepare(raw, out, labels=None, **limits) -> int:
    """How many clips `out` holds afterwards."""
    job = Job(out, labels, 64, Limits(**limits))
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
    buzz = {"shortest_seconds": 1, "least_voice": 0, "least_ear_confidence": -1, "most_ear_offset_frames": 15}
    assert prepare(film.parent, tmp_path / "clips", film.parent, **buzz) == 2
    first, last = (load_clip(tmp_path / "clips" / f"two__{k}.json") for k in (0, 2))
    assert first.info.num_frames == last.info.num_frames == COUNT
    assert first.gaze.shape == (COUNT, 2) and first.info.covered is not None
    assert np.abs(first.landmarks - last.landmarks).max() < 0.01 and np.abs(first.wave - last.wave).max() < 0.05
    assert read_ledger(tmp_path / "clips")["two.mp4"] == [
        Piece("two__0", 2.0),
        Piece("two__1", 0.4, "the face is out of sight; cut the video where it is seen"),
        Piece("two__2", 2.0),
    ]
    assert "left out: two__1: the face is out of sight" in capsys.readouterr().out


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


def test_what_is_seen_to_be_unfit_is_not_listened_to(pair, tmp_path):
    def separate(wave, sample_rate):
        raise AssertionError("music was taken from a sound that nobody needs")

    job = Job(tmp_path / "clips", None, 64, Limits(shortest_seconds=1, smallest_face_pixels=999), separate)
    assert prepare_videos(list_sources(pair, Recipe()), job, set(), None, 1, None) == 0
    (found,) = read_ledger(job.out).values()
    assert {piece.reason for piece in found} == {"the face is smaller than 999 pixels"}


def test_without_labels_each_face_is_followed_and_becomes_a_clip(pair, tmp_path, run_main):
    clips = tmp_path / "clips"
    given = [f"{name}={value}" for name, value in OPEN.items()]
    code, out, _ = run_main(main, "emo-prepare", "videos", pair, clips, "--size", 64, "--limits", *given)
    assert code == 0 and out.endswith("clips: 2 clips\n")
    left, right = (load_clip(clips / f"pair__{k}.json") for k in (0, 1))
    assert left.landmarks.shape == (COUNT, 68, 2) and left.mesh.shape == (COUNT, 0, 2)
    assert np.abs(left.landmarks - right.landmarks).max() < 0.02 and np.array_equal(left.wave, right.wave)
    assert left.gaze.shape == (COUNT, 2) and np.abs(left.gaze).max() < 0.3 and left.info.covered == 0
    assert abs(left.info.sync_offset_frames) <= 15 and 0 <= left.info.sync_confidence < 1
    frames = [np.stack(list(read_clip_frames(clips / f"pair__{k}.json"))).astype(int) for k in (0, 1)]
    assert frames[0].shape == (COUNT, 64, 64, 3) and np.abs(frames[0] - frames[1]).mean() < 5


def test_a_photo_under_a_sound_and_a_video_of_nobody_are_left_out(pair, tmp_path, run_main):
    with VideoWriter(pair / "nobody.mp4", 25) as writer:
        for _ in range(30):
            writer.write(np.full((128, 128, 3), 90, np.uint8))
    (pair / "torn.mp4").write_bytes((pair / "nobody.mp4").read_bytes()[:900])
    (pair / "text.mp4").write_text("no video")
    short = "--limits", "shortest_seconds=1", "--workers", 1
    code, out, _ = run_main(main, "emo-prepare", "videos", pair, tmp_path / "clips", *short)
    assert code == 0 and out.endswith("clips: 0 clips\n")
    assert "left out: nobody: no face is seen" in out and "left out: pair__1: the picture stands still" in out
    assert "left out: torn: the file " in out and "left out: text: the file " in out
    face = read_image(tmp_path / "clips" / "dropped" / "pair__1.jpg")
    assert face.shape == (96, 96, 3) and face.std() > 30


def test_the_largest_video_comes_first(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, size in (("a", 10), ("b", 1000), ("c", 100)):
        (raw / f"{name}.mp4").write_text("x" * size)
    assert prepare(raw, tmp_path / "clips") == 0
    assert [*read_ledger(tmp_path / "clips")] == ["b.mp4", "c.mp4", "a.mp4"]


def test_what_is_done_is_not_done_again_and_what_was_cut_off_is(pair, tmp_path):
    clips = tmp_path / "clips"
    prepare(pair, clips, **OPEN)
    whole = {path.name: path.read_bytes() for path in clips.iterdir()}
    (clips / "pair__0.json").write_text("{}")
    prepare(pair, clips, **OPEN)
    assert (clips / "pair__0.json").read_text() == "{}"
    (clips / "ledger.jsonl").write_text('{"source": "pair.mp')
    assert prepare(pair, clips, **OPEN) == 2
    assert {path.name: path.read_bytes() for path in clips.iterdir()} == whole


def test_an_unforeseen_error_is_a_reason_and_a_full_disk_is_the_end(pair, tmp_path, monkeypatch):
    def fail(error: Exception):
        def raise_it(*_):
            raise error

        monkeypatch.setattr("emo.preparation.runner.save_clip", raise_it)

    fail(ZeroDivisionError("hm"))
    assert prepare(pair, tmp_path / "a", **OPEN) == 0
    assert read_ledger(tmp_path / "a")["pair.mp4"] == [Piece("pair", 0.0, "ZeroDivisionError: hm")]
    fail(OutputError("the disk is full"))
    with pytest.raises(OutputError, match="the disk is full"):
        prepare(pair, tmp_path / "b", **OPEN)
    assert read_ledger(tmp_path / "b") == {}


def test_a_ledger_that_can_not_be_written_says_so(tmp_path):
    ledger = Ledger(tmp_path)
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"ledger.jsonl can't be written \(.*\); free some space"):
        ledger.add("a.mp4", [Piece("a", 1.0)])


def test_a_missing_package_is_said_before_any_video_is_blamed(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("emo.speech.voice_activity.find_spec", lambda name: None)
    packaged_voice.cache_clear()
    with pytest.raises(InputError, match="silero-vad is missing: pip install"):
        prepare(pair, tmp_path / "clips")
    packaged_voice.cache_clear()
    assert not (tmp_path / "clips").exists()


def test_trouble_that_may_pass_is_left_to_the_next_run(pair, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ConnectionResetError("the line is dead")

    with monkeypatch.context() as patch:
        patch.setattr("emo.preparation.runner.prepare_video", fail)
        assert prepare(pair, tmp_path / "clips", **OPEN) == 0
    assert "pair.mp4: ConnectionResetError: the line is dead" in capsys.readouterr().out
    assert prepare(pair, tmp_path / "clips", **OPEN) == 2


def test_only_the_wanted_spans_of_the_shots_are_taken_and_no_frame_twice():
    shots = [(0, 50), (50, 100)]
    assert within(shots, [(0.0, float("inf"))]) == shots
    assert within(shots, [(1.0, 3.0), (2.5, 10.0)]) == [(25, 50), (50, 75), (75, 100)]
    assert within(shots, [(2.4, 2.6), (90.0, 95.0)]) == [(60, 65)]
