"""Measures of facial motion: given motions are measured in their own units, at any size of the picture."""

import numpy as np
import pytest

from emo.face.crop import region_of_landmarks
from emo.face.landmarks import RIGID_POINTS, mouth_opening
from emo.metrics.motion import blinks_per_minute, brow_dynamics, head_dynamics, lip_dynamics
from emo.metrics.stability import border_jump, color_drift, drift_per_minute, flicker, sharpness_drift
from emo.metrics.sync import find_silence, lip_volume_difference, measure_video_sync, silent_lip_stability

RNG = np.random.default_rng(0)
LEVEL = np.where(np.arange(150) % 50 < 25, RNG.uniform(-20, 0, 150), -35.0)  # dB: three times speech, then silence


@pytest.fixture(scope="module")
def still(footage) -> np.ndarray:
    """(150 68 2) of a face that does nothing."""
    return np.repeat(footage.landmarks[:1].astype(float), 150, axis=0)


def test_size_and_place_of_the_picture_do_not_matter(footage):
    larger = 3 * footage.landmarks.astype(float) + [50, -20]
    for measure in (lip_dynamics, head_dynamics, brow_dynamics, blinks_per_minute):
        assert measure(larger) == pytest.approx(measure(footage.landmarks), rel=1e-3), measure


def test_a_face_that_does_nothing_has_no_dynamics(still):
    for measure in (lip_dynamics, head_dynamics, brow_dynamics, blinks_per_minute):
        assert measure(still) == pytest.approx(0, abs=1e-9), measure


def test_lips_that_open_by_a_share_of_the_face_move_by_it(still):
    moved, side = still.copy(), region_of_landmarks(still[0]).side
    moved[::2, 48] += [0.05 * side, 0]  # one of twenty points: 19 of 190 pairs
    expected = np.linalg.norm(moved[:2, 48, None] - moved[:2, 49:68], axis=-1).std(0).sum() / 190 / side
    assert lip_dynamics(moved) == pytest.approx(100 * expected)


def test_the_head_moves_as_far_as_its_place_varies(still):
    side = region_of_landmarks(still[0]).side
    moved = still + 0.02 * side * np.where(np.arange(150) % 2, 1, -1)[:, None, None] * [1.0, 0.0]
    assert head_dynamics(moved) == pytest.approx(np.sqrt(2**2 / 2))


def test_the_head_turns_as_far_and_as_fast_as_it_is_turned(still):
    middle, roll = still[0, RIGID_POINTS].mean(0), np.radians(2) * np.where(np.arange(150) % 2, 1, -1)
    turns = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    moved = np.einsum("ijt,tkj->tki", turns, still - middle) + middle  # one of three angles, by 4 degrees a frame
    assert head_dynamics(moved) == pytest.approx(np.sqrt(2 / 3 * 4**2 / 3), rel=1e-3)


def test_brows_that_rise_by_a_hundredth_of_the_eyes_distance(still):
    apart = np.linalg.norm(still[0, 36:42].mean(0) - still[0, 42:48].mean(0))
    moved = still.copy()
    for brow, eye in ((slice(17, 22), slice(36, 42)), (slice(22, 27), slice(42, 48))):
        way = still[0, brow].mean(0) - still[0, eye].mean(0)
        moved[::2, brow] += 0.01 * apart * way / np.linalg.norm(way)
    assert brow_dynamics(moved) == pytest.approx(1.0)


def test_blinks_are_counted_and_resting_eyes_are_not(still):
    moved = still.copy()
    for start, count in ((10, 4), (40, 3), (60, 1), (80, 40)):  # the third is too short, the last too long
        moved[start : start + count, [41, 40, 47, 46]] = moved[start : start + count, [37, 38, 43, 44]]
    assert blinks_per_minute(moved) == pytest.approx(2 / (150 / 25 / 60))


def test_a_short_pause_is_no_silence():
    level = np.zeros(40)
    level[5:12] = level[20:28] = -35
    assert np.flatnonzero(find_silence(level)).tolist() == [*range(20, 28)]


def test_lips_that_rest_in_silence_are_stable():
    talk = np.where(LEVEL > -30, RNG.uniform(0, 0.2, 150), 0.03)
    assert silent_lip_stability(talk, LEVEL) == pytest.approx(0, abs=1e-9)
    restless = np.where(np.arange(150) % 2, 0.04, 0.02)  # 0.01 to either side of its mean
    assert silent_lip_stability(restless, LEVEL) == pytest.approx(1.0, rel=0.05)
    assert np.isnan(silent_lip_stability(talk, np.zeros(150)))  # no silence


def test_a_mouth_as_open_as_the_voice_is_loud_has_no_difference():
    amplitude = 10 ** (LEVEL / 20)
    assert lip_volume_difference(0.3 * amplitude + 0.1, LEVEL) == pytest.approx(0, abs=1e-9)
    speech = LEVEL > -25
    against = lip_volume_difference(-amplitude, LEVEL)
    stretched = (amplitude[speech] - amplitude[speech].min()) / np.ptp(amplitude[speech])
    assert against == pytest.approx(np.abs(1 - 2 * stretched).mean())


def test_a_mouth_that_never_moves_follows_nothing_and_has_no_lag():
    values = measure_video_sync(np.ones(150), LEVEL)
    assert values.correlation == 0 and np.isnan([values.best_lag_frames, values.silence_spread]).all()


def test_a_mouth_without_sound_has_no_sync(footage):
    shown = mouth_opening(footage.landmarks)
    values = measure_video_sync(shown, np.full(len(shown), np.nan))
    assert np.isnan([values.correlation, values.best_lag_frames, values.silence_spread]).all()
    assert np.isnan(lip_volume_difference(shown, np.full(len(shown), np.nan)))
    assert np.isnan(silent_lip_stability(shown, np.full(len(shown), np.nan)))


def test_flicker_is_what_light_does_from_frame_to_frame():
    assert flicker(50 + np.arange(30.0)) == pytest.approx(0, abs=1e-9)
    assert flicker(50 + np.where(np.arange(30) % 2, 0.5, -0.5)) == pytest.approx(1.0)


def test_drift_is_a_change_per_minute():
    ramp = np.arange(250.0) / 1500  # one a minute
    assert drift_per_minute(ramp) == pytest.approx(1.0, rel=0.01)
    assert sharpness_drift(2 - ramp) == pytest.approx(-100 / (2 - ramp).mean(), rel=0.01)
    color = np.stack([50 + 9 * ramp, 3 * ramp, -4 * ramp], -1)
    assert color_drift(color) == pytest.approx(5.0, rel=0.01)  # light is not color
    assert np.isnan(drift_per_minute(ramp[:100]))


def test_a_border_jump_is_measured_from_frame_changes():
    change = np.where(np.arange(61) % 6 == 0, 3.0, 1.0)  # frame 6 is the first of the second window
    assert border_jump(change, 6) == pytest.approx(3.0)
    assert border_jump(change, 7) == pytest.approx(1.0)
