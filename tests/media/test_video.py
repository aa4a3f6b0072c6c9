"""What comes back from an mp4 is what went in: every frame, its colours, the sound at its place; or nothing."""

import os
import resource
import signal

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.media.audio import read_audio
from emo.media.video import probe_video, read_video
from emo.media.video_writer import VideoWriter, frame_rate

RATE = 16000
GREY = np.full((64, 64, 3), 90, np.uint8)


def numbered(index: int) -> np.ndarray:
    """(64 64 3): the number as eight stripes, dark or bright."""
    stripes = [40 + 160 * (index >> bit & 1) for bit in range(8)]
    return np.kron(np.array(stripes, np.uint8)[None, :, None], np.ones((64, 8, 3), np.uint8))


def numbers(frames) -> list[int]:
    bright = (frame.reshape(64, 8, 8, 3).mean(axis=(0, 2, 3)) > 120 for frame in frames)
    return [sum(int(on) << bit for bit, on in enumerate(stripes)) for stripes in bright]


def noise(seconds: float) -> np.ndarray:
    """(S 1) at 48 kHz."""
    return 0.1 * np.random.default_rng(0).standard_normal((round(seconds * 48000), 1))


def photo(height: int, width: int) -> np.ndarray:
    """Soft shapes with fine grain and slowly changing colours, as in a photograph."""
    rng = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(fy, fx), 1 / width) ** 1.6
    spectra = [np.fft.rfft2(rng.standard_normal((height, width))) * falling for _ in range(3)]
    planes = [np.fft.irfft2(spectrum, (height, width)) for spectrum in spectra]
    light, warm, green = (plane / plane.std() for plane in planes)
    rgb = np.stack([light + 0.3 * warm, light + 0.2 * green, light - 0.3 * warm], axis=-1)
    return np.clip(128 + 40 * rgb, 0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 60, 12.5, 23.976])
def test_every_frame_comes_back_in_order(tmp_path, fps):
    with VideoWriter(tmp_path / "a.mp4", fps) as writer:
        for index in range(70):
            writer.write(numbered(index))
    assert numbers(read_video(tmp_path / "a.mp4")) == list(range(70))
    info = probe_video(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames) == (64, 64, 70)
    assert info.fps == pytest.approx(float(frame_rate(fps)), rel=1e-4)
    assert info.seconds == pytest.approx(70 / frame_rate(fps), abs=0.001)


def test_broadcast_rates_are_exact():
    assert [str(frame_rate(fps)) for fps in (23.976, 29.97, 59.94)] == ["24000/1001", "30000/1001", "60000/1001"]
    assert [str(frame_rate(fps)) for fps in (24, 25.0, 30, 12.5)] == ["24", "25", "30", "25/2"]


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf"), 1e6])
def test_impossible_rates_are_refused(tmp_path, fps):
    with pytest.raises(InputError, match="fps=.*25 is usual"):
        VideoWriter(tmp_path / "a.mp4", fps)


@pytest.mark.parametrize(("height", "width"), [(65, 64), (64, 97), (101, 75)])
def test_odd_sides_are_continued_by_one_pixel(tmp_path, height, width):
    picture = photo(height, width)
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(picture)
    (frame,) = read_video(tmp_path / "a.mp4")
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    assert psnr(frame[:height, :width], picture) > 32
    assert psnr(frame[:, -1], frame[:, -2]) > 20 and psnr(frame[-1], frame[-2]) > 20


def test_a_still_photo_is_kept(tmp_path):
    picture = photo(360, 480)
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for _ in range(30):
            writer.write(picture)
    assert min(psnr(frame, picture) for frame in read_video(tmp_path / "a.mp4")) >= 40


