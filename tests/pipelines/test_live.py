"""Live sessions: frames in real time by a clock of the test's own, idle where nobody speaks, causal, never drifting."""

import asyncio

import numpy as np
import pytest
import torch

from emo import InputError
from emo.media.audio import LiveAudio

RATE, FPS, STEP = 16000, 25, 640  # samples of a frame


class FakeClock:
    """Time passes only while the session waits."""

    def __init__(self):
        self.time, self.pieces, self.session = 100.0, [], None

    def speak(self, session, pieces) -> None:
        """From now on a microphone gives a piece (STEP,) at each frame's end."""
        self.session, self.pieces = session, [(self.time + (k + 1) / FPS, piece) for k, piece in enumerate(pieces)]

    def now(self) -> float:
        return self.time

    def wait(self, condition, seconds: float) -> None:
        assert seconds > 0
        if not self.pieces or self.pieces[0][0] > self.time + seconds:
            self.time += seconds
            return
        self.time, piece = self.pieces.pop(0)
        self.session.push(piece)


@pytest.fixture
def open_session(tiny_pipeline, portrait):
    """open_session(block_frames=2, ...) -> (session, its clock)."""

    def make(**options):
        clock = FakeClock()
        generator = torch.Generator().manual_seed(0)
        return tiny_pipeline.live(portrait, face="full", generator=generator, clock=clock, **options), clock

    return make


def take(session, count: int) -> list:
    frames = []
    for frame in session.frames():
        frames.append(frame)
        if len(frames) >= count:
            return frames


def test_idle_frames_come_in_real_time_and_the_first_at_once(open_session):
    session, clock = open_session()
    began = clock.time
    frames = take(session, 2)
    assert clock.time == began
    frames += take(session, 18)
    assert clock.time - began == pytest.approx(18 / FPS + 0.06, abs=0.001)
    assert [frame.index for frame in frames] == list(range(20))
    assert not any(frame.is_speaking or frame.is_repeated for frame in frames)
    assert all(frame.latency_seconds is None and not frame.audio.any() for frame in frames)
    assert frames[0].image.shape == (192, 192, 3) and session.size == (192, 192)


