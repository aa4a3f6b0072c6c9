"""SyncNet before the faces of one video."""

from itertools import islice
from pathlib import Path

import numpy as np

from emo.data.clip import FPS
from emo.face.sync_crop import sync_crop, sync_squares
from emo.media.video import read_video
from emo.models.syncnet import LipSync, SyncNet, syncnet_sync


class Watch:
    """Reads the video forwards, in step with the faces it is asked for; for one that has passed it starts anew."""

    def __init__(self, net: SyncNet, video: Path):
        self.net, self.video = net, video
        self.frames, self.passed = read_video(video, FPS), 0

    def sync(self, first: int, landmarks: np.ndarray, wave: np.ndarray) -> LipSync:
        """landmarks (T 68 2) pixels of the frames `first` and after, and the wave (S,) at 16 kHz of the same time."""
        if first < self.passed:
            self.frames, self.passed = read_video(self.video, FPS), 0
        frames = islice(self.frames, first - self.passed, first - self.passed + len(landmarks))
        self.passed = first + len(landmarks)
        squares = sync_squares(landmarks)
        return syncnet_sync(self.net, (sync_crop(f, s) for f, s in zip(frames, squares, strict=True)), wave)
