"""A mouth that opens before the voice, or stays open in silence, is measured as what it was made to do."""

import numpy as np
import pytest

from emo.core.timing import FPS, SAMPLE_RATE
from emo.media.audio import loudness, read_audio
from emo.metrics.sync import measure_onset_lead, opening_amplitude, silence_opening

RNG = np.random.default_rng(0)
VOICE = np.tile(np.repeat([False, True], [25, 40]), 3)  # three times a second of silence, then 1.6 s of voice
LEVEL = np.where(VOICE, RNG.uniform(-15, 0, len(VOICE)), -35.0)
TALK = np.where(VOICE, 0.06 + 0.02 * np.sin(np.arange(len(VOICE))), 0.01)  # in step with the voice, nearly closed


@pytest.mark.parametrize("early", [-5, -1, 0, 2, 6, 9])
def test_the_lead_is_as_long_as_the_mouth_is_early(early):
    found = measure_onset_lead(np.roll(TALK, -early), LEVEL)
    assert found.lead_ms == pytest.approx(40 * early, abs=40)
    assert (found.early_opening > 0.5) == (early > 2) and (found.early_opening < 0.01) == (early <= 2)


def test_a_mouth_that_opens_halfway_too_early_is_half_early():
    opening = TALK.copy()
    opening[65 + 17] = opening[130 + 17] = opening[17] = 0.01 + 0.5 * (np.quantile(TALK[VOICE], 0.95) - 0.01)
    assert measure_onset_lead(opening, LEVEL).early_opening == pytest.approx(0.5)


def test_a_mouth_that_never_opens_for_the_voice_is_as_late_as_can_be():
    opening = np.where(np.arange(len(TALK)) % 65 < 40, 0.01, 0.08)  # 15 frames after the voice has begun
    assert measure_onset_lead(opening, LEVEL).lead_ms == -400


@pytest.mark.parametrize(
    ("opening", "level"),
    [(TALK, np.where(np.arange(len(TALK)) % 20 < 10, LEVEL.max(), -35.0)), (TALK, np.full(len(TALK), np.nan))]
    + [(np.full(len(TALK), 0.02), LEVEL), (TALK, np.where(VOICE, LEVEL, -30.0))],
    ids=["pauses too short", "no sound", "mouth never moves", "no silence"],
)
def test_without_onset_or_opening_there_is_no_lead(opening, level):
    found = measure_onset_lead(opening, level)
    assert np.isnan(found.lead_ms) and np.isnan(found.early_opening)


def test_the_lead_before_a_song_after_a_second_of_silence(samples):
    song = read_audio(samples / "song.wav", SAMPLE_RATE)
    first = np.flatnonzero(loudness(song, SAMPLE_RATE, 150, FPS) > loudness(song, SAMPLE_RATE, 150, FPS).max() - 25)[0]
    wave = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), song[first * SAMPLE_RATE // 25 :]])
    level = loudness(wave, SAMPLE_RATE, 100, FPS)
    follows = np.convolve(10 ** (level / 20), [0.25, 0.5, 0.25], "same")
    ahead = measure_onset_lead(np.roll(follows, -6), level)
    assert abs(measure_onset_lead(follows, level).lead_ms) <= 40
    assert ahead.lead_ms == pytest.approx(240, abs=40) and ahead.early_opening > 0.2


def test_opening_in_silence_is_a_share_of_that_in_speech():
    assert silence_opening(np.where(VOICE, 0.06, 0.015), LEVEL) == pytest.approx(0.25)
    assert np.isnan(silence_opening(np.zeros(len(VOICE)), LEVEL))
    assert np.isnan(silence_opening(TALK, np.zeros(len(VOICE))))


def test_the_amplitude_is_what_one_frame_in_twenty_exceeds():
    assert opening_amplitude(np.arange(101) / 1000) == pytest.approx(0.095)
