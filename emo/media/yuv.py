"""Change a window of a video frame in the frame's own YUV: whatever is not changed keeps its bits.

An RGB change is a linear function of the YUV change, so a change that is computed in RGB can be added to the planes
without a conversion of the rest: matrix, range and bit depth are those of the frame (ITU-T H.273), also for 10 bits and
HDR. Planes are views of PyAV's memory: (h w) uint8, or uint16 above 8 bits.
"""

from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np

from emo.core.errors import InputError
from emo.media.color import HD_LINES, UNTAGGED

LUMA_WEIGHTS = {  # matrix coefficients of H.273 -> weights of red and blue in luma
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
FULL_RANGE = 2  # AVCOL_RANGE_JPEG

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class YuvLayout:
    """How a frame stores its colors."""

    rgb_to_yuv: np.ndarray  # (3 3) float32: change of RGB (0..255) -> change of Y, U, V in levels of the planes
    zero: tuple[float, float, float]  # levels of black in Y, U, V
    steps: tuple[int, int]  # pixels of the picture for one pixel of chroma, across and down
    peak: int  # largest level

    @property
    def dtype(self) -> type:
        """Type of a plane's pixels."""
        return np.uint8 if self.peak < 256 else np.uint16


def check_pixel_format(pixel_format: av.VideoFormat, name: str) -> None:
    """Refuse pixel formats whose planes can't be changed in place.

    Args:
        pixel_format: Format of the frames.
        name: Name of the file, for the message.

    Raises:
        InputError: The format is not planar YUV, or has more than 16 bits.
    """
    parts = pixel_format.components
    planar = len(parts) in (1, 3, 4) and [part.plane for part in parts] == list(range(len(parts)))
    text = pixel_format.name
    known = planar and text.startswith(("yuv", "gray")) and not text.endswith("be") and parts[0].bits <= 16
    if not known:
        raise InputError(
            f"{name}: pixel format {text} can't be changed in place; convert the film to yuv420p or yuv422p"
        )


def describe_layout(frame: av.VideoFrame) -> YuvLayout:
    """Read matrix, range, bits and chroma steps from a frame's tags; untagged frames are taken as players take them."""
    matrix = frame.colorspace
    if matrix == UNTAGGED or matrix not in LUMA_WEIGHTS:
        matrix = 1 if min(frame.width, frame.height) >= HD_LINES else 6
    red, blue = LUMA_WEIGHTS[matrix]
    bits = frame.format.components[0].bits
    scale = 2.0 ** (bits - 8)
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    luma_range, chroma_range = (255.0, 255.0) if full else (219.0, 224.0)
    if full:
        scale = (2.0**bits - 1) / 255
    luma = np.array([red, 1 - red - blue, blue])
    matrix_rows = [
        luma,
        (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
        (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
    ]
    ranges = np.array([luma_range, chroma_range, chroma_range]) * scale / 255
    zero = 0.0 if full else 16.0 * 2.0 ** (bits - 8)
    half = 2.0 ** (bits - 1)
    steps = (1, 1)
    if len(frame.planes) > 1:
        steps = round(frame.width / frame.planes[1].width), round(frame.height / frame.planes[1].height)
    weights = (np.stack(matrix_rows) * ranges[:, None]).astype(np.float32)
    return YuvLayout(weights, (zero, half, half), steps, 2**bits - 1)


def _memory(plane: Any) -> np.ndarray:
    """The bytes of a plane, which may be written."""
    return np.frombuffer(plane, np.uint8)


def view_planes(frame: av.VideoFrame, layout: YuvLayout) -> list[np.ndarray]:
    """View the planes of luma and chroma; writing to a view changes the frame.

    Args:
        frame: The frame.
        layout: How it stores its colors.

    Returns:
        Luma (h w), then chroma (h / steps, w / steps), of the layout's dtype.
    """
    views = []
    for plane in frame.planes[:3]:
        pixels = _memory(plane).view(layout.dtype).reshape(-1, plane.line_size // np.dtype(layout.dtype).itemsize)
        views.append(pixels[: plane.height, : plane.width])
    return views


def align_box(box: Box, layout: YuvLayout, width: int, height: int) -> Box:
    """Grow a box (x0, y0, x1, y1) to whole pixels of chroma, inside of the picture.

    Args:
        box: Pixels; it may reach beyond the picture.
        layout: Of the frames.
        width: Width of the picture, pixels.
        height: Height of the picture, pixels.

    Returns:
        (x0, y0, x1, y1).
    """
    across, down = layout.steps
    x0, y0 = max(0, box[0] // across * across), max(0, box[1] // down * down)
    x1, y1 = min(width, -(-box[2] // across) * across), min(height, -(-box[3] // down) * down)
    return x0, y0, max(x0, x1), max(y0, y1)


def read_window(frame: av.VideoFrame, box: Box, layout: YuvLayout) -> np.ndarray:
    """Read a window as RGB.

    Args:
        frame: A decoded frame.
        box: Of `align_box`.
        layout: Of the frame.

    Returns:
        (h w 3) uint8 RGB.
    """
    x0, y0, x1, y1 = box
    size, (across, down) = (x1 - x0, y1 - y0), layout.steps
    planes = view_planes(frame, layout)
    values = [planes[0][y0:y1, x0:x1].astype(np.float32) - layout.zero[0]]
    for plane, zero in zip(planes[1:], layout.zero[1:], strict=False):
        part = plane[y0 // down : -(-y1 // down), x0 // across : -(-x1 // across)].astype(np.float32) - zero
        values.append(part if part.shape == size[::-1] else cv2.resize(part, size, interpolation=cv2.INTER_LINEAR))
    while len(values) < 3:  # gray
        values.append(np.zeros_like(values[0]))
    rgb = cv2.transform(cv2.merge(values), np.linalg.inv(layout.rgb_to_yuv))
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def add_change(frame: av.VideoFrame, box: Box, change: np.ndarray, layout: YuvLayout) -> None:
    """Add an RGB change to a window of a frame; pixels without a change keep their bits.

    Args:
        frame: The frame, whose memory is its own (`copy_frame`).
        box: Of `align_box`.
        change: (h w 3) float32, levels of 255.
        layout: Of the frame.
    """
    x0, y0, x1, y1 = box
    across, down = layout.steps
    yuv = cv2.split(cv2.transform(change, layout.rgb_to_yuv))
    for index, plane in enumerate(view_planes(frame, layout)):
        step_x, step_y = (across, down) if index else (1, 1)
        part, added = plane[y0 // step_y : -(-y1 // step_y), x0 // step_x : -(-x1 // step_x)], yuv[index]
        if added.shape != part.shape:
            added = cv2.resize(added, part.shape[::-1], interpolation=cv2.INTER_AREA)
        part[:] = np.clip(np.rint(part + added), 0, layout.peak).astype(layout.dtype)


def copy_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame of the same pixels and tags whose memory may be written: a decoder still reads its own frames."""
    copy = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for source, target in zip(frame.planes, copy.planes, strict=True):
        rows = source.height
        old = _memory(source)[: source.line_size * rows].reshape(rows, source.line_size)
        new = _memory(target)[: target.line_size * rows].reshape(rows, target.line_size)
        width = min(source.line_size, target.line_size)
        new[:, :width] = old[:, :width]
    copy.pts = frame.pts
    if frame.time_base is not None:
        copy.time_base = frame.time_base
    copy.color_range, copy.colorspace = frame.color_range, frame.colorspace
    copy.color_primaries, copy.color_trc = frame.color_primaries, frame.color_trc
    return copy
