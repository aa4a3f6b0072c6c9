"""Faults of a picture are measured, and what only resembles a fault is not taken for one."""

import cv2
import numpy as np
import pytest

from emo.face.crop import region_of_landmarks
from emo.face.tracking import Track
from emo.media.image import measure_sharpness, read_image
from emo.preparation.filters import ClipLimits
from emo.preparation.quality import (
    FACE_MASK,
    choose_bursts,
    count_letter_strokes,
    find_content_box,
    measure_motion,
    measure_quality,
    to_gray,
)

LIMITS = ClipLimits()
TEXT = "She said nothing at all that day"


@pytest.fixture(scope="module")
def portrait(samples) -> np.ndarray:
    return read_image(samples / "portrait.png")


@pytest.fixture
def talk(draw, mesh_of, openings):
    """talk(edit) -> 50 frames (320 400 3) of the drawn head, each through `edit(frame, index)`, and its track."""
    from emo.face.landmarks import MEDIAPIPE_TO_IBUG

    def make(edit=lambda frame, index: frame):
        frames, landmarks = [], []
        for index, opening in enumerate(openings):
            x, y = 104 + index % 3, 64
            frame = np.full((320, 400, 3), (120, 140, 160), np.uint8)
            frame[y : y + 192, x : x + 192] = draw(opening)
            frames.append(edit(frame, index))
            landmarks.append(mesh_of(opening)[MEDIAPIPE_TO_IBUG] * 192 + [x, y])
        return frames, Track(0, np.float32(landmarks))

    return make


@pytest.fixture
def measure(keep_patches):
    """measure(frames, track) -> TrackQuality."""
    return lambda frames, track: measure_quality(track, keep_patches(frames, [track]))


def write(frame: np.ndarray, y: int, height: float = 0.7) -> np.ndarray:
    for ink, weight in ((0, 3), (255, 1)):
        cv2.putText(frame, TEXT, (40, y), cv2.FONT_HERSHEY_SIMPLEX, height, (ink,) * 3, weight, cv2.LINE_AA)
    return frame


def test_a_talking_face_has_nothing_against_it(talk, measure):
    frames, track = talk()
    quality = measure(frames, track)
    assert quality.sharpness > LIMITS.min_sharpness and quality.motion > 2 * LIMITS.min_motion
    assert quality.bars_ratio == quality.offscreen_ratio == 0 and quality.letter_strokes < LIMITS.max_letter_strokes / 2


def test_sharpness_is_that_of_the_blur_whatever_the_light(portrait):
    face = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    dim = (0.4 * face + 60).astype(np.uint8)
    sharp = measure_sharpness(to_gray(face), FACE_MASK)
    assert sharp > 1.5 * LIMITS.min_sharpness
    assert measure_sharpness(to_gray(dim), FACE_MASK) == pytest.approx(sharp, rel=0.1)
    for sigma in (2.5, 4.0):  # pixels of 128: the eyes are spots
        assert measure_sharpness(to_gray(cv2.GaussianBlur(face, (0, 0), sigma)), FACE_MASK) < LIMITS.min_sharpness
    step = np.repeat(np.where(np.arange(128) < 64, 40, 200)[None], 128, axis=0).astype(np.float32)
    soft = [cv2.GaussianBlur(step, (0, 0), s).astype(np.uint8) for s in (2.0, 4.0)]
    assert [
        measure_sharpness(step, FACE_MASK) * 2 * (s**2 + 1) for step, s in zip(soft, (2, 4), strict=True)
    ] == pytest.approx([1, 1], rel=0.15)


def test_a_photo_stands_still_under_noise_and_light(portrait):
    face = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA).astype(float)
    random = np.random.default_rng(0)
    photo = [np.clip(face + random.normal(0, 8, face.shape) + 5 * np.sin(t), 0, 255).astype(np.uint8) for t in range(9)]
    assert measure_motion(photo) < LIMITS.min_motion


