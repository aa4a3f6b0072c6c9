"""Do the lips say what is heard? SyncNet's word, LSE-C and LSE-D (Prajwal et al., "A Lip Sync Expert Is All You Need",
2020), with the published weights, on the crops that it was trained on: a second look at a video whose face is known.
"""

from pathlib import Path

import numpy as np

from emo.evaluation.tracks import FPS, Tracks
from emo.face.sync_crop import MEDIAN_FRAMES, sync_crop, sync_squares
from emo.media.video import read_video
from emo.models.syncnet import SyncNet, syncnet_sync


def sync_of(video: Path, tracks: Tracks, wave: np.ndarray | None, net: SyncNet) -> np.ndarray:
    """wave (S,) at 16 kHz -> (3,) confidence (LSE-C), distance (LSE-D), and the offset in frames, positive where the
    sound is late. NaN without sound or face, or in fewer than MEDIAN_FRAMES frames."""
    if wave is None or not tracks.seen.any() or len(tracks.seen) < MEDIAN_FRAMES:
        return np.full(3, np.nan)
    pairs = zip(read_video(video, FPS), sync_squares(tracks.landmarks), strict=True)
    found = syncnet_sync(net, (sync_crop(frame, square) for frame, square in pairs), wave)
    return np.array([found.confidence, found.distance, found.offset_frames])
