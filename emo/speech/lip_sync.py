"""Measure how far the sound lies from the lips it belongs to, with an audio encoder that serves this alone.

The same quantities as SyncNet's (Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016): the encoder
predicts the lips' points from the sound; the offset at which predicted and visible lips correlate best is that of the
sound. T frames, S samples.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from emo.models.audio import MelEncoder
from emo.models.loading import load_component

WEIGHTS = Path(__file__).parents[1] / "weights" / "lip_sync"
REACH_FRAMES = 15  # offsets to either side, as SyncNet's
CHUNK_FRAMES = 500  # whose sound is encoded at a time, to use little memory
DRIFT_FRAMES = 8.0  # sigma of the running mean that is removed: a head that turns or a smile is slower than speech


@cache
def load_lip_sync_scorer() -> MelEncoder:
    """Return the packaged audio encoder, loaded once a process."""
    encoder = load_component(WEIGHTS)
    if not isinstance(encoder, MelEncoder):
        raise TypeError(f"{WEIGHTS} is a {type(encoder).__name__}")
    return encoder


@dataclass
class LipSyncScore:
    """How lips and sound fit together."""

    offset_frames: int  # positive: the sound comes late
    confidence: float  # correlation at that offset minus the median of all offsets, as SyncNet's of its distances
    correlation: float  # -1..1, of visible and predicted lips at that offset, see `weighted_correlation`


@torch.no_grad()
def predict_lips(wave: np.ndarray, count: int, encoder: MelEncoder, fps: float = 25.0) -> np.ndarray:
    """Predict the lips from the sound of T frames and of REACH_FRAMES before and after them.

    Args:
        wave: (S,) float32 at 16 kHz.
        count: T.
        encoder: The network of `load_lip_sync_scorer`.
        fps: Frames per second.

    Returns:
        (T + 2 REACH_FRAMES 40) x and y of the 20 lip landmarks.
    """
    sound, end = torch.from_numpy(wave)[None].to(encoder.device), count + REACH_FRAMES
    firsts = range(-REACH_FRAMES, end, CHUNK_FRAMES)
    codes = [encoder(sound, first, min(CHUNK_FRAMES, end - first), fps)[0] for first in firsts]
    return encoder.predict_lips(torch.cat(codes)).flatten(1).float().cpu().numpy()


def score_lips(lips: np.ndarray, predicted: np.ndarray) -> LipSyncScore:
    """Score visible lips against predicted ones.

    Args:
        lips: (T 20 2) of a face in normalized coordinates (see `normalize_landmarks`), in any unit.
        predicted: (T + 2 REACH_FRAMES 40) of `predict_lips` for the same time.

    Returns:
        Best offset, its confidence and its correlation.
    """
    predicted_moves, visible = remove_drift(predicted), remove_drift(lips.reshape(len(lips), -1))
    offsets = np.arange(-REACH_FRAMES, REACH_FRAMES + 1)
    r = np.array([weighted_correlation(predicted_moves[REACH_FRAMES + k :][: len(lips)], visible) for k in offsets])
    return LipSyncScore(int(offsets[r.argmax()]), float(r.max() - np.median(r)), float(r.max()))


def score_lip_sync(lips: np.ndarray, wave: np.ndarray, encoder: MelEncoder, fps: float = 25.0) -> LipSyncScore:
    """Score visible lips against the sound of the same time.

    Args:
        lips: (T 20 2) as of `score_lips`.
        wave: (S,) samples at 16 kHz.
        encoder: The network of `load_lip_sync_scorer`.
        fps: Frames per second of the lips.

    Returns:
        Best offset, its confidence and its correlation.
    """
    return score_lips(lips, predict_lips(wave, len(lips), encoder, fps))


def remove_drift(values: np.ndarray) -> np.ndarray:
    """Subtract from values (T D) their running mean over T, weighted by a Gaussian; the ends are repeated."""
    values, window = np.asarray(values, np.float64), (1, 8 * int(DRIFT_FRAMES) + 1)
    return values - cv2.GaussianBlur(values, window, 1, None, DRIFT_FRAMES, cv2.BORDER_REPLICATE)


def weighted_correlation(predicted: np.ndarray, lips: np.ndarray) -> float:
    """Compute the Pearson correlation of predicted and visible lips, the weighted mean of all coordinates.

    Each coordinate weighs by how far it is predicted to move: where speech moves little, the head decides. A visible
    coordinate that rests counts as 0.

    Args:
        predicted: (T 40) predicted coordinates.
        lips: (T 40) visible coordinates.

    Returns:
        Correlation, -1 .. 1.
    """
    predicted, lips, moves = predicted - predicted.mean(0), lips - lips.mean(0), lips.std(0)
    lips = lips / np.where(moves > 1e-9, moves, np.inf)
    return float((predicted * lips).mean(0).sum() / max(predicted.std(0).sum(), 1e-9))
