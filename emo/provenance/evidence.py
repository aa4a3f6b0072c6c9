"""What the detector keeps of the frames of a picture or video: their luma in canonical size, whitened, and summed up.

The watermark is the same in every frame, the picture is not: in the sum the watermark grows faster. Each frame is
divided by its local variance, so that even areas, where the watermark is as strong as the picture, count most.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emo.media.image import read_image
from emo.media.video import VIDEO_SUFFIXES, probe_video, read_video
from emo.provenance.pattern import canonical_size

DETAIL_SIGMA = 8.0  # canonical pixels: slower changes of luma are taken out
WINDOW_PIXELS = 11  # canonical, of the local variance
NOISE_VARIANCE = 10.0  # that of codecs, in levels of 255 squared
CLIPPED_DEVIATIONS = 2.0
FRAMES_PER_SECOND = 8.0  # of a video, looked at
MOST_PARTS = 300  # of a video


@dataclass(frozen=True)
class Evidence:
    """Sums over the frames of each part of a file.

    Attributes:
        parts: (P height width) float32, canonical pixels.
        part_seconds: Length of a part; 0 for a still picture.
        total_seconds: Length of the file.
    """

    parts: np.ndarray
    part_seconds: float
    total_seconds: float


def read_evidence(path: Path) -> Evidence:
    """Read a picture or video. Raises InputError if it can't be read."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return Evidence(whiten_frame(read_image(path))[None], 0.0, 0.0)
    seconds = probe_video(path).seconds
    part_seconds = max(1.0, np.ceil(seconds / MOST_PARTS))
    parts = sum_frames(read_video(path, FRAMES_PER_SECOND), round(part_seconds * FRAMES_PER_SECOND))
    return Evidence(parts, part_seconds, seconds)


def sum_frames(frames: Iterable[np.ndarray], part_frames: int) -> np.ndarray:
    """Sum up whitened frames.

    Args:
        frames: (H W 3) uint8 RGB; where the size changes, the first one counts.
        part_frames: Frames of a part.

    Returns:
        (P height width) float32.
    """
    parts: list[np.ndarray] = []
    for index, frame in enumerate(frames):
        whitened = whiten_frame(frame)
        if index % part_frames == 0:
            parts.append(np.zeros_like(parts[0] if parts else whitened))
        if whitened.shape != parts[-1].shape:
            whitened = cv2.resize(whitened, parts[-1].shape[::-1])
        parts[-1] += whitened
    return np.stack(parts)


def whiten_frame(frame: np.ndarray) -> np.ndarray:
    """Return the luma's detail, weighted by the inverse of its local variance.

    Args:
        frame: (H W 3) uint8 RGB.

    Returns:
        (height width) float32, canonical pixels.
    """
    size = canonical_size(frame.shape[1], frame.shape[0])
    shrinks = size[0] < frame.shape[1]
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = luma - cv2.GaussianBlur(luma, (0, 0), DETAIL_SIGMA)
    variance = cv2.boxFilter(detail * detail, -1, (WINDOW_PIXELS, WINDOW_PIXELS))
    limit = CLIPPED_DEVIATIONS * cv2.sqrt(variance)
    return np.clip(detail, -limit, limit) / (variance + NOISE_VARIANCE)
