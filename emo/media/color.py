"""Convert between RGB images and YUV video frames in the colors that the tags name."""

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

HD_LINES = 720  # untagged video is BT.709 from here on, BT.601 below
BT709, UNTAGGED, LIMITED = 1, 2, 1  # as ITU-T H.273 numbers them
SCALER = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


def tag_bt709(context: av.VideoCodecContext) -> None:
    """State in the file what `to_yuv` makes."""
    context.color_range = LIMITED
    context.colorspace = context.color_primaries = context.color_trc = BT709


def to_yuv(frame: np.ndarray) -> av.VideoFrame:
    """(H W 3) uint8 RGB -> yuv420p, BT.709, limited range; a side of odd length is continued by one pixel.

    Raises ValueError if the frame is of another kind.
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


def to_upright_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> np.ndarray:
    """A decoded frame -> (H W 3) uint8 RGB with square pixels, rotated as the file says; pixel_aspect: width over
    height of a stored pixel."""
    untagged = Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601
    rgb = frame.reformat(
        width=round(frame.width * pixel_aspect),
        format="rgb24",
        src_colorspace=untagged if frame.colorspace == UNTAGGED else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=SCALER,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))
