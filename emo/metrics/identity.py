"""Whether it stays the same person: CSIM, the cosine between ArcFace's vectors of faces. T frames.

Whether it stays the same person: CSIM, the cosine between ArcFace's vectors of faces. T frames.

Does a video keep to the person of its first frame? By ArcFace's vectors of its faces: CSIM, its worst frame, and how
it drifts.

faces (T 512) of emo.metrics.identity, 25 a second, NaN where no face is seen. The first that is seen is the person.
"""

from dataclasses import dataclass

import numpy as np
import torch

from emo.core.errors import InputError
from emo.face.landmarks import aligned, five_points
from emo.metrics.stability import drift_per_minute
from emo.metrics.tracks import without_gaps
from emo.models.arcface import DIM, IResNet

BATCH = 16


@torch.no_grad()
def features(net: IResNet, frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """frames (T 3 H W) uint8, landmarks (T 68 2) pixels -> (T 512) float32 of length 1; NaN where landmarks are."""
    found, points = np.full((len(frames), DIM), np.nan, np.float32), five_points(landmarks)
    seen = np.flatnonzero(np.isfinite(points).all((1, 2)))
    device = next(net.parameters()).device
    for start in range(0, len(seen), BATCH):
        part = seen[start : start + BATCH]
        faces = np.stack([aligned(frames[k], points[k]) for k in part])
        found[part] = net(torch.from_numpy(faces).to(device).float() / 127.5 - 1).cpu().numpy()
    return found


@dataclass
class Identity:
    """How like a person the faces of a video are: cosines, 1 the same."""

    mean: float  # CSIM
    worst: float
    worst_frame: int


def identity(faces: np.ndarray, person: np.ndarray) -> Identity:
    """faces (T 512) of a video, person (N 512): the portrait, or frames of the true video.

    Raises InputError where no face was seen in either.
    """
    known = person[np.isfinite(person).all(1)]
    if not len(known) or not np.isfinite(faces).all(1).any():
        raise InputError("no face was seen: identity can't be measured")
    middle = known.mean(0)
    cosines = faces @ (middle / np.linalg.norm(middle))
    return Identity(float(np.nanmean(cosines)), float(np.nanmin(cosines)), int(np.nanargmin(cosines)))


def kept_identity(faces: np.ndarray) -> Identity:
    """Of the faces after the first; NaN for fewer than two."""
    seen = np.flatnonzero(np.isfinite(faces).all(1))
    if len(seen) < 2:
        return Identity(np.nan, np.nan, -1)
    return identity(faces[seen[1:]], faces[seen[:1]])


def identity_drift(faces: np.ndarray) -> float:
    """By how much the cosine changes in a minute; NaN without faces, or for less than LEAST_DRIFT_SECONDS."""
    seen = np.isfinite(faces).all(1)
    if not seen.any():
        return np.nan
    return float(drift_per_minute(without_gaps(faces @ faces[seen.argmax()], seen)))
