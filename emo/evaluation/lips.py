"""Do the lips say what is heard? The word of the small ear that ships with the package, and SyncNet's, LSE-C and LSE-D
(Prajwal et al., "A Lip Sync Expert Is All You Need", 2020), with the published weights, on the crops that it was
trained on: a second look at a video whose face is known.
"""

from pathlib import Path

import numpy as np

from emo.evaluation.dynamics import LIPS
from emo.evaluation.tracks import FPS, Tracks
from emo.face.steady import held_still, steady_regions
from emo.face.sync_crop import MEDIAN_FRAMES, sync_crop, sync_squares
from emo.media.video import read_video
from emo.models.sync import compare_lips
from emo.models.syncnet import SyncNet, syncnet_sync


def ear_sync(tracks: Tracks) -> tuple[float, float]:
    """By the lips that the ear reads from the sound: its confidence (how much better r is at the best of the offsets
    than at most), and how many frames that lies from 0. NaN without sound; lips that rest have a confidence of 0, and
    no offset."""
    if np.isnan(tracks.heard).any():
        return np.nan, np.nan
    landmarks = tracks.landmarks.astype(np.float64)
    lips = held_still(landmarks[:, LIPS], steady_regions(landmarks))
    found = compare_lips(lips, tracks.heard)
    return found.confidence, abs(found.offset_frames) if found.confidence > 0 else np.nan


def sync_of(video: Path, tracks: Tracks, wave: np.ndarray | None, net: SyncNet) -> np.ndarray:
    """wave (S,) at 16 kHz -> (3,) confidence (LSE-C), distance (LSE-D), and the offset in frames, positive where the
    sound is late. NaN without sound or face, or in fewer than MEDIAN_FRAMES frames."""
    if wave is None or not tracks.seen.any() or len(tracks.seen) < MEDIAN_FRAMES:
        return np.full(3, np.nan)
    pairs = zip(read_video(video, FPS), sync_squares(tracks.landmarks), strict=True)
    found = syncnet_sync(net, (sync_crop(frame, square) for frame, square in pairs), wave)
    return np.array([found.confidence, found.distance, found.offset_frames])
