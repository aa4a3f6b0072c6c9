"""Cut the square of a face out of a stored frame, and put a changed one back, in the frame's own YUV.

Only the window around the square is read and written. What is added is the difference that the change makes, under a
soft mask of the lower face, so everything else keeps its bits.
"""

from collections.abc import Callable
from math import ceil

import av
import cv2
import numpy as np

from emo.dubbing.film import Film
from emo.dubbing.mouth import lower_face_mask
from emo.face.crop import Region, to_pixel_indices, transform_points, warp_square
from emo.media.yuv import add_change, align_box, describe_layout, read_window

MAX_SQUARE_PIXELS = 1024  # of a changed square; a larger face's change is enlarged
EDGE_PIXELS = 4  # around a square, for the filters
EDGE_SHARE = (0.02, 0.5)  # of the mask, where the change's mean color must be that of the frame


def map_square(film: Film, region: Region) -> np.ndarray:
    """Compute where a face's square lies in the stored frame.

    Args:
        film: The film.
        region: The square, pixels of the upright picture.

    Returns:
        Affine map (2 3) from the unit square to pixels of the stored frame.
    """
    stored, square = film.to_stored(), region.matrix(1)
    linear = stored[:, :2] @ square
    return linear + np.column_stack([np.zeros((2, 2)), stored[:, 2]])


def cut_square(frame: av.VideoFrame, film: Film, region: Region, size: int) -> np.ndarray:
    """Cut a face out of a stored frame.

    Args:
        frame: The frame.
        film: Its film.
        region: The face's square, pixels of the upright picture.
        size: Side of the result, pixels.

    Returns:
        (size size 3) uint8 RGB, upright.
    """
    layout = describe_layout(frame)
    matrix = map_square(film, region)
    box = align_box(_bounds(matrix), layout, frame.width, frame.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        return np.zeros((size, size, 3), np.uint8)
    return warp_square(read_window(frame, box, layout), _move(matrix, box), size)


def change_face(frame: av.VideoFrame, film: Film, region: Region, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the lower face of a frame in place.

    Args:
        frame: A frame whose memory is its own.
        film: Its film.
        region: The face's square, pixels of the upright picture.
        change: The square (R R 3) uint8 -> the changed square.
    """
    layout = describe_layout(frame)
    matrix = map_square(film, region)
    box = align_box(_bounds(matrix), layout, frame.width, frame.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    matrix = _move(matrix, box)
    side = ceil(np.linalg.norm(matrix[:, :2], axis=0).max())
    pixels = min(MAX_SQUARE_PIXELS, max(64, side))
    square = warp_square(read_window(frame, box, layout), matrix, pixels)
    mask = lower_face_mask(pixels, pixels)
    difference = subtract_edge_color(change(square).astype(np.float32) - square, mask) * mask[..., None]
    indices = to_pixel_indices(matrix / [pixels, pixels, 1])
    size = box[2] - box[0], box[3] - box[1]
    placed = cv2.warpAffine(difference, indices, size, flags=cv2.INTER_LINEAR)
    add_change(frame, box, placed, layout)


def mark_frame(frame: av.VideoFrame, film: Film, mark: Callable[[np.ndarray], np.ndarray]) -> None:
    """Mark a frame in place.

    Args:
        frame: A frame whose memory is its own.
        film: Its film.
        mark: The upright picture (H W 3) uint8 RGB -> the marked picture.
    """
    layout, box = describe_layout(frame), (0, 0, frame.width, frame.height)
    upright = np.ascontiguousarray(np.rot90(read_window(frame, box, layout), film.quarter_turns))
    difference = mark(upright).astype(np.float32) - upright
    add_change(frame, box, np.ascontiguousarray(np.rot90(difference, -film.quarter_turns)), layout)


def subtract_edge_color(difference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Subtract the mean change of color along the mask's edge, where the skin must stay as it is.

    Args:
        difference: (R R 3) float32.
        mask: (R R) 0..1.

    Returns:
        (R R 3) float32.
    """
    edge = (mask > EDGE_SHARE[0]) & (mask < EDGE_SHARE[1])
    return difference - np.median(difference[edge], axis=0) if edge.any() else difference


def _bounds(matrix: np.ndarray) -> tuple[int, int, int, int]:
    corners = transform_points(matrix, np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]))
    low, high = np.floor(corners.min(0)) - EDGE_PIXELS, np.ceil(corners.max(0)) + EDGE_PIXELS
    return (*low.astype(int).tolist(), *high.astype(int).tolist())


def _move(matrix: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The same map into a window."""
    return matrix - np.array([[0, 0, box[0]], [0, 0, box[1]]])
