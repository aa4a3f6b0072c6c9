"""Changed voices keep their timing."""

import numpy as np
import pytest

from emo.core.timing import SAMPLE_RATE
from emo.data.audio_augmentation import augment_sound, augment_voice, change_speed, color_noise, equalize, reverberate


@pytest.fixture
def bursts() -> np.ndarray:
    """(S,) 1 s of noise, on and off."""
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)
    return (noise * (np.arange(SAMPLE_RATE) // 1600 % 3 > 0)).astype(np.float32)


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """Samples by which `other` comes after `one`, where they agree best."""
    size = 2 * len(one)
    agreement = np.fft.irfft(np.fft.rfft(other, size) * np.fft.rfft(one, size).conj(), size)
    best = int(agreement.argmax())
    return best - size if best > size // 2 else best


@pytest.mark.parametrize("seed", range(12))
def test_augmented_sound_keeps_its_timing_and_length(bursts, seed):
    made = augment_sound(bursts, np.random.default_rng(seed))
    assert made.shape == bursts.shape and made.dtype == np.float32 and np.isfinite(made).all()
    assert lag(bursts, made) == 0


def test_lag_sees_a_delay(bursts):
    assert lag(bursts, np.roll(bursts, 7)) == 7 and lag(bursts, np.roll(bursts, -3)) == -3


@pytest.mark.parametrize("change", [equalize, reverberate])
def test_each_change_alone_changes_the_sound_but_not_its_timing(bursts, change):
    made = change(bursts, np.random.default_rng(1))
    assert lag(bursts, made) == 0 and np.abs(made - bursts).max() > 1e-3


def test_sounds_differ_and_the_same_rng_makes_the_same(bursts):
    first, again, other = (augment_sound(bursts, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, other)
    assert not np.array_equal(first, bursts)


@pytest.mark.parametrize("seed", range(4))
def test_a_varied_voice_says_the_same_things_as_much_sooner(bursts, seed):
    made, speed = augment_voice(bursts, np.random.default_rng(seed))
    assert 0.8 < speed < 1.23 and len(made) == pytest.approx(len(bursts) / speed, abs=2)
    slowed = change_speed(made, 1 / speed)[: len(bursts)]
    assert abs(lag(bursts[: len(slowed)], slowed)) <= 3


def test_silence_stays_finite():
    assert np.isfinite(augment_sound(np.zeros(8000, np.float32), np.random.default_rng(0))).all()


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_faster_wave_is_shorter_and_its_events_come_earlier(factor):
    wave = np.zeros(SAMPLE_RATE, np.float32)
    wave[8000:8200] = np.hanning(200)
    made = change_speed(wave, factor)
    assert len(made) == pytest.approx(SAMPLE_RATE / factor, abs=2) and made.dtype == np.float32
    assert int(made.argmax()) == pytest.approx(8100 / factor, abs=3)


def test_colour_has_unit_power_and_its_slope():
    noise = color_noise(np.random.default_rng(0).standard_normal(1 << 15), 1.0)
    assert noise.std() == pytest.approx(1, rel=1e-3)
    power = np.abs(np.fft.rfft(noise)) ** 2
    ratio = power[100:200].mean() / power[1000:2000].mean()
    assert ratio == pytest.approx(100, rel=0.2)
