"""A converter that only converts what changed gives the frames of the full conversion."""

import numpy as np
import pytest

from emo.media.color import YuvConverter, changed_window, to_upright_rgb, to_yuv


@pytest.mark.parametrize("size", [(128, 192), (127, 191), (64, 65), (33, 400)])
def test_what_changed_is_converted_as_the_whole_frame(size):
    rng = np.random.default_rng(0)
    frame, converter = rng.integers(0, 256, (*size, 3), dtype=np.uint8), YuvConverter()
    for index in range(40):
        expected, picture = to_yuv(frame), converter.convert(frame)
        np.testing.assert_array_equal(picture.to_ndarray(), expected.to_ndarray())
        assert (picture.colorspace, picture.color_range) == (expected.colorspace, expected.color_range)
        y, x = rng.integers(0, size)
        h, w = rng.integers(1, 40, 2)
        frame = frame if index % 3 else frame.copy()  # the caller may draw into the same array
        part = frame[y : y + h, x : x + w]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8) if index % 4 else part
    frame[-1, -1] = 255 - frame[-1, -1]
    np.testing.assert_array_equal(converter.convert(frame).to_ndarray(), to_yuv(frame).to_ndarray())


def test_a_frame_of_another_size_starts_anew():
    converter = YuvConverter()
    for size in [(64, 64), (80, 64), (64, 80)]:
        frame = np.full((*size, 3), 77, np.uint8)
        np.testing.assert_array_equal(converter.convert(frame).to_ndarray(), to_yuv(frame).to_ndarray())
    for wrong in (np.zeros((64, 80), np.uint8), np.zeros((64, 80, 3), np.float32), np.zeros((64, 80, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            converter.convert(wrong)


def test_a_window_surrounds_all_changes():
    frame = np.zeros((50, 60, 3), np.uint8)
    assert changed_window(frame, frame) is None
    changed = frame.copy()
    changed[10, 20, 2], changed[30, 5, 0] = 1, 255
    assert changed_window(changed, frame) == (5, 10, 21, 31)


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (12, 200, 90), (255, 255, 255), (0, 0, 0)])
def test_colors_survive_the_way_there_and_back(color):
    frame = np.full((64, 64, 3), color, np.uint8)
    np.testing.assert_allclose(to_upright_rgb(to_yuv(frame)).astype(int), frame, atol=2)
