"""What the networks of others make of a video whose face is known: a second look at it, kept like its tracks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from emo.core.errors import InputError
from emo.core.files import content_name, load_arrays, save_arrays
from emo.core.timing import FPS
from emo.media.video import read_video
from emo.metrics.networks import Look, look_of
from emo.metrics.reconstruction import psnr, ssim
from emo.metrics.tracks import load_tracks

CHUNK = 32  # frames at a time: whole clips of FVD's 16


@dataclass(frozen=True)
class LookAgain:
    """A video -> the file of what a network makes of it."""

    folder: Path
    tracks: dict[Path, Path]  # the file of each video's
    option: str  # of the networks
    weights: Path
    weights_name: str  # their `content_name`

    def __call__(self, video: Path) -> Path:
        """Raises InputError for a video that can't be read, or other weights."""
        path = self.folder / f"{content_name(video)}_{self.option}_{self.weights_name}.safetensors"
        if not path.exists():
            landmarks = load_tracks(self.tracks[video]).seen_landmarks
            save_arrays(path, {"features": features_of(video, landmarks, look_of(self.option, self.weights))})
        return path


@dataclass(frozen=True)
class LookAtBoth:
    """A made video -> the file of how near it is to its truth."""

    folder: Path
    truths: dict[Path, Path]  # the real video of each made one
    weights: Path | None  # of LPIPS
    weights_name: str

    def __call__(self, video: Path) -> Path:
        """Raises InputError for a video that can't be read, other weights, or pictures of two sizes."""
        path = self.folder / f"{content_name(video, self.truths[video])}_both_{self.weights_name}.safetensors"
        if not path.exists():
            look = self.weights and look_of("lpips", self.weights)
            save_arrays(path, {"nearness": nearness(video, self.truths[video], look)})
        return path


def features_of(video: Path, landmarks: np.ndarray, look: Look) -> np.ndarray:
    """landmarks (T 68 2) pixels of the video's frames at FPS -> (N D)."""
    parts = enumerate(batched(read_video(video, FPS)))
    return np.concatenate([look(frames, landmarks[k * CHUNK :][: len(frames)]) for k, frames in parts])


def nearness(made: Path, true: Path, look: Look | None) -> np.ndarray:
    """(3,) mean PSNR, SSIM and LPIPS of the frames that both have; without a look the last is NaN."""
    rows = []
    for pair in zip(batched(read_video(made, FPS)), batched(read_video(true, FPS)), strict=False):
        a, b = (frames[: min(map(len, pair))] for frames in pair)
        if a.shape != b.shape:
            mine, other = (f"{frames.shape[3]} x {frames.shape[2]} pixels" for frames in (a, b))
            raise InputError(f"{made} has {mine} and {true} {other}: make them one size for --reconstruction")
        rows.append([psnr(a, b), ssim(a, b), look(a, b) if look else np.full(len(a), np.nan)])
    return np.concatenate(rows, axis=1).mean(1)


def batched(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """frames (H W 3) one by one -> (T 3 H W), up to CHUNK of them at a time."""
    frames = iter(frames)
    while part := list(islice(frames, CHUNK)):
        yield np.stack(part).transpose(0, 3, 1, 2)


def load_features(path: Path) -> np.ndarray:
    """(N D). Raises InputError for a broken file."""
    return load_arrays(path)["features"]
