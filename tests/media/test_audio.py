"""Sound keeps its time: a click is where it was, whatever the file, the rate, the cut and the length."""

import tracemalloc

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.media.audio import probe_audio, read_audio, stream_audio

RATE = 16000
FORMATS = [
    ("a.wav", "pcm_s16le", 44100),
    ("a24.wav", "pcm_s24le", 48000),
    ("a8.wav", "pcm_u8", 8000),
    ("afloat.wav", "pcm_f32le", 16000),
    ("a64.wav", "pcm_f64le", 16000),
    ("a.flac", "flac", 44100),
    ("a.mp3", "libmp3lame", 44100),
    ("a.m4a", "aac", 48000),
    ("a.mp4", "aac", 22050),
    ("a.ogg", "libopus", 48000),
    ("a.mka", "libopus", 48000),
    ("a.aiff", "pcm_s16be", 32000),
]


def clicks(seconds: float, rate: int, at: float, channels: int = 1) -> np.ndarray:
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    samples[round(at * rate)] = 0.9
    return samples


def noise(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """(S C), soft and below 1 kHz, so that every coder keeps it."""
    rough = np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    spectrum = np.fft.rfft(rough, axis=0)
    spectrum[round(1000 * seconds) :] = 0
    smooth = np.fft.irfft(spectrum, len(rough), axis=0)
    return (0.5 * smooth / np.abs(smooth).max()).astype(np.float32)


@pytest.mark.parametrize("channels", ["mono", "stereo"])
@pytest.mark.parametrize(("name", "codec", "rate"), FORMATS)
def test_any_format_keeps_time_and_length(write_sound, name, codec, rate, channels):
    count = 1 if channels == "mono" else 2
    path = write_sound(name, [clicks(1.5, rate, 1.0, count)], rate, codec, channels)
    info = probe_audio(path)
    assert (info.sample_rate, info.channels) == (rate, count)
    assert info.seconds == pytest.approx(1.5, abs=0.001)
    wave = read_audio(path, RATE)
    assert wave.dtype == np.float32 and wave.ndim == 1 and np.abs(wave).max() <= 1
    assert len(wave) == pytest.approx(1.5 * RATE, abs=0.001 * RATE)
    assert abs(int(np.abs(wave).argmax()) - RATE) <= 1


@pytest.mark.parametrize("rate", [8000, 11025])
def test_no_drift_after_ten_minutes(write_sound, rate):
    path = write_sound("a.wav", [clicks(601, rate, 600.0)], rate)
    wave = read_audio(path, RATE)
    assert len(wave) == 601 * RATE
    assert int(np.abs(wave).argmax()) == 600 * RATE


def test_no_drift_in_ten_minutes_of_coded_sound(write_sound):
    path = write_sound("a.m4a", [clicks(601, 8000, 600.0)], 8000, "aac")
    assert abs(int(np.abs(read_audio(path, RATE)).argmax()) - 600 * RATE) <= 1


@pytest.mark.parametrize(("name", "codec", "rate"), [FORMATS[0], FORMATS[6], FORMATS[7]])
@pytest.mark.parametrize(("start", "duration"), [(0.0, 1.25), (0.5, None), (2.345, 0.3), (2.0, 60.0)])
def test_a_trimmed_sound_is_a_slice_of_the_whole(write_sound, name, codec, rate, start, duration):
    path = write_sound(name, [noise(3.0, rate, 2)], rate, codec, "stereo")
    whole = read_audio(path, RATE)
    end = None if duration is None else round(start * RATE) + round(duration * RATE)
    np.testing.assert_allclose(read_audio(path, RATE, start, duration), whole[round(start * RATE) : end], atol=1e-5)


@pytest.mark.parametrize("chunk_seconds", [0.1, 1.0, 0.7313])
def test_chunks_are_the_whole_in_pieces(write_sound, chunk_seconds):
    path = write_sound("a.flac", [noise(2.5, 44100)], 44100, "flac")
    chunks = list(stream_audio(path, RATE, chunk_seconds=chunk_seconds))
    assert {len(chunk) for chunk in chunks[:-1]} == {round(chunk_seconds * RATE)}
    assert 0 < len(chunks[-1]) <= len(chunks[0])
    np.testing.assert_array_equal(np.concatenate(chunks), read_audio(path, RATE))


@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("2.1", 3), ("5.1", 6), ("7.1", 8)])
@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.wv", "wavpack")])
def test_mono_is_the_mean_of_the_channels(write_sound, layout, channels, name, codec):
    samples = noise(0.5, RATE, channels)
    path = write_sound(name, [samples], RATE, codec, layout)
    np.testing.assert_allclose(read_audio(path, RATE), samples.mean(axis=1), atol=5e-3)  # wavpack: 8 bits


