"""Measure whether a video shows the person of its first frame throughout: CSIM and its drift.

Both compare ArcFace's embeddings of faces.

Shapes: T frames at 25 per second; embeddings (T 512) of length 1, NaN where no face is visible.
"""

from dataclasses import dataclass

import numpy as np
import torch

from emo.core.errors import InputError
from emo.face.landmarks import align_face, five_points
from emo.metrics.stability import drift_per_minute, interpolate_gaps
from emo.models.arcface import EMBEDDING_DIM, IResNet

BATCH = 16


@torch.no_grad()
def extract_features(net: IResNet, frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Embed the face of each frame.

    Args:
        net: ArcFace with loaded weights.
        frames: (T 3 H W) uint8 RGB.
        landmarks: (T 68 2) pixels, NaN where the face is not visible.

    Returns:
        (T 512) float32 of length 1, NaN where the face is not visible.
    """
    embeddings, points = np.full((len(frames), EMBEDDING_DIM), np.nan, np.float32), five_points(landmarks)
    visible = np.flatnonzero(np.isfinite(points).all((1, 2)))
    device = next(net.parameters()).device
    for start in range(0, len(visible), BATCH):
        part = visible[start : start + BATCH]
        faces = np.stack([align_face(frames[k], points[k]) for k in part])
        embeddings[part] = net(torch.from_numpy(faces).to(device).float() / 127.5 - 1).cpu().numpy()
    return embeddings


@dataclass
class IdentitySimilarity:
    """Cosine similarity of the faces of a video to a person; 1 is the same.

    Attributes:
        mean: CSIM, the mean over frames.
        worst: Lowest similarity of all frames.
        worst_frame: Index of the frame with the lowest similarity; -1 without faces.
    """

    mean: float
    worst: float
    worst_frame: int


def measure_identity(embeddings: np.ndarray, person: np.ndarray) -> IdentitySimilarity:
    """Compare the faces of a video with a person.

    Args:
        embeddings: (T 512) embeddings of the video's faces.
        person: (N 512) embeddings of the portrait, or of frames of the true video.

    Returns:
        The mean and the lowest cosine similarity to the person's mean embedding.

    Raises:
        InputError: No face is visible in one of them.
    """
    known = person[np.isfinite(person).all(1)]
    if not len(known) or not np.isfinite(embeddings).all(1).any():
        raise InputError("no face is visible: identity can't be measured")
    mean = known.mean(0)
    cosines = embeddings @ (mean / np.linalg.norm(mean))
    return IdentitySimilarity(float(np.nanmean(cosines)), float(np.nanmin(cosines)), int(np.nanargmin(cosines)))


def measure_own_identity(embeddings: np.ndarray) -> IdentitySimilarity:
    """Compare the faces (T 512) of a video with the first visible one; NaN for fewer than two."""
    visible = np.flatnonzero(np.isfinite(embeddings).all(1))
    if len(visible) < 2:
        return IdentitySimilarity(np.nan, np.nan, -1)
    return measure_identity(embeddings[visible[1:]], embeddings[visible[:1]])


def identity_drift(embeddings: np.ndarray) -> float:
    """Measure how much the face's likeness to the first visible face changes in a minute.

    Args:
        embeddings: (T 512), NaN where no face is visible.

    Returns:
        Difference of cosines; NaN without faces, or for less than MIN_DRIFT_SECONDS.
    """
    visible = np.isfinite(embeddings).all(1)
    if not visible.any():
        return np.nan
    return float(drift_per_minute(interpolate_gaps(embeddings @ embeddings[visible.argmax()], visible)))