@pytest.mark.parametrize("height", [256, 768])  # either side of where readers guess another colour matrix
def test_colours_are_true_and_tagged(tmp_path, height):
    corners = np.stack(np.meshgrid([16, 128, 240], [16, 128, 240], [16, 128, 240]), axis=-1).reshape(3, 9, 3)
    card = np.kron(corners, np.ones((height // 3 + 1, 32, 1)))[:height].astype(np.uint8)
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for _ in range(3):
            writer.write(card)
    middle = (np.arange(3)[:, None] * (height // 3 + 1) + height // 6, np.arange(9)[None] * 32 + 16)
    for frame in read_video(tmp_path / "a.mp4"):
        np.testing.assert_allclose(frame[middle].astype(int), corners, atol=4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)  # BT.709
        assert context.color_range == 1  # 16..235
        assert context.pix_fmt == "yuv420p"


def write_some(path, sound=None, frames=30, **options):
    with VideoWriter(path, 25, sound, **options) as writer:
        for index in range(frames):
            writer.write(np.random.default_rng(index).integers(0, 256, (256, 256, 3), dtype=np.uint8))
            assert not path.exists() or options.get("overwrite")
            yield index


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", [0, 20])
def test_an_exception_leaves_nothing(tmp_path, write_sound, error, at):
    sound = write_sound("a.wav", [noise(2.0)], 48000)
    with pytest.raises(error):
        with VideoWriter(tmp_path / "out.mp4", 25, sound) as writer:
            for index in range(at):
                writer.write(numbered(index))
            raise error
    assert os.listdir(tmp_path) == ["a.wav"]


def test_ctrl_c_leaves_nothing_and_the_old_file_whole(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"old")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            for index in write_some(tmp_path / "out.mp4", overwrite=True):
                if index == 10:
                    os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old"


def test_the_name_is_taken_only_by_a_whole_file(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"old")
    for _ in write_some(tmp_path / "out.mp4", overwrite=True):
        assert (tmp_path / "out.mp4").read_bytes() == b"old"
    assert probe_video(tmp_path / "out.mp4").frames == 30
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_no_frame_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no frame"):
        list(write_some(tmp_path / "out.mp4", frames=0))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [2_000, 400_000])  # bytes: fails at the end, or while frames come
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(InputError, match=r"out.mp4 can't be written .*free some space"):
            list(write_some(tmp_path / "out.mp4"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_frames_of_another_kind_or_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unlike"):
        with VideoWriter(tmp_path / "a.mp4", 25) as writer:
            writer.write(GREY)
            writer.write(np.zeros((80, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        with VideoWriter(tmp_path / "b.mp4", 25) as writer:
            writer.write(GREY.astype(np.float32))
    assert os.listdir(tmp_path) == []


def bad_targets(folder, write_sound):
    (folder / "old.mp4").write_bytes(b"old")
    (folder / "folder.mp4").mkdir()
    write_sound("a.wav", [noise(1.0)], 48000)
    write_sound("a.m4a", [noise(1.0)], 48000, "aac").rename(folder / "sound.mp4")
    (folder / "letter.wav").write_text("Dear reader,\n" * 50)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("old.mp4", {}, "exists; choose another name"),
        ("folder.mp4", {"overwrite": True}, "is a folder"),
        ("out.avi", {}, "use out.mp4"),
        ("out", {}, "use out.mp4"),
        ("nowhere/out.mp4", {}, "no folder"),
        ("sound.mp4", {"audio": "sound.mp4", "overwrite": True}, "is the sound itself"),
        ("out.mp4", {"audio": "nowhere.wav"}, "nowhere.wav: no such file"),
        ("out.mp4", {"audio": "letter.wav"}, "letter.wav can't be read"),
        ("out.mp4", {"audio": "a.wav", "start_seconds": 1.5}, "a.wav lasts 1.00 seconds"),
        ("out.mp4", {"audio": "a.wav", "start_seconds": -1}, "0 seconds or more"),
        ("out.mp4", {"audio": "a.wav", "duration_seconds": 0}, "more than 0"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_frame(tmp_path, write_sound, name, options, said):
    bad_targets(tmp_path, write_sound)
    before = sorted(os.listdir(tmp_path))
    if "audio" in options:
        options = {**options, "audio": tmp_path / options["audio"]}
    with pytest.raises(InputError) as error:
        with VideoWriter(tmp_path / name, 25, **options):
            pytest.fail("the first frame could have been written")
    assert said in str(error.value) and "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can't be written"):
        VideoWriter(tmp_path / "a.mp4", 25)


@pytest.mark.parametrize(("fps", "expected"), [(25, 50), (30, 60), (12.5, 25), (10, 20)])
def test_reading_at_another_rate_goes_by_time(write_clip, fps, expected):
    clip = write_clip("a.mkv", [numbered(index) for index in range(50)], np.arange(50) / 25)
    seen = numbers(read_video(clip, fps))
    assert len(seen) == expected
    assert seen == [int(k / fps * 25 + 0.03) for k in range(expected)]


def test_reading_forgives_rounded_time_stamps(write_clip):
    clip = write_clip("a.mkv", [numbered(index) for index in range(60)], np.arange(60) / 30)  # in ms: 0 33 67
    assert numbers(read_video(clip, 30)) == list(range(60))


def test_reading_holds_a_picture_until_the_next(write_clip):
    clip = write_clip("a.mkv", [numbered(index) for index in range(4)], [0.0, 0.1, 0.6, 0.64])
    assert numbers(read_video(clip, 25))[:17] == [0] * 3 + [1] * 12 + [2, 3]


def test_reading_with_sound_that_starts_first_is_on_one_clock(write_clip):
    frames, times = [numbered(index) for index in range(25)], 0.4 + np.arange(25) / 25
    click = (np.arange(48000) == 24000)[:, None]
    clip = write_clip("a.mkv", frames, times, click, rate=48000)
    frames, wave = numbers(read_video(clip, 25)), read_audio(clip, 1000)
    assert frames == [0] * 10 + list(range(25))
    assert int(np.abs(wave).argmax()) == pytest.approx(500, abs=1)


@pytest.mark.parametrize("turn", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_rotation_is_carried_out(tmp_path, turn):
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 230  # bright at the top left
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(picture)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 4, 12, 16), turn, strict=True):
        data[matrix + place : matrix + place + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    (tmp_path / "a.mp4").write_bytes(data)
    (frame,) = read_video(tmp_path / "a.mp4")
    info = probe_video(tmp_path / "a.mp4")
    assert frame.shape == (info.height, info.width, 3)
    a, b, c, d = turn  # a point (x y) is shown at (a x + c y, b x + d y)
    shown = np.array([-1 * a - 1 * c, -1 * b - 1 * d])
    height, width = frame.shape[:2]
    corner = frame[(height // 2 if shown[1] > 0 else 0) :, (width // 2 if shown[0] > 0 else 0) :]
    assert corner[: height // 2 - 4, : width // 2 - 4].mean() > 200
    assert frame.mean() == pytest.approx(230 / 4, abs=8)


def test_length_without_a_header(tmp_path, write_clip):
    clip = write_clip("a.h264", [numbered(index) for index in range(50)], np.arange(50) / 25)
    info = probe_video(clip)
    assert (info.width, info.height) == (64, 64)
    assert info.seconds == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere.mp4", "no such file"), ("letter.mp4", "can't be read"), ("a.wav", "has no picture")],
)
def test_what_can_not_be_read_is_said_in_one_line(tmp_path, write_sound, name, said):
    (tmp_path / "letter.mp4").write_text("Dear reader,\n" * 50)
    write_sound("a.wav", [noise(0.5)], 48000)
    for read in (probe_video, lambda path: next(read_video(path)), lambda path: next(read_video(path, 25))):
        with pytest.raises(InputError) as error:
            read(tmp_path / name)
        assert said in str(error.value) and name in str(error.value) and "\n" not in str(error.value)