def test_a_tone_keeps_its_loudness_and_pitch(write_sound):
    times = np.arange(44100) / 44100
    path = write_sound("a.wav", [0.5 * np.sin(2 * np.pi * 440 * times)[:, None]], 44100)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(read_audio(path, RATE)[200:-200], expected[200:-200], atol=2e-4)


def test_too_loud_and_broken_samples_stay_in_range(write_sound):
    samples = np.array([3.0, -3.0, np.nan, np.inf, -np.inf, 0.25] * 100)[:, None]
    wave = read_audio(write_sound("a.wav", [samples], RATE, "pcm_f32le"), RATE)
    np.testing.assert_array_equal(wave, np.tile([1.0, -1.0, 0.0, 1.0, -1.0, 0.25], 100))


def test_a_hole_in_the_clock_is_silence(write_sound):
    samples = noise(1.0, RATE)
    path = write_sound("a.mka", [samples, samples], RATE, starts=(0, 24000))
    wave = read_audio(path, RATE)
    assert len(wave) == 2.5 * RATE
    np.testing.assert_array_equal(wave[RATE:24000], 0)
    np.testing.assert_allclose(wave[24000:], samples[:, 0], atol=1e-4)


def test_an_overlap_in_the_clock_is_cut(write_sound):
    samples = noise(1.0, RATE)
    path = write_sound("a.mka", [samples, samples], RATE, "pcm_s16le", starts=(0, 12000))
    wave = read_audio(path, RATE)
    assert len(wave) == 1.75 * RATE
    np.testing.assert_allclose(wave[:RATE], samples[:, 0], atol=1e-4)
    np.testing.assert_allclose(wave[RATE:], samples[4000:, 0], atol=1e-4)


def test_a_clock_that_starts_late_starts_at_zero(write_sound):
    path = write_sound("a.mka", [clicks(2.0, RATE, 1.0)], RATE, "flac", starts=(5 * RATE,))
    assert int(np.abs(read_audio(path, RATE)).argmax()) == RATE
    assert probe_audio(path).seconds == 2.0


def test_a_clock_that_is_reset_loses_no_sound(write_sound):
    samples = noise(3.0, RATE)
    path = write_sound("a.mka", [samples, samples], RATE, "pcm_s16le", starts=(0, 0))
    np.testing.assert_allclose(read_audio(path, RATE), np.tile(samples[:, 0], 2), atol=1e-4)


@pytest.mark.parametrize("sound_start", [0.0, 0.5])
def test_sound_of_a_video_is_on_the_clock_of_its_pictures(write_clip, sound_start):
    frames = [np.zeros((64, 64, 3), np.uint8)] * 50
    times = np.arange(50) / 25
    path = write_clip("a.mkv", frames, times, clicks(1.0, RATE, 0.25), sound_start)
    assert abs(int(np.abs(read_audio(path, RATE)).argmax()) - (0.25 + sound_start) * RATE) <= 0.001 * RATE


def test_length_is_true_where_the_header_is_not(write_sound):
    path = write_sound("a.wav", [noise(2.0, RATE)])
    data = bytearray(path.read_bytes())
    size = data.index(b"data") + 4
    data[size : size + 4] = b"\xff\xff\xff\xff"  # as a program writes that streams
    path.write_bytes(data)
    assert probe_audio(path).seconds == 2.0
    raw = write_sound("a.mp3", [noise(20.0, RATE) * np.linspace(0, 1, 20 * RATE)[:, None] ** 8], RATE, "libmp3lame")
    raw.write_bytes(raw.read_bytes()[1000:])  # without its table of contents
    assert probe_audio(raw).seconds == pytest.approx(20.0, abs=0.5)


