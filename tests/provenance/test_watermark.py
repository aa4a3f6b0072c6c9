"""The watermark is invisible, survives, and is not found where it is not."""

import cv2
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.provenance.detection import Evidence, find_watermark, sum_frames
from emo.provenance.watermark import Watermark, choose_watermark


def look_at(*frames: np.ndarray, thorough: bool = True):
    return find_watermark(Evidence(sum_frames(frames, len(frames)), 1.0, 1.0), thorough=thorough)


def recompress(frame: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize("size", [(256, 256), (720, 1280)])
def test_the_difference_is_small_and_grey(picture, payload, size):
    frame = cv2.resize(picture, size[::-1])
    marked = Watermark(payload).mark(frame)
    difference = marked.astype(int) - frame
    assert marked.shape == frame.shape and marked.dtype == np.uint8
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 44
    inside = (frame.min(-1) > 10) & (frame.max(-1) < 245)
    assert np.ptp(difference[inside], axis=-1).max() == 0  # luma only


def test_even_areas_are_marked_less_than_texture(picture, payload):
    even = np.full_like(picture, 128)
    change = [np.abs(Watermark(payload).mark(frame).astype(int) - frame).mean() for frame in (even, picture)]
    assert change[0] < 0.85 * change[1]


def test_a_resting_picture_stays_one(picture, payload):
    watermark = Watermark(payload)
    assert np.array_equal(watermark.mark(picture), watermark.mark(picture))


ATTACKS = {
    "none": lambda f: f,
    "JPEG": lambda f: recompress(f, 40),
    "half": lambda f: cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "mirrored": lambda f: np.ascontiguousarray(f[:, ::-1]),
    "dark": lambda f: (f * 0.6).astype(np.uint8),
    "crop": lambda f: f[30:338, 50:434],
    "border": lambda f: cv2.copyMakeBorder(f, 40, 40, 40, 40, cv2.BORDER_CONSTANT),
    "turned": lambda f: cv2.warpAffine(f, cv2.getRotationMatrix2D((240, 192), 4, 1), (480, 384)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_is_found_and_read(picture, payload, attack):
    found = look_at(ATTACKS[attack](Watermark(payload).mark(picture)))
    assert found.found and found.false_alarm_probability < 1e-6 and found.payload == payload
    assert found.place.mirrored == (attack == "mirrored")
    assert found.place.scale == pytest.approx({"crop": 0.802, "border": 1.208}.get(attack, 1), abs=0.01)
    assert abs(found.place.degrees) == pytest.approx(4 if attack == "turned" else 0, abs=0.5)


def test_it_is_not_found_where_it_is_not(picture):
    rng = np.random.default_rng(3)
    for frame in (picture, rng.integers(0, 256, (256, 256, 3), np.uint8), np.full((128, 128, 3), 200, np.uint8)):
        found = look_at(frame)
        assert not found.found and found.payload is None and found.false_alarm_probability > 1e-3


def test_unmarked_pictures_keep_the_promised_probability(picture):
    """Over 100 crops of an unmarked picture, a bound of p is reached by at most about p of them."""
    rng = np.random.default_rng(4)
    crops = [picture[y : y + 200, x : x + 200] for y, x in rng.integers(0, 180, (100, 2))]
    probabilities = [look_at(crop, thorough=False).false_alarm_probability for crop in crops]
    assert min(probabilities) > 1e-4 and np.mean(np.array(probabilities) < 0.1) <= 0.1


def test_the_seconds_of_a_video_are_told(picture, payload):
    watermark = Watermark(payload)
    frames = [picture] * 16 + [watermark.mark(picture)] * 16 + [picture] * 8
    found = find_watermark(Evidence(sum_frames(frames, 8), 1.0, 5.0))
    assert found.found and found.payload == payload and found.seconds == ((2.0, 4.0),)


def test_tiny_frames_are_left_alone(payload):
    frame = np.full((32, 64, 3), 100, np.uint8)
    assert np.array_equal(Watermark(payload).mark(frame), frame)


def test_the_choice(payload):
    mine = Watermark(payload)
    assert choose_watermark(mine, "mini") is mine and choose_watermark(None, "mini") is None
    assert choose_watermark("auto", "mini").payload != choose_watermark("auto", "mini").payload
    with pytest.raises(InputError, match='"auto"'):
        choose_watermark("yes", "mini")
