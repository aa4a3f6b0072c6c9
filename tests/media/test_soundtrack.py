"""The sound in an mp4 is the user's own: every channel, its own rate, at its place to the sample, to its end."""

import av
import numpy as np
import pytest

from emo.media.audio import probe_audio, read_audio
from emo.media.decode import decode_audio
from emo.media.video import probe_video
from emo.media.video_writer import VideoWriter

GREY = np.full((64, 64, 3), 90, np.uint8)


def clicks(seconds: float, at: float, rate: int = 48000, channels: int = 1) -> np.ndarray:
    """(S C): channel c has its click c / 10 s after `at`."""
    samples = np.zeros((round(seconds * rate), channels), np.float32)
    for channel in range(channels):
        samples[round((at + channel / 10) * rate), channel] = 0.9
    return samples


def voice(seconds: float, rate: int = 48000, channels: int = 1) -> np.ndarray:
    """(S C), noise below 2 kHz, every channel its own."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal((round(seconds * rate), channels)), axis=0)
    spectrum[round(2000 * seconds) :] = 0
    smooth = np.fft.irfft(spectrum, round(seconds * rate), axis=0)
    return 0.6 * smooth / np.abs(smooth).max()


def all_channels(path) -> np.ndarray:
    return np.concatenate([block.samples for block in decode_audio(path)])


def packets(path, kind: str) -> list:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(**{kind: 0}) if packet.pts is not None]


SOUNDS = [
    ("a.wav", "pcm_s16le", 48000, "mono", 1),
    ("a.wav", "pcm_s24le", 44100, "stereo", 2),
    ("a.wav", "pcm_s16le", 48000, "5.1", 6),
    ("a.wav", "pcm_s16le", 8000, "mono", 1),
    ("a.flac", "flac", 96000, "stereo", 2),
    ("a.mp3", "libmp3lame", 44100, "stereo", 2),
    ("a.m4a", "aac", 44100, "stereo", 2),
    ("a.mka", "aac", 22050, "mono", 1),
    ("a.ogg", "libopus", 48000, "stereo", 2),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout", "channels"), SOUNDS)
def test_sound_is_the_users_own_at_its_place(tmp_path, write_sound, name, codec, rate, layout, channels):
    samples = voice(2.0, rate, channels)
    samples[: rate // 2] = 0
    samples += clicks(2.0, 0.1, rate, channels) if channels < 3 else 0
    sound = write_sound(name, [samples], rate, codec, layout)
    with VideoWriter(tmp_path / "out.mp4", 25, sound) as writer:
        for _ in range(50):
            writer.write(GREY)
    before, after = all_channels(sound), all_channels(tmp_path / "out.mp4")
    assert probe_audio(tmp_path / "out.mp4").sample_rate == rate
    assert after.shape[1] == channels
    assert len(after) == pytest.approx(len(before), abs=0.002 * rate)
    length = min(len(before), len(after))
    for channel in range(channels):
        if layout != "5.1" or channel != 3:  # the deep channel is cut at 120 Hz by the format
            assert np.corrcoef(before[:length, channel], after[:length, channel])[0, 1] > 0.98
        if channels < 3:
            heads = before[: rate // 2, channel], after[: rate // 2, channel]
            assert abs(int(np.abs(heads[0]).argmax()) - int(np.abs(heads[1]).argmax())) <= 1
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.start_time for stream in container.streams] == [0, 0]


def test_aac_is_copied_bit_by_bit(tmp_path, write_sound):
    sound = write_sound("a.m4a", [voice(2.0, 44100, 2)], 44100, "aac", "stereo")
    with VideoWriter(tmp_path / "out.mp4", 25, sound) as writer:
        for _ in range(50):
            writer.write(GREY)
    before, after = packets(sound, "audio"), packets(tmp_path / "out.mp4", "audio")
    assert [bytes(packet) for packet in before] == [bytes(packet) for packet in after]
    assert [packet.pts for packet in before] == [packet.pts for packet in after]


def test_aac_whose_clock_starts_late_starts_at_once(tmp_path, write_sound):
    sound = write_sound("a.m4a", [clicks(1.0, 0.5)], 48000, "aac", starts=(24000,))
    with VideoWriter(tmp_path / "out.mp4", 25, sound) as writer:
        for _ in range(25):
            writer.write(GREY)
    places = [int(np.abs(read_audio(path, 1000)).argmax()) for path in (sound, tmp_path / "out.mp4")]
    assert abs(places[0] - places[1]) <= 1


def test_sound_of_a_video_that_starts_late_stays_late(tmp_path, write_clip):
    clip = write_clip("a.mp4", [GREY] * 50, np.arange(50) / 25, clicks(1.0, 0.5), 0.4, 48000, "aac")
    with VideoWriter(tmp_path / "out.mp4", 25, clip) as writer:
        for _ in range(50):
            writer.write(GREY)
    assert int(np.abs(read_audio(tmp_path / "out.mp4", 1000)).argmax()) == pytest.approx(900, abs=2)


@pytest.mark.parametrize(("start", "duration", "left"), [(0.5, None, 2.5), (1.25, 1.0, 1.0), (0.0, 1.5, 1.5)])
@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.m4a", "aac")])
def test_trimmed_sound(tmp_path, write_sound, name, codec, start, duration, left):
    sound = write_sound(name, [clicks(3.0, 1.4)], 48000, codec)
    with VideoWriter(tmp_path / "out.mp4", 25, sound, start, duration) as writer:
        for _ in range(round(left * 25)):
            writer.write(GREY)
    wave = read_audio(tmp_path / "out.mp4", 48000)
    assert len(wave) == pytest.approx(left * 48000, abs=96)
    assert abs(int(np.abs(wave).argmax()) - round((1.4 - start) * 48000)) <= 1


def test_sound_is_whole_with_few_frames_and_frames_with_little_sound(tmp_path, write_sound):
    for count, seconds in [(5, 2.0), (60, 0.5)]:
        sound = write_sound("a.wav", [voice(seconds)], 48000)
        with VideoWriter(tmp_path / "out.mp4", 25, sound, overwrite=True) as writer:
            for _ in range(count):
                writer.write(GREY)
        assert probe_audio(tmp_path / "out.mp4").seconds == pytest.approx(seconds, abs=0.002)
        assert probe_video(tmp_path / "out.mp4").frames == count


def test_layout_of_the_file_suits_a_browser(tmp_path, write_sound):
    sound = write_sound("a.wav", [voice(4)], 48000)
    with VideoWriter(tmp_path / "a.mp4", 25, sound) as writer:
        for _ in range(100):
            writer.write(GREY)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    keys = [packet.pts * packet.time_base for packet in packets(tmp_path / "a.mp4", "video") if packet.is_keyframe]
    assert max(np.diff([float(key) for key in keys])) <= 2.001
    with av.open(str(tmp_path / "a.mp4")) as container:
        seen = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.pts is not None:
                seen[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(seen["video"] - seen["audio"]) < 1.0  # side by side in the file


def test_what_was_written_lies_on_disk_not_in_memory(tmp_path, write_sound):
    sound = write_sound("a.wav", [voice(4)], 48000)
    with VideoWriter(tmp_path / "a.mp4", 25, sound) as writer:
        for index in range(100):
            writer.write(np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        (partial,) = tmp_path.glob(".*")
        written = partial.stat().st_size
    assert written > 0.6 * (tmp_path / "a.mp4").stat().st_size


@pytest.mark.parametrize("rate", [4000, 5000, 6000, 7000, 9000, 10000, 192000, 44056])
@pytest.mark.parametrize("more", [0, 1, 7])
def test_sound_of_any_rate_and_length_is_written_to_its_end(tmp_path, write_sound, rate, more):
    count = 16384 * (24 if rate == 192000 else 1) + more
    sound = write_sound("a.wav", [voice(count / rate, rate)], rate)
    with VideoWriter(tmp_path / "out.mp4", 25, sound) as writer:
        for _ in range(5):
            writer.write(GREY)
    assert probe_audio(tmp_path / "out.mp4").seconds == pytest.approx(count / rate, abs=0.003)