def test_a_damaged_middle_keeps_the_time(write_sound):
    path = write_sound("a.m4a", [clicks(4.0, RATE, 3.5) + 0.1 * noise(4.0, RATE)], RATE, "aac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = b"\xff" * 1500
    path.write_bytes(data)
    wave = read_audio(path, RATE)
    assert len(wave) == 4 * RATE
    assert int(np.abs(wave[3 * RATE :]).argmax()) == RATE / 2


def test_a_cut_file_gives_what_is_there(write_sound):
    path = write_sound("a.flac", [noise(4.0, RATE)], RATE, "flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1.0 < probe_audio(path).seconds < 3.0


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame")])
def test_streaming_holds_little_in_memory(write_sound, name, codec):
    path = write_sound(name, [noise(120, 8000)], 8000, codec)
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in stream_audio(path, RATE)) == pytest.approx(120 * RATE, abs=2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6  # the wave would take 7.7 MB


def bad_sounds(folder, write_sound, write_clip):
    header = write_sound("none.wav", [noise(0.1, RATE)]).read_bytes()
    (folder / "none.wav").write_bytes(header[: header.index(b"data") + 4] + bytes(4))
    write_clip("silent.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3, [0, 0.04, 0.08])
    (folder / "letter.wav").write_text("Dear reader,\n" * 50)
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "rubble.mp3").write_bytes(np.random.default_rng(0).bytes(3000))
    (folder / "folder.wav").mkdir()
    write_sound("good.wav", [noise(2.0, RATE)])


@pytest.mark.parametrize(
    ("name", "trimmed", "said"),
    [
        ("nowhere.wav", {}, "no such file"),
        ("folder.wav", {}, "is a folder"),
        ("none.wav", {}, "holds no sound"),
        ("silent.mp4", {}, "has no sound"),
        ("letter.wav", {}, "can't be read"),
        ("empty.mp3", {}, "can't be read"),
        ("rubble.mp3", {}, ""),
        ("good.wav", {"start_seconds": 2.0}, "lasts 2.00 seconds"),
        ("good.wav", {"start_seconds": 90.0}, "lasts 2.00 seconds"),
        ("good.wav", {"start_seconds": -1.0}, "0 seconds or more"),
        ("good.wav", {"start_seconds": float("nan")}, "0 seconds or more"),
        ("good.wav", {"duration_seconds": 0.0}, "more than 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, write_sound, write_clip, name, trimmed, said):
    bad_sounds(tmp_path, write_sound, write_clip)
    with pytest.raises(InputError) as error:
        read_audio(tmp_path / name, RATE, **trimmed)
    assert said in str(error.value) and name in str(error.value)
    assert "\n" not in str(error.value)
    if not trimmed:
        with pytest.raises(InputError):
            probe_audio(tmp_path / name)


def test_odd_names_are_files_not_addresses(write_sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:song.wav", "concat:a|b.wav", "take%03d.wav", "Lied №5 'live'.wav"):
        write_sound("a.wav", [noise(0.5, RATE)]).rename(tmp_path / name)
        assert len(read_audio(name, RATE)) == RATE / 2


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """(S,) a tone whose loudness rises."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * times / seconds * np.sin(2 * np.pi * 300 * times)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "codec", "layout", "gains"),
    [
        ("a.wav", "pcm_s16le", "stereo", (-0.98, 1.0)),
        ("a.mp3", "libmp3lame", "stereo", (1.0, -1.0)),
        ("a.m4a", "aac", "stereo", (1.0, -1.0)),
        ("a.flac", "flac", "5.1", (1.0, -1.0, 0, 0, 0, 0)),
    ],
)
def test_channels_that_cancel_each_other_give_the_loudest(write_sound, name, codec, layout, gains):
    path = write_sound(name, [tone()[:, None] * np.array(gains)], RATE, codec, layout)
    wave, expected = read_audio(path, RATE), tone() * max(gains)
    length = min(len(wave), len(expected))
    assert abs(np.corrcoef(wave[:length], expected[:length])[0, 1]) > 0.99
    assert np.abs(wave).max() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("layout", "gains"),
    [("stereo", (0.0, 1.0)), ("7.1", (0,) * 7 + (1.0,))],
)
def test_a_voice_in_one_channel_is_read(write_sound, layout, gains):
    path = write_sound("a.wav", [tone()[:, None] * np.array(gains)], RATE, "pcm_s16le", layout)
    np.testing.assert_allclose(read_audio(path, RATE), tone() / len(gains), atol=2e-4)


def test_one_channel_is_followed_through_the_whole_sound(write_sound):
    """The louder of two channels that cancel each other may change from block to block; the result has no jumps."""
    swing = 1 + 0.05 * np.sin(np.linspace(0, 60, RATE))
    path = write_sound("b.wav", [np.stack([tone() * swing, -tone()], 1)], RATE, "pcm_s16le", "stereo")
    np.testing.assert_allclose(np.abs(np.diff(read_audio(path, RATE))).max(), np.abs(np.diff(tone())).max(), rtol=0.1)
