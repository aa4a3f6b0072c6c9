"""The new sound: as long as the film, in its own quality, with what is kept of the film's."""

import av
import numpy as np
import pytest

from emo.dubbing.sound import DubbedSound, remove_voices, window_share
from emo.media.audio import read_audio


def tone(hertz: float, seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000)).astype(np.float32)


def power_at(wave: np.ndarray, hertz: float) -> float:
    """Amplitude of a tone in a wave at 16 kHz."""
    return float(2 * np.abs(np.mean(wave * np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / 16000))))


@pytest.fixture
def files(tmp_path, write_wav):
    """Sounds of one tone each: a voice of 2 s, another of 1 s, a film of 3 s."""
    paths = [tmp_path / name for name in ("one.wav", "two.wav", "film.wav")]
    for path, hertz, seconds in zip(paths, (300, 500, 1000), (2, 1, 3), strict=True):
        write_wav(path, tone(hertz, seconds))
    return paths


def listen(sound: DubbedSound, path) -> np.ndarray:
    with av.open(str(path), "w") as container:
        for packet in sound.open(container):
            container.mux(packet)
    return read_audio(path, 16000)


def test_voices_are_added(files, tmp_path):
    wave = listen(DubbedSound(files[:2], 3.0, files[2]), tmp_path / "sound.mp4")
    assert len(wave) == pytest.approx(48000, abs=2)
    assert [power_at(wave[2000:14000], hertz) for hertz in (300, 500, 1000)] == pytest.approx([0.3, 0.3, 0], abs=0.03)
    assert power_at(wave[20000:30000], 500) < 0.02 and np.abs(wave[34000:]).max() < 0.02


def test_outside_of_a_window_the_film_sounds(files, tmp_path):
    sound = DubbedSound(files[:1], 3.0, files[2], only_seconds=(0.5, 1.5))
    wave = listen(sound, tmp_path / "sound.mkv")
    inside, outside = wave[9000:23000], wave[26000:46000]
    assert [power_at(inside, hertz) for hertz in (300, 1000)] == pytest.approx([0.3, 0], abs=0.03)
    assert [power_at(outside, hertz) for hertz in (300, 1000)] == pytest.approx([0, 0.3], abs=0.03)


def test_the_background_stays_without_its_voices(files, tmp_path):
    half = DubbedSound(files[:1], 2.0, files[2], separate=lambda wave, rate: 0.5 * wave)
    wave = listen(half, tmp_path / "sound.webm")
    assert [power_at(wave[4000:28000], hertz) for hertz in (300, 1000)] == pytest.approx([0.3, 0.15], abs=0.03)


def test_one_voice_keeps_its_channels_and_rate(tmp_path, write_sound_file):
    path = write_sound_file("stereo.flac", 44100, 2)
    out = tmp_path / "sound.mp4"
    listen(DubbedSound([path], 1.0, path), out)
    with av.open(str(out)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.layout.name) == (44100, "stereo")
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=0.03)


@pytest.fixture
def write_sound_file(tmp_path):
    """write_sound_file(name, rate, channels): 1.5 s of FLAC."""

    def write(name: str, rate: int, channels: int):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            layout = {1: "mono", 2: "stereo"}[channels]
            stream = container.add_stream("flac", rate=rate, layout=layout)
            samples = np.zeros((1, round(1.5 * rate) * channels), np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


def test_parts_that_are_separated_join_without_a_seam(monkeypatch):
    monkeypatch.setattr("emo.dubbing.sound.SEPARATION_SECONDS", 0.5)
    monkeypatch.setattr("emo.dubbing.sound.SEPARATION_OVERLAP_SECONDS", 0.1)
    wave = np.random.default_rng(0).standard_normal((16000, 2)).astype(np.float32)
    pieces = remove_voices(np.array_split(wave, 7), 16000, lambda part, rate: 0.25 * part)
    np.testing.assert_allclose(np.concatenate(list(pieces)), 0.75 * wave, atol=1e-6)


def test_the_share_of_a_window_fades():
    share = window_share(0, 1000, 1000, (0.2, 0.6))
    assert share[:180].max() == 0 and share[220:580].min() == 1 and share[620:].max() == 0
    assert 0 < share[200] < 1
