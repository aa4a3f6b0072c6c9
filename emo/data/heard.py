"""The motion that a sound tells: what the face does on average while the ear hears what it hears.

True lips do more than the sound says: a model that learns from them learns the mean of many mouths, which is a blur.
What moves with the ear's code alone is one mouth for one sound, and can be learnt sharp.
Meshes are MediaPipe's, (468 2); motion is in widths of the mouth across and heights of the face down.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from emo.data.animate import make_driver, parting
from emo.data.clip import FPS, load_clip
from emo.errors import InputError
from emo.models.audio import AudioEncoder

RIDGE = 1e-2


@dataclass
class HeardMotion:
    """A regression from the ear's code to the face's motion."""

    ear: AudioEncoder
    weights: np.ndarray  # (K 468*2)
    scale: float  # true opening's spread over that of the regression

    def __call__(self, wave: np.ndarray, num_frames: int) -> np.ndarray:
        """wave (S,) -> the motion of its first frames away from silence (T 468 2)."""
        heard = terms(listen(self.ear, wave, num_frames)) - terms(listen(self.ear, np.zeros(len(wave)), 1))
        return self.scale * (heard @ self.weights).reshape(num_frames, -1, 2)


@torch.no_grad()
def listen(ear: AudioEncoder, wave: np.ndarray, num_frames: int) -> np.ndarray:
    """The code (T D) of the frames of a wave (S,)."""
    features = ear(torch.from_numpy(np.float32(wave))[None], 0, num_frames, FPS)
    return features[0].flatten(1).double().numpy()


def terms(code: np.ndarray) -> np.ndarray:
    """(T D) -> (T K): one, each number, each product of two."""
    first, second = np.triu_indices(code.shape[1])
    return np.concatenate([np.ones((len(code), 1)), code, code[:, first] * code[:, second]], axis=1)


def fit_motion(clips: list[Path], ear: AudioEncoder) -> HeardMotion:
    """Ridge regression on all frames of the clips. Raises InputError for a clip without a mesh."""
    heard, moved = [], []
    for path in clips:
        clip = load_clip(path)
        if clip.mesh.size == 0:
            raise InputError(f"{path} has no face mesh to drive with: prepare it with --labels")
        heard.append(terms(listen(ear, clip.voice, len(clip.mesh))))
        moved.append(make_driver(clip.mesh, []).shifts)
    heard, moved = np.concatenate(heard), np.concatenate(moved)
    told = moved.reshape(len(moved), -1)
    weights = np.linalg.solve(heard.T @ heard + RIDGE * np.eye(heard.shape[1]), heard.T @ told)
    spread = parting((heard @ weights).reshape(moved.shape)).std()
    return HeardMotion(ear, weights, parting(moved).std() / spread)
