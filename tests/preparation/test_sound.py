"""The sound of a video is the same in parts as read at once."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.timing import SAMPLE_RATE
from emo.media.audio import read_audio
from emo.media.video_writer import VideoWriter
from emo.preparation import sound as listen
from emo.preparation.sound import MUSIC_SAMPLE_RATE, ForwardAudioReader, VideoAudio


@pytest.fixture
def noise_path(write_wav, tmp_path):
    """9 s at 16 kHz, no two parts of which are alike."""
    path = tmp_path / "noise.wav"
    write_wav(path, np.random.default_rng(0).uniform(-0.5, 0.5, 9 * SAMPLE_RATE).astype(np.float32))
    return path


@pytest.mark.parametrize("rate", [SAMPLE_RATE, MUSIC_SAMPLE_RATE])
def test_parts_in_any_order_are_those_of_the_whole(noise_path, rate):
    whole, audio = read_audio(noise_path, rate), VideoAudio(noise_path)
    for first, count in [(3, 25), (28, 40), (60, 30), (50, 30), (150, 20), (0, 10), (200, 60)]:
        start, size = first * rate // 25, count * rate // 25
        want = np.pad(whole, (0, size))[start : start + size]
        assert np.array_equal(audio.read_wave(first, count, rate), want)


def test_before_a_video_and_behind_it_is_silence(noise_path):
    whole, audio = read_audio(noise_path, SAMPLE_RATE), VideoAudio(noise_path)
    early, late = audio.read_wave(-2, 50, SAMPLE_RATE), audio.read_wave(220, 50, SAMPLE_RATE)
    assert not early[:1280].any() and np.array_equal(early[1280:], whole[: 48 * 640])
    assert np.array_equal(late[:3200], whole[-3200:]) and not late[3200:].any() and len(late) == 2 * SAMPLE_RATE
    assert not audio.read_wave(500, 25, SAMPLE_RATE).any()


def test_it_is_read_once_and_little_of_it_is_in_memory(noise_path, monkeypatch):
    read, stream = [], listen.stream_audio

    def counted(path, rate):
        for piece in stream(path, rate):
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(listen, "stream_audio", counted)
    forward, most = ForwardAudioReader(noise_path, SAMPLE_RATE), 0
    for start in range(0, 8 * SAMPLE_RATE, SAMPLE_RATE // 2):
        forward.read(start, start + SAMPLE_RATE)
        forward.read(max(0, start - SAMPLE_RATE // 2), start)  # a little earlier again
        most = max(most, sum(map(len, forward.held)))
    assert sum(read) == 9 * SAMPLE_RATE and most <= 4 * SAMPLE_RATE
    forward.read(0, 10)
    assert sum(read) == 10 * SAMPLE_RATE


def test_a_file_without_sound_is_named(tmp_path, draw):
    with VideoWriter(tmp_path / "mute.mp4", 25) as writer:
        writer.write(draw(0.5))
    with pytest.raises(InputError, match="mute.mp4 has no sound"):
        VideoAudio(tmp_path / "mute.mp4").read(0, 1)