def test_pushed_sound_comes_out_once_and_complete(open_session, wave):
    session, clock = open_session(block_frames=6)
    take(session, 6)
    session.push(wave[: 4 * STEP])
    session.push((wave[4 * STEP : 8 * STEP] * 32767).astype(np.int16))
    frames = take(session, 36)
    sound = np.concatenate([frame.audio for frame in frames])
    start = np.flatnonzero(sound)[0] - np.flatnonzero(wave)[0]
    assert np.abs(sound[start:][: 8 * STEP] - wave[: 8 * STEP]).max() < 1e-4
    assert not sound[:start].any() and not sound[start + 8 * STEP :].any()
    speaking = [frame.is_speaking for frame in frames]
    assert sum(abs(np.diff(np.array(speaking, int)))) == 2  # it begins once and ends once
    assert not speaking[-1] and speaking[start // STEP + 3]


def test_latency_of_a_microphone_is_block_and_look_ahead(open_session, wave, tiny_pipeline):
    """Sound that comes frame by frame, as a microphone gives it."""
    session, clock = open_session(block_frames=2)
    frames = take(session, 2)
    clock.speak(session, np.resize(wave, 50 * STEP).reshape(50, STEP))
    frames += take(session, 26)
    latencies = [frame.latency_seconds for frame in frames if frame.latency_seconds is not None]
    assert len(latencies) > 12
    assert max(latencies) <= session.latency_floor_seconds + 2 / FPS
    assert min(latencies) >= tiny_pipeline.audio_encoder.future_seconds - 1 / FPS


def test_it_hears_no_further_than_it_says(open_session, wave):
    """Causal: what is pushed later changes no frame that could be made before."""
    images = []
    for later in (wave[14 * STEP :], 0 * wave[14 * STEP :]):
        session, _ = open_session()
        session.push(wave[: 14 * STEP])
        session.push(later[: 10 * STEP])
        images.append([frame.image for frame in take(session, 14)])
    reach = 14 - round(session.latency_floor_seconds * FPS) - 2
    same = [np.array_equal(a, b) for a, b in zip(*images, strict=True)]
    assert all(same[:reach]) and not all(same)


def test_interrupt_drops_what_is_not_shown(open_session, wave):
    session, _ = open_session()
    session.push(np.full(50 * STEP, 0.5, np.float32))
    first = take(session, 4)
    session.interrupt()
    after = take(session, 18)
    assert first[-1].audio.min() == 0.5
    sound = np.concatenate([frame.audio for frame in after])
    assert np.flatnonzero(sound).max() < 0.011 * RATE and (np.diff(sound[:200]) <= 0).all()  # it fades out
    assert not after[-1].is_speaking and all(frame.latency_seconds is None for frame in after[1:])
    session.push(wave[:STEP])  # and goes on
    assert any(frame.latency_seconds is not None for frame in take(session, 12))


def test_a_late_model_repeats_frames_and_keeps_the_time(open_session, wave):
    session, clock = open_session()
    take(session, 2)
    session.push(wave[: 25 * STEP])
    clock.time += 0.8  # the consumer or the model took so long
    frames = take(session, 24)
    repeated = [frame for frame in frames if frame.is_repeated]
    assert 10 <= len(repeated) <= 20 and all(np.array_equal(f.image, repeated[0].image) for f in repeated)
    sound = np.concatenate([frame.audio for frame in frames])
    assert np.abs(sound).max() > 0.1  # the sound goes on meanwhile
    assert [frame.index for frame in frames] == list(range(2, 26))


def test_sound_that_waits_too_long_is_dropped(open_session):
    session, _ = open_session(max_delay_seconds=0.4, block_frames=6)
    take(session, 6)
    for number in range(10):
        session.push(np.full(4000, 0.1 * number, np.float32))  # 2.5 s at once
    sound = np.concatenate([frame.audio for frame in take(session, 36)])
    assert np.count_nonzero(sound) < 1.0 * RATE and sound.max() == pytest.approx(0.9)  # the newest is heard


def test_a_late_model_loses_no_sound_of_a_microphone(open_session, wave):
    session, clock = open_session(max_delay_seconds=0.4, block_frames=6)
    take(session, 6)
    for _ in range(25):  # a second of sound comes while the model computes
        clock.time += 1 / FPS
        session.push(np.full(STEP, 0.5, np.float32))
    sound = np.concatenate([frame.audio for frame in take(session, 42)])
    assert np.count_nonzero(sound) == 25 * STEP


def test_controls_change_at_any_moment(make_pipeline, portrait):
    pipeline = make_pipeline(controls=["gaze"])
    images = []
    for gaze in (None, (0.5, 0.2)):
        options = {"generator": torch.Generator().manual_seed(0), "clock": FakeClock(), "face": "full"}
        session = pipeline.live(portrait, **options)
        before = take(session, 4)
        session.set(gaze=gaze, head_speed=0.3)
        images.append([frame.image for frame in before + take(session, 4)])
    same = [np.array_equal(a, b) for a, b in zip(*images, strict=True)]
    assert same[:4] == [True] * 4 and not any(same[4:])
    with pytest.raises(InputError, match="emotion is not a condition of this model: it has head_speed, gaze"):
        session.set(emotion="happy")
    with pytest.raises(InputError, match="one constant value"):
        session.set(gaze=np.zeros((4, 2)))


def test_asynchronous_frames_and_close(open_session, wave):
    session, _ = open_session()

    async def watch() -> list:
        frames = []
        async for frame in session.frames():
            frames.append(frame.index)
            if len(frames) == 6:
                session.close()
        return frames

    assert asyncio.run(watch()) == list(range(6))
    assert list(session.frames()) == []
    with pytest.raises(InputError, match="closed"):
        session.push(wave)


def test_ten_thousand_frames_keep_no_more_than_ten(open_session):
    session, _ = open_session()
    session._portrait.render = lambda latents: [session._portrait.image] * len(latents)
    session._denoise = lambda *arguments: torch.zeros(2, 1)
    sizes = set()
    for _ in range(5000):
        session.push(np.zeros(2 * STEP, np.float32))
        session.make_block()
        sizes.add(len(session._audio.wave) // RATE)
    assert max(sizes) <= session._pipeline.audio_encoder.past_seconds + 3


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros(3, np.int32), np.full(3, np.nan)])
def test_wrong_sound_is_refused(open_session, wrong):
    with pytest.raises(InputError, match="audio"):
        open_session()[0].push(wrong)


def test_block_frames_are_checked(open_session):
    with pytest.raises(InputError, match="block_frames=9: give 1 to 6"):
        open_session(block_frames=9)


def test_another_sample_rate_is_resampled(wave):
    audio = LiveAudio(RATE)
    for piece in np.split(np.repeat(wave, 3), 10):
        audio.push(piece, 48000, 0.0)
    assert abs(audio.end - len(wave)) < 200
    assert audio.pushed_at(100) == 0.0 and audio.pushed_at(audio.end) is None
