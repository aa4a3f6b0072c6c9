"""Motion of the head: what is drawn has the distributions that its sources give."""

import numpy as np
import pytest

from emo.synthetic.espeak import Phoneme
from emo.synthetic.heads.emotions import EMOTION_NAMES, LIP_OPENING_NAMES, draw_emotions
from emo.synthetic.heads.head_motion import LIMITS_RADIANS, HeadMotion, draw_head_motion, measure_speed
from emo.synthetic.heads.prosody import Prosody, estimate_prosody, measure_prosody

FPS, FRAMES = 25.0, 500
PROSODY = Prosody(np.arange(0.5, 19.5, 0.6), np.linspace(0, 1, 32), np.array([[4.0, 4.5], [9.0, 9.4], [15.0, 15.6]]))


@pytest.fixture(scope="module")
def motions() -> list[HeadMotion]:
    return [draw_head_motion(PROSODY, FRAMES, FPS, np.random.default_rng(seed)) for seed in range(60)]


def test_speeds_cover_the_whole_range(motions):
    speeds = np.array([np.quantile(measure_speed(m.head_radians, FPS), 0.95) for m in motions])
    assert speeds.max() <= 1.55 and speeds.min() < 0.1
    assert (speeds > 0.8).any() and 0.3 < np.median(speeds) < 0.7
    for speed in (0.3, 1.5):
        head = draw_head_motion(PROSODY, FRAMES, FPS, np.random.default_rng(3), speed=speed).head_radians
        assert np.quantile(measure_speed(head, FPS), 0.95) == pytest.approx(speed, rel=0.05)


def test_angles_stay_where_a_photograph_can_be_turned(motions):
    assert all((np.abs(m.head_radians) <= LIMITS_RADIANS).all() for m in motions)
    assert all((np.abs(m.translation) <= 0.08).all() for m in motions)


def test_heads_nod_with_accents():
    near = np.zeros(FRAMES, bool)
    for accent in PROSODY.accents_seconds[::2]:
        near[int(accent * FPS) - 4 : int(accent * FPS) + 5] = True
    half = Prosody(PROSODY.accents_seconds[::2], PROSODY.accent_strengths[::2], PROSODY.pauses_seconds)
    ratios = []
    for seed in range(20):
        head = draw_head_motion(half, FRAMES, FPS, np.random.default_rng(seed), speed=0.4).head_radians
        speed = np.abs(np.gradient(head[:, 1]))
        ratios.append(speed[near].mean() / speed[~near].mean())
    assert np.mean(ratios) > 1.3


def test_blinks_are_as_frequent_and_long_as_peoples(motions):
    rates = [len(m.blink_spans) * 60 / (FRAMES / FPS) for m in motions]
    durations = np.concatenate([m.blink_spans[:, 1] for m in motions])
    assert 8 < np.mean(rates) < 21
    assert durations.min() >= 0.1 and durations.max() <= 0.4 and 0.15 < np.median(durations) < 0.25
    for m in motions:
        for start, duration in m.blink_spans:
            if start > 0 and start + duration < FRAMES / FPS:
                inside = slice(int(start * FPS), int((start + duration) * FPS) + 1)
                assert m.blink[inside].max() > 0.93  # a frame shows it closed, however short it is


def test_blinks_come_at_pauses(motions):
    starts = np.concatenate([m.blink_spans[:, 0] for m in motions])
    at_pauses = np.mean([(np.abs(starts - pause - 0.075) < 0.1).mean() for pause in PROSODY.pauses_seconds[:, 0]])
    elsewhere = np.mean([(np.abs(starts - time) < 0.1).mean() for time in (2.0, 6.5, 12.0, 18.0)])
    assert at_pauses > 2 * elsewhere


def test_eyes_rest_on_the_camera_most_of_the_time_while_the_head_turns(motions):
    seen = np.concatenate([m.gaze_radians + m.head_radians[:, :2] for m in motions])
    assert 0.6 < (np.linalg.norm(seen, axis=1) < np.radians(4)).mean() < 0.95
    assert max(np.abs(m.gaze_radians).max() for m in motions) <= 0.5


def test_gaze_rests_and_leaps(motions):
    still = np.concatenate(
        [np.linalg.norm(np.diff(m.gaze_radians + m.head_radians[:, :2], axis=0), axis=1) for m in motions]
    )
    assert (still < 1e-6).mean() > 0.75 and still.max() > np.radians(5)


def test_distance_covers_its_range(motions):
    scales = np.array([m.scale.mean() for m in motions])
    assert scales.min() < 0.78 and scales.max() > 1.2
    assert all(((m.scale >= 0.7) & (m.scale <= 1.3)).all() for m in motions)


def test_brows_rise_just_before_accents():
    lone = Prosody(np.array([5.0]), np.array([1.0]), np.zeros((0, 2)))
    raised = np.mean([draw_head_motion(lone, 250, FPS, np.random.default_rng(s)).brow_raise for s in range(60)], axis=0)
    assert 4.5 < raised.argmax() / FPS < 5.2 and raised[50] == 0


def test_all_emotions_come_and_none_opens_closed_lips():
    tracks = [draw_emotions(250, FPS, np.random.default_rng(seed)) for seed in range(40)]
    assert {k for t in tracks for k in np.unique(t.kind)} == set(range(len(EMOTION_NAMES)))
    for track in tracks:
        assert (track.strength[track.kind == 0] == 0).all() and track.strength.max() <= 1
        assert np.abs(np.diff(track.strength)).max() < 0.12
        opening = [c for name, c in track.to_expression(np.ones(250)).items() if name.startswith(LIP_OPENING_NAMES)]
        assert all((curve == 0).all() for curve in opening)


def test_the_same_seed_gives_the_same_motion():
    first, second, other = (draw_head_motion(PROSODY, 100, FPS, np.random.default_rng(s)) for s in (4, 4, 5))
    for name in ("head_radians", "translation", "scale", "gaze_radians", "blink", "brow_raise"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.head_radians.tobytes() != other.head_radians.tobytes()


def test_rhythm_finds_syllables_and_pauses(wave):
    prosody = estimate_prosody(wave, 16000)
    assert len(prosody.pauses_seconds) >= 2 and len(prosody.accents_seconds) >= 3
    phonemes = [Phoneme("ˈa", 0.0, 0.3), Phoneme("", 0.3, 0.5), Phoneme("a", 0.5, 0.8)]
    told = measure_prosody(phonemes, wave, 16000)
    assert told.accents_seconds.tolist() == [0.15] and told.pauses_seconds.tolist() == [[0.3, 0.5]]
