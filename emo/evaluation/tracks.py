"""What a video shows and sounds like, frame by frame: one pass over it, from which all measures without weights of
their own are taken.

T frames at FPS, whatever the video's own rate; frame (H W 3) uint8 RGB.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from emo.face.parts import MOUTH, Look
from emo.face.region import Region, crop, cut, region_of_landmarks
from emo.face.sharpness import sharpness
from emo.media.loudness import loudness
from emo.models.sync import REACH_FRAMES, heard_lips, packaged_ear

FPS = 25.0
SAMPLE_RATE = 16000  # Hz
FACE_PIXELS, MOUTH_PIXELS = 256, 160  # sides of the squares that are looked at; their pixels are about of one size
FACE = cv2.ellipse(np.zeros((FACE_PIXELS, FACE_PIXELS), np.uint8), (128, 124), (68, 92), 0, 0, 360, 1, -1)
LIPS = cv2.ellipse(np.zeros((MOUTH_PIXELS, MOUTH_PIXELS), np.uint8), (80, 80), (64, 48), 0, 0, 360, 1, -1)
HEAD = 1.2  # sides of the face's square around it that are no background; nor is what lies under them
LEAST_BACKGROUND = 0.05  # of the picture, to be measured


@dataclass
class Tracks:
    """Where the face is out of sight, its tracks go straight from what was before to what comes after; of a video
    without any face they are NaN."""

    seen: np.ndarray  # (T,) bool, whether the face is
    landmarks: np.ndarray  # (T 68 2) pixels, iBUG
    gaze: np.ndarray  # (T 2) radians, of emo.face.eyes
    face_sharpness: np.ndarray  # (T,) 1 / pixels² of a square of FACE_PIXELS
    mouth_sharpness: np.ndarray  # (T,)
    colour: np.ndarray  # (T 3) the face's mean colour in CIELAB: L* of 0..100, a*, b*
    change: np.ndarray  # (T,) mean absolute difference to the frame before, grey levels; the first is 0
    background: np.ndarray  # (T,) the same beside and above the head; NaN where there is too little of that
    level: np.ndarray  # (T,) dB, of emo.media.loudness; NaN without sound
    heard: np.ndarray  # (T + 2 REACH_FRAMES 40) the lips that emo.models.sync hears; NaN without sound
    sync: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))  # of emo.evaluation.lips; NaN: not asked
    faces: np.ndarray = field(default_factory=lambda: np.full((1, 1), np.nan))  # (T 512) of emo.evaluation.identity
    nearness: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))  # PSNR, SSIM, LPIPS to a true video

    @property
    def seen_landmarks(self) -> np.ndarray:
        """(T 68 2), NaN where the face is out of sight."""
        return np.where(self.seen[:, None, None], self.landmarks, np.nan)


def track_video(
    frames: Iterable[np.ndarray], wave: np.ndarray | None, follow: Callable[[np.ndarray], Look | None]
) -> Tracks:
    """frames at FPS, read once; wave (S,) at SAMPLE_RATE, None: no sound; follow: each frame -> how the face looks in
    it, None: out of sight."""
    rows, before, region = [], None, None
    for frame in frames:
        look = follow(frame)
        region = region_of_landmarks(look.landmarks) if look else region
        rows.append((look is not None, *seen_of(frame, look), *differences(frame, before, region)))
        before = frame
    seen, *columns = (np.array(column) for column in zip(*rows, strict=True))
    level, heard = np.full(len(seen), np.nan), np.full((len(seen) + 2 * REACH_FRAMES, 40), np.nan)
    if wave is not None:
        level = loudness(wave, SAMPLE_RATE, len(seen), FPS)
        heard = heard_lips(wave, len(seen), packaged_ear(), FPS)
    return Tracks(seen, *(without_gaps(values, seen) for values in columns[:5]), *columns[5:], level, heard)


def seen_of(frame: np.ndarray, look: Look | None) -> tuple:
    """Landmarks, gaze, sharpness of face and mouth, and colour; NaN where nothing is to be seen."""
    if look is None:
        return np.full((68, 2), np.nan), np.full(2, np.nan), np.nan, np.nan, np.full(3, np.nan)
    face = crop(frame, region_of_landmarks(look.landmarks), FACE_PIXELS)
    mouth = cut(frame, MOUTH.squares(look.landmarks)[0], MOUTH_PIXELS)
    sharp = [sharpness(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), i > 0) for c, i in ((face, FACE), (mouth, LIPS))]
    mean = np.float32(cv2.mean(face, FACE)[:3]) / 255
    return look.landmarks, look.gaze, *sharp, cv2.cvtColor(mean[None, None], cv2.COLOR_RGB2LAB)[0, 0]


def differences(frame: np.ndarray, before: np.ndarray | None, region: Region | None) -> tuple[float, float]:
    """Mean absolute difference of two frames in the whole picture, and in its background; region: the face's."""
    change = np.zeros(frame.shape[:2]) if before is None else cv2.absdiff(frame, before).mean(-1)
    behind = np.ones(change.shape, bool)
    if region is not None:
        (x, y), half = region.center, region.side * HEAD / 2
        behind[max(0, round(y - half)) :, max(0, round(x - half)) : max(0, round(x + half))] = False
        behind[max(0, round(y + half)) :] = False
    return change.mean(), change[behind].mean() if behind.mean() >= LEAST_BACKGROUND else np.nan


def without_gaps(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """values (T ...) with what lies between frames that are seen (T,) taken from the straight line."""
    if not seen.any():
        return values
    frames, flat = np.arange(len(seen)), values.reshape(len(values), -1)
    filled = [np.interp(frames, frames[seen], column[seen]) for column in flat.T]
    return np.stack(filled, -1).reshape(values.shape)
