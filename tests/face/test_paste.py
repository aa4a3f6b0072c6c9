"""A moving face takes its colours from its portrait's neighbourhood, its light from itself."""

import cv2
import numpy as np

from emo.face.paste import ColorLimiter, chromaticity, lift_dark


def test_the_portraits_own_pixels_stay_bit_for_bit(portrait):
    noisy = np.random.default_rng(0).integers(0, 256, portrait.shape, np.uint8)
    for still in (portrait, noisy, np.zeros_like(portrait)):
        assert np.array_equal(ColorLimiter(still, 1 / 32).limit(still), still)
    bound = ColorLimiter(portrait, 1 / 32).limit(np.roll(portrait, 3, axis=0))
    changed = np.abs(bound.astype(int) - np.roll(portrait, 3, axis=0)).max(-1) > 8
    assert changed[4:].mean() < 0.05  # edges, where the portrait's colours are blurred


def test_a_tinge_is_removed_and_light_stays(portrait):
    tinged = portrait.copy()
    tinged[140:150, 80:110] = [120, 150, 230]  # blue on the chin
    bound = ColorLimiter(portrait, 1 / 32).limit(tinged)
    near = chromaticity(lift_dark(portrait))[134:156, 74:116].reshape(-1, 3)
    found = chromaticity(lift_dark(bound))[140:150, 80:110]
    assert (found > near.min(0) - 0.01).all() and (found < near.max(0) + 0.01).all()
    light = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(int) for picture in (tinged, bound)]
    assert np.abs(light[0] - light[1]).max() <= 2
    assert np.array_equal(bound[:140], tinged[:140])


def test_a_color_beyond_the_reach_is_limited(portrait):
    lips, palette = portrait[137, 96].astype(int), ColorLimiter(portrait, 1 / 32)

    def change(row: int) -> int:
        painted = portrait.copy()
        painted[row, 90:102] = lips
        return np.abs(palette.limit(painted)[row, 92:100].astype(int) - lips).max()

    assert change(131) < 25 < 45 < change(26)  # the lips' edge is 3 pixels away, or 108


def test_dark_pixels_give_no_color(portrait):
    scene = np.full((128, 128, 3), (200, 150, 120), np.uint8)
    scene[:, 64:] = (20, 10, 60)  # dark violet beside skin
    moved = scene.copy()
    moved[:, 64:70] = (150, 110, 140)  # skin came over it, in a violet tinge
    red, green, blue = ColorLimiter(scene, 1 / 16).limit(moved)[64, 66].astype(float)
    assert red > green > blue
