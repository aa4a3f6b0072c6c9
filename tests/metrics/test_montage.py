"""Montages show the real clip left and the generated one right, best and worst first."""

import shutil

import numpy as np
import pytest

from emo.cli.eval import main
from emo.core.errors import InputError
from emo.media.audio import read_audio, write_wav
from emo.media.video import probe_video, read_video
from emo.media.video_writer import VideoWriter
from emo.metrics.montage import check_references, fit_label, write_montage, write_montages
from emo.metrics.report import Report
from emo.metrics.score import Figure, SetScore

RED, GREEN = (200, 40, 30), (30, 180, 60)
LABEL_PIXELS = 32


@pytest.fixture
def clips(tmp_path):
    """Folders `real` (red, 96 x 64) of clip0 to clip2, and `made` (green, 128 x 128, with a tone) of clip0 to clip3."""
    tone = 0.3 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
    write_wav(tmp_path / "tone.wav", tone.astype(np.float32), 16000)
    for name, size, color, count in (("real", (64, 96), RED, 3), ("made", (128, 128), GREEN, 4)):
        (tmp_path / name).mkdir()
        for k in range(count):
            sound = tmp_path / "tone.wav" if name == "made" else None
            with VideoWriter(tmp_path / name / f"clip{k}.mp4", 25, sound) as video:
                for _ in range(25):
                    video.write(np.full((*size, 3), color, np.uint8))
    return {name: sorted((tmp_path / name).iterdir()) for name in ("real", "made")}


def test_a_montage_shows_both_clips_below_their_labels(clips, tmp_path):
    pytest.importorskip("moviepy")
    output = tmp_path / "out" / "montage.mp4"
    write_montage(clips["real"][0], clips["made"][0], output, ("reference: clip0", "generated: made, score 0.50"))
    assert [path.name for path in output.parent.iterdir()] == ["montage.mp4"]
    info = probe_video(output)
    assert (info.width, info.height, info.fps) == (540 + 360, 360 + LABEL_PIXELS, 25)
    assert info.seconds == pytest.approx(1, abs=0.05)
    frame = next(read_video(output)).astype(int)
    np.testing.assert_allclose(frame[LABEL_PIXELS + 150, 250], RED, atol=8)
    np.testing.assert_allclose(frame[LABEL_PIXELS + 150, 700], GREEN, atol=8)
    for left, right in ((0, 540), (540, 900)):
        label = frame[:LABEL_PIXELS, left:right]
        assert label.max() > 180 and np.median(label) < 40  # white on black
        assert label[[0, -1]].max() < 60  # no letter is cut
    wave = read_audio(output, 16000)
    assert np.abs(np.fft.rfft(wave[:16000])).argmax() == 440


def make_report(scores: list[float]) -> Report:
    figure = Figure(0.5, 0.4, 0.6, len(scores))
    names = [f"clip{k}" for k in range(len(scores))]
    made = SetScore("made", names, np.zeros((len(scores), 0)), {}, {}, figure, np.array(scores))
    return Report([], made, [made], options=None)


def test_best_and_worst_are_those_that_have_a_reference(clips, tmp_path, monkeypatch):
    joined = {}
    monkeypatch.setattr(
        "emo.metrics.montage.write_montage",
        lambda left, right, output, labels: joined.setdefault(output, (left.stem, right.stem, *labels)) and output,
    )
    report = make_report([0.2, 0.9, 0.5, 0.1])  # clip3, the worst, has no real one
    written = write_montages(report, [clips["made"]], clips["real"], tmp_path)
    folder = tmp_path / "montages" / "made"
    assert written == [folder / "best_1.mp4", folder / "worst_1.mp4"]
    assert joined[written[0]] == ("clip1", "clip1", "reference: clip1", "generated: made, score 0.90")
    assert joined[written[1]] == ("clip0", "clip0", "reference: clip0", "generated: made, score 0.20")


def test_a_video_that_moviepy_cannot_read_is_one_line(clips, tmp_path):
    pytest.importorskip("moviepy")
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(InputError, match="moviepy can't join") as error:
        write_montage(tmp_path / "no.mp4", clips["made"][0], tmp_path / "out" / "a.mp4", ("a", "b"))
    assert "\n" not in str(error.value) and not list((tmp_path / "out").iterdir())


def test_names_that_do_not_match_are_one_line(clips, tmp_path):
    (tmp_path / "other").mkdir()
    other = shutil.copy(clips["made"][0], tmp_path / "other" / "another.mp4")
    with pytest.raises(InputError, match="montage=True: no video has the name of one in .*real: name them"):
        check_references([[other]], clips["real"])


def test_without_moviepy_the_option_is_one_line(clips, tmp_path, run_main, monkeypatch):
    monkeypatch.setattr("emo.metrics.montage.find_spec", lambda name: None)
    made, real = (clips[name][0].parent for name in ("made", "real"))
    code, _, err = run_main(main, "emo-eval", made, "--reference", real, "--montage", "-o", tmp_path / "out")
    assert code == 2 and err == "emo-eval: --montage: moviepy is missing: pip install 'emo-portrait[eval]'\n"


@pytest.mark.parametrize("width", [64, 128, 512])
def test_a_label_fits_into_its_line(width):
    assert fit_label("short", 512) == "short"
    assert len(fit_label("reference: " + "x" * 300, width)) <= 2 * width // 16
