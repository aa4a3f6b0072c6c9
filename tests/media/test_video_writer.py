"""Written videos play everywhere, and a finished one is never thrown away."""

import os
import shutil
import stat
import subprocess

import av
import numpy as np
import pytest

from emo.core.errors import InputError, OutputError
from emo.media import video_writer
from emo.media.audio import probe_audio
from emo.media.video import probe_video, read_video
from emo.media.video_writer import PRESETS, VideoWriter, frame_rate, limit_video_size

GRAY = np.full((64, 64, 3), 90, np.uint8)


def write(path, frames, fps=25, audio=None, **options):
    with VideoWriter(path, fps, audio, **options) as writer:
        for frame in frames:
            writer.write(frame)


def stream_of(path):
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        extradata = bytes(context.extradata)  # avcC: version, profile, compatibility, level
        return context, extradata[1], extradata[3] / 10


@pytest.mark.parametrize(
    ("size", "fps", "expected"),
    [
        ((3024, 4032), 25, (2304, 3072)),  # a phone's photo: level 6.0 before
        ((6000, 8000), 25, (2304, 3072)),
        ((4032, 3024), 25, (3072, 2304)),
        ((8000, 64), 25, (4096, 32)),
        ((1920, 1080), 25, (1920, 1080)),
        ((1433, 1432), 25, (1433, 1432)),
        ((4096, 2304), 25, (4096, 2304)),
    ],
)
def test_a_picture_is_shrunk_to_what_players_show(size, fps, expected):
    assert limit_video_size(*size, fps) == expected


@pytest.mark.parametrize("fps", [25, 60, 120])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(3024, 4032), (8000, 8000), (4096, 2304), (1921, 1081), (400, 7000)])
def test_no_size_is_beyond_the_level_and_proportions_stay(size, preset, fps):
    width, height = limit_video_size(*size, fps, preset)
    blocks = -(-width // 16) * -(-height // 16)
    limits = PRESETS[preset]
    assert blocks <= limits.blocks and blocks * fps <= limits.blocks_per_second
    assert max(width, height) <= limits.long_side and min(width, height) <= limits.short_side
    assert width / height == pytest.approx(size[0] / size[1], rel=0.04)


def test_the_longest_side_can_be_chosen():
    assert limit_video_size(3024, 4032, 25, max_size=1280) == (960, 1280)
    assert limit_video_size(640, 480, 25, max_size=1280) == (640, 480)
    for wrong in ({"max_size": 10}, {"crf": -1}, {"crf": 52}, {"preset": "best"}):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))}="):
            VideoWriter("a.mp4", 25, **wrong)


def test_large_frames_are_shrunk_with_one_note(tmp_path):
    notes, frame = [], np.full((3024, 4032, 3), 90, np.uint8)
    write(tmp_path / "a.mp4", [frame, frame], on_note=notes.append)
    assert len(notes) == 1 and "4032x3024 are shrunk to 3072x2304" in notes[0]
    _, _, level = stream_of(tmp_path / "a.mp4")
    assert level <= 5.1
    assert next(read_video(tmp_path / "a.mp4")).shape == (2304, 3072, 3)


def test_what_is_made_to_share_is_baseline_small_and_mono_or_stereo(tmp_path, write_sound):
    sound = write_sound("a.wav", [np.full((24000, 6), 0.1)], 48000, "pcm_s16le", "5.1")
    frame = np.random.default_rng(0).integers(0, 256, (1200, 2400, 3), dtype=np.uint8)
    write(tmp_path / "a.mp4", [frame] * 12, audio=sound, preset="share")
    context, profile, level = stream_of(tmp_path / "a.mp4")
    assert (profile, context.pix_fmt) == (66, "yuv420p") and level <= 4.0
    assert (context.width, context.height) == (1920, 960)
    assert probe_audio(tmp_path / "a.mp4").channels == 1
    stereo = write_sound("b.wav", [np.full((24000, 2), 0.1)], 48000, "pcm_s16le", "stereo")
    write(tmp_path / "b.mp4", [GRAY] * 12, audio=stereo, preset="share")
    assert probe_audio(tmp_path / "b.mp4").channels == 2


def grainy_portrait(height: int, width: int) -> np.ndarray:
    """(H W 3) a picture with the detail of a photo and the grain of a camera."""
    rng = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) + 1 / width
    detail = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequencies, (height, width))
    picture = 128 + 45 * detail / detail.std() + 5 * rng.standard_normal((height, width))
    return np.clip(picture[..., None] * [1, 0.9, 0.8], 0, 255).astype(np.uint8)


def test_a_picture_that_hardly_moves_costs_little(tmp_path):
    portrait = grainy_portrait(1080, 1920)
    frames = [portrait.copy() for _ in range(50)]
    for index, frame in enumerate(frames):
        frame[400:700, 800:1100] = np.roll(portrait[400:700, 800:1100], index % 5, axis=0)
    write(tmp_path / "a.mp4", frames)
    assert (tmp_path / "a.mp4").stat().st_size * 8 / 2 < 8e6
    write(tmp_path / "b.mp4", frames, crf=30)
    assert (tmp_path / "b.mp4").stat().st_size < 0.5 * (tmp_path / "a.mp4").stat().st_size


