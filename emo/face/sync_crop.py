"""The crop of a face that SyncNet was trained on, cut as the published pipeline cuts it.

In run_pipeline.py of https://github.com/joonson/syncnet_python a box of S3FD, which reaches from forehead to chin and
from ear to ear as WIDER FACE draws it, is followed through a shot. Its centre and half its longer side, h, are the
medians of 13 frames; what is shown reaches 1.4 h to either side, 1 h up and 1.8 h down (crop_scale 0.4: more of the
chin), is not turned upright, and is grey beyond the picture. Ours is the same, with the box of `box_of_landmarks`.
T frames; images (H W 3) uint8.
"""

import cv2
import numpy as np

from emo.face.region import box_of_landmarks

MORE = 0.4  # crop_scale
SIDE, MEDIAN_FRAMES, GREY = 224, 13, 110


def sync_squares(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) pixels -> (T 3) x, y of the box's centre and half its longer side, pixels."""
    return squares_of_boxes(np.array([box_of_landmarks(points) for points in landmarks]))


def squares_of_boxes(boxes: np.ndarray) -> np.ndarray:
    """boxes (T 4) pixels, of seven frames or more, -> (T 3). Beyond the ends of the median stand zeros, as in the
    published code."""
    low, high = boxes[:, :2], boxes[:, 2:]
    rough = np.column_stack([(low + high) / 2, (high - low).max(1) / 2])
    padded = np.pad(rough, [(MEDIAN_FRAMES // 2, MEDIAN_FRAMES // 2), (0, 0)])
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_FRAMES, axis=0), axis=-1)


def sync_crop(image: np.ndarray, square: np.ndarray) -> np.ndarray:
    """What a row of `sync_squares` shows of a picture, (SIDE SIDE 3) uint8."""
    x, y, half = square
    border = int(half * (1 + 2 * MORE))
    padded = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_CONSTANT, value=[GREY] * 3)
    rows = slice(int(y + border - half), int(y + border + half * (1 + 2 * MORE)))
    columns = slice(int(x + border - half * (1 + MORE)), int(x + border + half * (1 + MORE)))
    return cv2.resize(padded[rows, columns], (SIDE, SIDE))
