"""A cut is found at its frame; a pan, a flash of light in a face and a still are none."""

import cv2
import numpy as np
import pytest

from emo.media.shots import find_shots


@pytest.fixture
def scene():
    """scene(seed, T, speed) -> T frames (90 160 3) of a smooth random world that moves by `speed` pixels a frame."""

    def make(seed: int, count: int, speed: float) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        world = cv2.resize(rng.integers(0, 255, (5, 30, 3), dtype=np.uint8), (900, 90), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 3, (count, 90, 160, 3))
        views = [world[:, round(t * speed) : round(t * speed) + 160] for t in range(count)]
        return [np.clip(view + n, 0, 255).astype(np.uint8) for view, n in zip(views, noise, strict=True)]

    return make


@pytest.mark.parametrize("speed", [0, 1, 4])
def test_cuts_are_found_at_their_frames(scene, speed):
    frames = scene(0, 20, speed) + scene(1, 33, speed) + scene(2, 8, speed)
    assert find_shots(frames) == [(0, 20), (20, 53), (53, 61)]


@pytest.mark.parametrize("speed", [0, 2, 12])
def test_a_still_or_a_fast_pan_is_one_shot(scene, speed):
    assert find_shots(scene(0, 40, speed)) == [(0, 40)]


def test_a_slow_fade_and_a_moving_mouth_are_no_cuts(scene, draw):
    frames = [np.uint8(f * (1 - t / 40)) for t, f in enumerate(scene(0, 40, 1))]
    assert find_shots(frames) == [(0, 40)]
    assert find_shots([draw(t % 5 / 4) for t in range(20)]) == [(0, 20)]


def test_no_frames_are_no_shots():
    assert find_shots([]) == []