@pytest.mark.parametrize("fps", [1, 2, 3, 5, 10])
def test_whole_rates_stay_whole(tmp_path, fps):
    assert frame_rate(fps) == fps
    write(tmp_path / "a.mp4", [GRAY] * 4, fps)
    info = probe_video(tmp_path / "a.mp4")
    assert (info.fps, info.seconds) == (fps, pytest.approx(4 / fps, abs=1e-3))


def test_sound_that_breaks_off_leaves_the_video_under_another_name(tmp_path, write_sound, monkeypatch):
    sound = write_sound("a.wav", [0.1 * np.ones((48000, 1))], 48000)
    add_soundtrack = video_writer.add_soundtrack

    def breaking(*arguments, **options):
        for index, packet in enumerate(add_soundtrack(*arguments, **options)):
            if index == 20:
                raise MemoryError("out of memory")
            yield packet

    monkeypatch.setattr(video_writer, "add_soundtrack", breaking)
    with pytest.raises(
        InputError, match=r"a.wav can't be encoded after 0.\d s \(out of memory\); the video .*out-1.mp4"
    ):
        write(tmp_path / "out.mp4", [GRAY] * 25, audio=sound)
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "out-1.mp4"]
    assert probe_video(tmp_path / "out-1.mp4").frames == 25


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(16, "Device or resource busy")])
def test_a_target_that_is_locked_at_the_end_leaves_the_video_under_another_name(tmp_path, monkeypatch, error):
    (tmp_path / "out.mp4").write_bytes(b"old")
    (tmp_path / "out-1.mp4").write_bytes(b"old too")

    def refuse(*_):
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="out.mp4 can't be replaced .*; the finished video is .*out-2.mp4"):
        write(tmp_path / "out.mp4", [GRAY] * 5, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["out-1.mp4", "out-2.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old" and probe_video(tmp_path / "out-2.mp4").frames == 5


def test_two_runs_of_one_name_both_keep_their_video(tmp_path):
    with pytest.raises(OutputError, match="out.mp4 was made by another program meanwhile; this video is .*out-1.mp4"):
        with VideoWriter(tmp_path / "out.mp4", 25) as first:
            first.write(GRAY)
            write(tmp_path / "out.mp4", [GRAY] * 3)
    assert probe_video(tmp_path / "out.mp4").frames == 3 and probe_video(tmp_path / "out-1.mp4").frames == 1
    assert len(os.listdir(tmp_path)) == 2


def test_an_immutable_target_is_noticed_before_the_first_frame(tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", target], capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        with pytest.raises(InputError, match="out.mp4 can't be replaced"):
            VideoWriter(target, 25, overwrite=True)
    finally:
        subprocess.run(["chattr", "-i", target], check=True)
    VideoWriter(target, 25, overwrite=True)


def test_a_target_that_only_its_owner_may_replace_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "out.mp4").write_bytes(b"old")
    os.chmod(tmp_path, stat.S_IRWXU | stat.S_ISVTX)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(InputError, match="can't be replaced"):
        VideoWriter(tmp_path / "out.mp4", 25, overwrite=True)


def test_a_read_only_file_may_be_replaced(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"old")
    os.chmod(tmp_path / "out.mp4", 0o444)
    write(tmp_path / "out.mp4", [GRAY] * 2, overwrite=True)
    assert probe_video(tmp_path / "out.mp4").frames == 2


@pytest.mark.parametrize("name", ["x" * 252 + ".mp4", "é" * 130 + ".mp4", "日" * 100 + ".mp4"])
def test_a_name_that_is_too_long_is_one_line(tmp_path, name):
    with pytest.raises(InputError, match="bytes, 255 are the most") as error:
        VideoWriter(tmp_path / name, 25)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "日" * 83 + ".mp4"])
def test_the_longest_name_can_be_written(tmp_path, name):
    write(tmp_path / name, [GRAY] * 2)
    assert probe_video(tmp_path / name).frames == 2


@pytest.mark.parametrize("side", [64, 160])
def test_equal_frames_give_equal_bytes_whatever_was_written_before(tmp_path, side):
    squares = np.random.default_rng(0).integers(0, side - 8, (6, 20, 68, 2))
    clips = np.full((6, 20, side, side, 3), 90, np.uint8)
    for clip, frame, square in np.ndindex(squares.shape[:3]):
        x, y = squares[clip, frame // 5 * 5, square] + frame % 5
        clips[clip, frame, y : y + 3, x : x + 3] = 220, 180, 160
    contents = []
    for number in [*range(6), *reversed(range(6))]:
        path = tmp_path / f"{number}.mp4"
        write(path, clips[number], preset="dataset", overwrite=True)
        contents.append(path.read_bytes())
    assert contents == contents[::-1]
