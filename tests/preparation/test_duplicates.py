"""The same moment is known again however it was stored, and another moment of the same person is not taken for it."""

import cv2
import numpy as np

from emo.preparation.report import find_duplicates, hash_picture, hash_sound


def test_a_clip_stored_anew_is_found_and_its_neighbours_are_not(draw):
    rng = np.random.default_rng(0)
    frame, other = draw(0.3, 192), 255 - draw(0.3, 192)
    waves = [np.repeat(rng.uniform(0, 0.5, 40), 1200) * rng.standard_normal(48000) for _ in range(3)]
    small = cv2.resize(frame, (100, 100), interpolation=cv2.INTER_AREA)
    noisy = np.clip(small + rng.normal(0, 3, small.shape), 0, 255).astype(np.uint8)
    clips = [
        (frame, waves[0]),
        (frame, waves[1]),  # the same person says something else
        (noisy, waves[0] * 0.4 + rng.normal(0, 1e-3, 48000)),  # the first again, smaller and softer
        (other, waves[0]),  # somebody else under the same sound
        (frame, waves[2]),
    ]
    hashes = [(hash_picture(picture), hash_sound(wave.astype(np.float32))) for picture, wave in clips]
    assert find_duplicates(hashes) == [[0, 2]]


def test_many_of_one_moment_are_one_group():
    hashes = [(0, 0), (2**64 - 1, 0), (1, 2**40), (3, 2**40 + 2**50)]
    assert find_duplicates(hashes) == [[0, 2, 3]] and find_duplicates([]) == []
