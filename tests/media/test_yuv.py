"""RGB changes are added to YUV frames of any depth, range and chroma; what is not changed keeps its bits."""

import av
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.media.color import to_upright_rgb
from emo.media.yuv import (
    add_change,
    align_box,
    check_pixel_format,
    copy_frame,
    describe_layout,
    read_window,
    view_planes,
)

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p12le"]


@pytest.fixture
def smooth() -> np.ndarray:
    """(48 64 3) a gradient."""
    y, x = np.mgrid[:48, :64]
    return np.stack([60 + 2 * x, 200 - 3 * y, 90 + x + y], axis=-1).astype(np.uint8)


def make_frame(picture: np.ndarray, pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format, dst_colorspace=1)
    frame.colorspace = 1
    frame.color_range = 2 if "j" in pixel_format else 1
    return frame


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_window_reads_as_swscale_reads_it(smooth, pixel_format):
    frame = make_frame(smooth, pixel_format)
    ours = read_window(frame, (0, 0, 64, 48), describe_layout(frame))
    assert np.abs(ours.astype(int) - to_upright_rgb(frame)).mean() < 1.0


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_change_arrives_and_nothing_else_moves(smooth, pixel_format):
    frame = make_frame(smooth, pixel_format)
    layout = describe_layout(frame)
    copy, change = copy_frame(frame), np.zeros((16, 16, 3), np.float32)
    change[4:12, 4:12] = (20, -15, 10)
    add_change(copy, (16, 16, 32, 32), change, layout)
    before, after = (read_window(one, (0, 0, 64, 48), layout).astype(int) for one in (frame, copy))
    assert np.abs((after - before)[22:26, 22:26] - (20, -15, 10)).max() <= 2
    for old, new in zip(view_planes(frame, layout), view_planes(copy, layout), strict=True):
        down, across = 48 // len(old), 64 // old.shape[1]
        moved = np.argwhere(old != new)
        assert len(moved)
        assert moved.min(0).tolist() == [20 // down, 20 // across] and moved.max(0).tolist() == [
            27 // down,
            27 // across,
        ]


def test_boxes_hold_whole_chroma(smooth):
    layout = describe_layout(make_frame(smooth, "yuv420p"))
    assert align_box((3, 5, 9, 9), layout, 64, 48) == (2, 4, 10, 10)
    assert align_box((-7, -3, 99, 99), layout, 64, 48) == (0, 0, 64, 48)


@pytest.mark.parametrize("pixel_format", ["rgb24", "nv12", "gbrp", "yuyv422", "yuv420p10be"])
def test_formats_that_can_not_be_changed_in_place(pixel_format):
    with pytest.raises(InputError, match=f"film.mkv: pixel format {pixel_format} can't be changed"):
        check_pixel_format(av.VideoFormat(pixel_format), "film.mkv")