@pytest.mark.parametrize("box", [(0, 40, 320, 200), (60, 0, 260, 240), (0, 0, 320, 240), (0, 30, 320, 240)])
def test_the_picture_inside_of_bars_is_found(box):
    x0, y0, x1, y1 = box
    picture = np.random.default_rng(0).integers(0, 12, (240, 320)).astype(np.uint8)
    picture[y0:y1, x0:x1] = 90
    assert find_content_box(picture) == box


def test_the_dark_around_a_lit_face_is_no_bar():
    dark = np.full((240, 320), 8, np.uint8)
    cv2.circle(dark, (160, 120), 70, 180, -1)
    assert find_content_box(dark) == (0, 0, 320, 240) == find_content_box(0 * dark)


def test_bars_count_by_the_share_of_the_square_they_hide(talk, measure):
    def barred(frame, index):
        frame[:, :160] = 0
        return frame

    frames, track = talk(barred)
    quality = measure(frames, track)
    region = region_of_landmarks(track.landmarks[1])
    hidden = (160 - (region.center[0] - region.side / 2)) / region.side
    assert quality.bars_ratio == pytest.approx(hidden, abs=0.05) and quality.bars_ratio > LIMITS.max_bars_ratio


def test_a_face_that_the_frame_cuts_off_is_outside_by_that_share(talk, measure):
    frames, track = talk()
    region = region_of_landmarks(track.landmarks[1])
    left = round(region.center[0] - region.side / 2 + 0.3 * region.side)
    cut = Track(0, track.landmarks - np.float32([left, 0]))
    assert measure([frame[:, left:] for frame in frames], cut).offscreen_ratio == pytest.approx(0.3, abs=0.05)


def test_writing_counts_over_the_mouth_only(talk, measure):
    mouth, below = 64 + 142, 64 + 225
    written = [talk(lambda frame, index, y=y: write(frame, y)) for y in (mouth, below)]
    over, under = (measure(frames, track).letter_strokes for frames, track in written)
    assert over > LIMITS.max_letter_strokes > 2 * under


def test_writing_stands_still_and_hair_is_none():
    line = write(np.zeros((64, 400, 3), np.uint8) + 120, 40)[:, 40:168, 0]
    assert count_letter_strokes(np.stack([line] * 3)) > LIMITS.max_letter_strokes
    stripes = np.tile(np.where(np.arange(128) % 12 < 3, 220, 100).astype(np.uint8), (64, 1))
    assert (
        count_letter_strokes(np.stack([stripes] * 3))
        > LIMITS.max_letter_strokes
        > 2 * count_letter_strokes(np.stack([np.roll(stripes, 4 * k, axis=1) for k in range(3)]))
    )
    hair = np.random.default_rng(0).normal(110, 8, (3, 64, 128)).clip(0, 255).astype(np.uint8)
    assert count_letter_strokes(np.stack([hair[0]] * 3)) < LIMITS.max_letter_strokes / 2


def test_subtitles_of_a_moment_are_found(talk, measure):
    frames, track = talk(lambda frame, index: write(frame, 206) if 25 <= index else frame)
    assert measure(frames, track).letter_strokes > LIMITS.max_letter_strokes


def test_each_track_has_its_own_frames(talk, keep_patches):
    frames, track = talk(lambda frame, index: write(frame, 206) if index < 20 else frame)
    tracks = [Track(0, track.landmarks[:20]), Track(20, track.landmarks[20:40])]
    patches = keep_patches(frames, tracks)
    first, last = (measure_quality(part, patches) for part in tracks)
    assert first.letter_strokes > LIMITS.max_letter_strokes > last.letter_strokes
    assert np.isnan(measure_quality(Track(5, np.full((10, 68, 2), np.nan, np.float32)), patches).sharpness)


def test_bursts_go_over_the_whole_piece_where_the_face_is_seen():
    landmarks = np.zeros((1250, 68, 2), np.float32)
    landmarks[3:6] = np.nan
    found = choose_bursts(Track(0, landmarks))
    numbers = {number for burst in found for number in burst}
    assert len(found) == 25 and min(numbers) == 0 and max(numbers) == 1249 and not numbers & {3, 4, 5}
    assert len(choose_bursts(Track(0, landmarks[10:20]))) == 8
