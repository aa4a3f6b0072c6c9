"""How far the sound lies from the lips it belongs to, and how surely: what SyncNet measures (Chung and Zisserman,
"Out of time", 2016), by the small ear's own reading of the lips.

Shapes: T frames, S samples.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from emo.models.audio import MelEncoder
from emo.models.loading import load_part

WEIGHTS = Path(__file__).parents[1] / "weights" / "mini" / "audio_encoder"
REACH_FRAMES = 15  # SyncNet's own
AT_ONCE_FRAMES = 500  # heard, to hold little in memory
DRIFT_FRAMES = 8.0  # sigma: what is slower than speech, a head that turns or a smile, counts neither here nor there


@cache
def packaged_ear() -> MelEncoder:
    return load_part(WEIGHTS)


@dataclass
class Sync:
    offset_frames: int  # positive: the sound comes late
    confidence: float  # r at that offset over the median r of all offsets, as SyncNet's over its distances
    r: float  # of the lips with what is read from the sound at that offset, as `agreement`


@torch.no_grad()
def heard_lips(wave: np.ndarray, count: int, encoder: MelEncoder, fps: float = 25.0) -> np.ndarray:
    """wave (S,) of T frames -> (T + 2 REACH_FRAMES 40) the lips that are heard in them, and before and after."""
    sound, end = torch.from_numpy(wave)[None].to(encoder.device), count + REACH_FRAMES
    firsts = range(-REACH_FRAMES, end, AT_ONCE_FRAMES)
    codes = [encoder(sound, first, min(AT_ONCE_FRAMES, end - first), fps)[0] for first in firsts]
    return encoder.read_lips(torch.cat(codes)).flatten(1).float().cpu().numpy()


def compare_lips(lips: np.ndarray, heard: np.ndarray) -> Sync:
    """lips (T 20 2) of a face that is held still, in any unit, and those that are heard at the same time."""
    read, seen = without_drift(heard), without_drift(lips.reshape(len(lips), -1))
    offsets = np.arange(-REACH_FRAMES, REACH_FRAMES + 1)
    r = np.array([agreement(read[REACH_FRAMES + k :][: len(lips)], seen) for k in offsets])
    return Sync(int(offsets[r.argmax()]), float(r.max() - np.median(r)), float(r.max()))


def lip_sync(lips: np.ndarray, wave: np.ndarray, encoder: MelEncoder, fps: float = 25.0) -> Sync:
    """lips (T 20 2) of a face that is held still, in any unit, and the wave (S,) of the same time."""
    return compare_lips(lips, heard_lips(wave, len(lips), encoder, fps))


def without_drift(values: np.ndarray) -> np.ndarray:
    """values (T D) less their running mean over T, weighted as a Gaussian, the ends repeated."""
    values, window = np.asarray(values, np.float64), (1, 8 * int(DRIFT_FRAMES) + 1)
    return values - cv2.GaussianBlur(values, window, 1, None, DRIFT_FRAMES, cv2.BORDER_REPLICATE)


def agreement(read: np.ndarray, lips: np.ndarray) -> float:
    """Pearson's r of (T 40) and (T 40), mean over coordinates, each weighing as far as it is read to move: where speech
    moves little, the head decides. A coordinate that rests counts as 0."""
    read, lips, moves = read - read.mean(0), lips - lips.mean(0), lips.std(0)
    lips = lips / np.where(moves > 1e-9, moves, np.inf)
    return float((read * lips).mean(0).sum() / max(read.std(0).sum(), 1e-9))
