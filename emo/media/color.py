"""Convert between RGB images and YUV video frames, in the colors that a video's tags name."""

import math

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

HD_LINES = 720  # untagged video is BT.709 from here on, BT.601 below
BT709, UNTAGGED, LIMITED = 1, 2, 1  # as ITU-T H.273 numbers them
SCALER = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
MARGIN_PIXELS = 16  # around a window: farther than the filter that makes chroma of half the resolution reaches


def tag_bt709(context: av.VideoCodecContext) -> None:
    """Tag a stream with the colors of `to_yuv`: BT.709, limited range."""
    context.color_range = LIMITED
    context.colorspace = context.color_primaries = context.color_trc = BT709


def to_yuv(frame: np.ndarray) -> av.VideoFrame:
    """Convert an RGB image to a video frame.

    Args:
        frame: (H W 3) uint8 RGB.

    Returns:
        A frame of yuv420p, BT.709, limited range (16 to 235); a side of odd length is continued by one pixel.

    Raises:
        ValueError: The image is of another kind.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame is (H W 3) uint8, not {frame.shape} {frame.dtype}")
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=SCALER,
    )


class YuvConverter:
    """Converts the frames of a video as `to_yuv` does, but only the part that differs from the frame before.

    In a portrait that speaks the face alone moves; the rest of a large picture need not be converted 25 times a second.
    """

    def __init__(self):
        self._rgb = np.zeros((0, 0, 3), np.uint8)  # (H W 3) the last frame, with sides of even length
        self._yuv = np.zeros((0, 0), np.uint8)  # (3 H / 2, W) as PyAV stores yuv420p
        self._shape: tuple[int, ...] = ()  # of the last frame as it was given
        self._tags = (LIMITED, BT709)

    def convert(self, frame: np.ndarray) -> av.VideoFrame:
        """Convert (H W 3) uint8 RGB as `to_yuv` does. Raises ValueError for an image of another kind."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            picture, self._shape = to_yuv(frame), frame.shape
            self._rgb = cv2.copyMakeBorder(frame, 0, frame.shape[0] % 2, 0, frame.shape[1] % 2, cv2.BORDER_REPLICATE)
            self._yuv, self._tags = picture.to_ndarray(), (picture.color_range, picture.colorspace)
            return picture
        window = changed_window(frame, self._rgb[: frame.shape[0], : frame.shape[1]])
        if window is not None:
            self._update(frame, *window)
        picture = av.VideoFrame.from_ndarray(self._yuv, "yuv420p")
        picture.color_range, picture.colorspace = self._tags
        return picture

    def _update(self, frame: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> None:
        """Convert a window, whose chroma reaches a filter's length beyond it."""
        height, width = self._rgb.shape[:2]
        rows, columns = frame.shape[:2]
        self._rgb[:rows, :columns][y0:y1, x0:x1] = frame[y0:y1, x0:x1]
        self._rgb[rows:] = self._rgb[rows - 1 : rows] if rows < height else self._rgb[rows:]
        self._rgb[:, columns:] = self._rgb[:, columns - 1 : columns] if columns < width else self._rgb[:, columns:]
        inner = even_window(x0, y0, x1, y1, MARGIN_PIXELS, width, height)
        outer = even_window(*inner, MARGIN_PIXELS, width, height)
        part = to_yuv(self._rgb[outer[1] : outer[3], outer[0] : outer[2]]).to_ndarray()
        for target, source in zip(split_planes(self._yuv), split_planes(part), strict=True):
            step = width // target.shape[1]
            x, y = (inner[0] - outer[0]) // step, (inner[1] - outer[1]) // step
            a, b, c, d = (side // step for side in inner)
            target[b:d, a:c] = source[y : y + d - b, x : x + c - a]


def changed_window(frame: np.ndarray, other: np.ndarray) -> tuple[int, int, int, int] | None:
    """Find the box around all pixels in which two images differ.

    Args:
        frame: (H W 3) uint8.
        other: (H W 3) uint8.

    Returns:
        (x0, y0, x1, y1) pixels; None where the images are equal.
    """
    difference = cv2.absdiff(frame, other)
    rows = np.flatnonzero(difference.reshape(len(difference), -1).max(1))
    if len(rows) == 0:
        return None
    part = difference[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(part.reshape(len(part), -1).max(0)) // 3
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def even_window(x0: int, y0: int, x1: int, y1: int, margin: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Enlarge a box by a margin to even coordinates, inside of a picture with sides of even length.

    Args:
        x0: Left side, pixels.
        y0: Upper side, pixels.
        x1: Right side, pixels, exclusive.
        y1: Lower side, pixels, exclusive.
        margin: Pixels to add on each side.
        width: Width of the picture, pixels; even.
        height: Height of the picture, pixels; even.

    Returns:
        (x0, y0, x1, y1) even pixels.
    """
    low = [max(0, (side - margin) // 2 * 2) for side in (x0, y0)]
    high = [min(limit, -(-(side + margin) // 2) * 2) for side, limit in ((x1, width), (y1, height))]
    return low[0], low[1], high[0], high[1]


def split_planes(yuv: np.ndarray) -> list[np.ndarray]:
    """Split yuv420p (3 H / 2, W) into views of Y (H W), U and V (H / 2, W / 2)."""
    width, height = yuv.shape[1], yuv.shape[0] * 2 // 3
    chroma = yuv[height:].reshape(-1)
    size = (height // 2) * (width // 2)
    return [yuv[:height], *(chroma[k * size : (k + 1) * size].reshape(height // 2, width // 2) for k in (0, 1))]


def to_upright_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0, max_side: int | None = None) -> np.ndarray:
    """Convert a decoded frame to an upright image with square pixels.

    Args:
        frame: Decoded frame, with the rotation that the file states.
        pixel_aspect: Width over height of a stored pixel.
        max_side: Longest side of the result, pixels; a larger frame is shrunk. None: no limit.

    Returns:
        (H W 3) uint8 RGB.
    """
    scale = min(1.0, (max_side or math.inf) / max(frame.width * pixel_aspect, frame.height))
    untagged = Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601
    rgb = frame.reformat(
        width=round(frame.width * pixel_aspect * scale),
        height=round(frame.height * scale),
        format="rgb24",
        src_colorspace=untagged if frame.colorspace == UNTAGGED else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=SCALER,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))
