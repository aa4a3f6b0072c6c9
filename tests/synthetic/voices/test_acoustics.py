"""Sound as users have it: its length and its time stay, and what is asked for is there."""

import numpy as np
import pytest

from emo.synthetic.voices.acoustics import (
    MP3_RATES_KBPS,
    RecordingConditions,
    draw_recording_conditions,
    find_delay,
    make_room_response,
    simulate_mp3,
    simulate_recording,
    simulate_telephone,
)
from emo.synthetic.voices.music import draw_song, make_music

RATE = 16000


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """(S,) noise in bursts: its place is found to the sample."""
    random = np.random.default_rng(0)
    return 0.2 * random.standard_normal(RATE) * (np.arange(RATE) % 4000 < 2500)


@pytest.mark.parametrize("seed", range(16))
def test_length_and_time_stay(voice, seed):
    conditions = draw_recording_conditions(np.random.default_rng(seed))
    wave = simulate_recording(voice, RATE, conditions)
    assert wave.dtype == np.float32 and wave.shape == voice.shape
    assert np.isfinite(wave).all() and np.abs(wave).max() <= 1
    assert abs(find_delay(voice, wave, RATE)) <= 16
    assert wave.tobytes() == simulate_recording(voice, RATE, conditions).tobytes()


@pytest.mark.parametrize("kbps", MP3_RATES_KBPS)
def test_mp3_has_no_delay(voice, kbps):
    assert find_delay(voice, simulate_mp3(voice, RATE, kbps), RATE) == 0


def test_all_kinds_are_drawn_and_some_stay_clean():
    drawn = [draw_recording_conditions(np.random.default_rng(seed)) for seed in range(300)]
    assert 0.13 < np.mean([c.is_clean for c in drawn]) < 0.35
    for name in ("reverb_seconds", "noise_snr_db", "music_snr_db", "mp3_kbps"):
        assert 0.03 < np.mean([getattr(c, name) is not None for c in drawn]) < 0.6
    assert any(c.is_telephone for c in drawn)
    assert all(-34 <= c.level_dbfs <= -14 for c in drawn)


def test_clean_is_the_voice_itself(voice):
    wave = simulate_recording(voice, RATE, RecordingConditions(0, level_dbfs=-30))
    assert np.corrcoef(wave, voice)[0, 1] > 0.999999


def test_noise_is_as_loud_as_asked(voice):
    for snr in (5.0, 20.0):
        wave = simulate_recording(voice, RATE, RecordingConditions(1, noise_snr_db=snr)).astype(float)
        speaks = voice != 0
        noise = np.square(wave[~speaks]).mean()
        assert 10 * np.log10((np.square(wave[speaks]).mean() - noise) / noise) == pytest.approx(snr, abs=1.5)


def test_a_room_decays_by_sixty_decibels_in_its_time():
    response = make_room_response((5.0, 4.0, 2.5), 0.5, RATE, np.random.default_rng(2))
    assert response[0] == 1.0
    energy = np.cumsum(np.square(response[1000:])[::-1])[::-1]
    level = 10 * np.log10(energy / energy[0])
    fell = level[round(0.2 * RATE)]
    assert -32 < fell < -18  # 24 dB in two fifths of the time


def test_a_telephone_has_its_band(voice):
    spectrum = np.abs(np.fft.rfft(simulate_telephone(voice, RATE)))
    hertz = np.fft.rfftfreq(len(voice), 1 / RATE)
    inside = spectrum[(hertz > 500) & (hertz < 3000)].mean()
    assert spectrum[hertz > 4200].mean() < 0.05 * inside and spectrum[hertz < 100].mean() < 0.1 * inside


def test_music_fills_its_time_and_is_the_same_again():
    first, second = (make_music(2 * RATE, RATE, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (2 * RATE,) and first.tobytes() == second.tobytes()
    assert np.square(first).reshape(8, -1).mean(1).min() > 1e-5


def test_a_song_holds_vowels_and_tells_its_phonemes():
    song = draw_song(4.0, np.random.default_rng(1))
    phonemes = song.voice.phonemes
    vowels = [p.end_seconds - p.start_seconds for p in phonemes if p.ipa in set("aeiou")]
    consonants = [p.end_seconds - p.start_seconds for p in phonemes if p.ipa and p.ipa not in set("aeiou")]
    assert max(vowels) > 0.6 and max(consonants) < 0.2
    assert phonemes[-1].end_seconds == pytest.approx(song.voice.seconds, abs=0.01)
    wave = song.voice.wave / 32768
    level = [np.square(wave[int(p.start_seconds * 24000) : int(p.end_seconds * 24000)]).mean() for p in phonemes]
    silent = [value for value, p in zip(level, phonemes, strict=True) if not p.ipa]
    assert max(silent) < 0.2 * max(level)
