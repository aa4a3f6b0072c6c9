"""The measures find what was put there."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.face.landmarks import mouth_opening
from emo.media.audio import LOUDNESS_RANGE_DB, loudness
from emo.metrics.stability import border_jump_ratio, frame_differences
from emo.metrics.sync import compare_openings, measure_mouth_audio_sync

RNG = np.random.default_rng(0)
LEVEL = np.convolve(RNG.standard_normal(210), np.ones(5) / 5, mode="valid")[:200] * 20 - 20


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_a_late_mouth_is_found_late(late):
    found = measure_mouth_audio_sync(np.roll(LEVEL, late), LEVEL)
    assert found.best_lag_frames == late
    assert (found.correlation > 0.99) == (late == 0)


def test_a_mouth_that_moves_in_silence_is_detected():
    level = np.where(np.arange(200) % 50 < 25, -80.0, RNG.uniform(-20, 0, 200))
    level = np.maximum(level, level.max() - LOUDNESS_RANGE_DB)
    still = np.where(level < -30, 0.0, RNG.uniform(0, 1, 200))
    restless = RNG.uniform(0, 1, 200)
    assert measure_mouth_audio_sync(still, level).silence_spread < 0.01
    assert measure_mouth_audio_sync(restless, level).silence_spread > 0.7


def test_too_few_frames_are_refused():
    with pytest.raises(InputError, match="too few"):
        measure_mouth_audio_sync(LEVEL[:20], LEVEL[:20])


def test_agreement_knows_size_and_shift():
    same = compare_openings(0.5 * LEVEL + 3, LEVEL)
    assert (
        same.correlation == pytest.approx(1) and same.amplitude == pytest.approx(0.5) and same.shifted_correlation < 0.5
    )


def test_opening_is_the_gap_over_the_height_of_the_face():
    points = np.zeros((2, 68, 2))
    points[:, 8] = [0, 100]  # chin, the brows at 0
    points[1, 65:68] = [0, 10]  # lower lip
    np.testing.assert_allclose(mouth_opening(points), [0, 0.1])


def test_loudness_lands_on_its_frame_and_is_clipped():
    wave = np.zeros(16000, np.float32)
    wave[6400:7040] = 0.5  # frame 10 of 25
    level = loudness(wave, 16000, 25, 25.0)
    assert level.argmax() == 10
    np.testing.assert_allclose(np.delete(level, 10), level.max() - LOUDNESS_RANGE_DB)


def test_a_jump_between_windows_is_seen():
    ramp = np.arange(36)[:, None, None, None] * 2
    smooth = np.broadcast_to(ramp, (36, 4, 4, 3)).astype(np.uint8)
    jumping = smooth + np.repeat([0, 20, 40], 12)[:, None, None, None].astype(np.uint8)
    assert border_jump_ratio({0: frame_differences(smooth)}, 12) == pytest.approx(1)
    assert border_jump_ratio({0: frame_differences(jumping)}, 12) == pytest.approx(11)
    assert np.isnan(border_jump_ratio({0: frame_differences(smooth[:12])}, 12))


def test_a_sound_in_step_with_the_windows_is_no_jump():
    beat = np.where(np.arange(1, 60) % 6 == 0, 5.0, 1.0)  # what the sound does, by moment
    steady = {late: beat[late:] for late in (0, 3)}
    assert border_jump_ratio({0: beat}, 6) == 5 and border_jump_ratio(steady, 6) == 1
    jumping = {late: run + 2.0 * (np.arange(1, len(run) + 1) % 6 == 0) for late, run in steady.items()}
    assert border_jump_ratio(jumping, 6) == pytest.approx(5 / 3)  # medians of 3 and 7, of 1 and 5
