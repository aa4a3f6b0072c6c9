"""Does a video keep to the person of its first frame? By ArcFace's vectors of its faces: CSIM, its worst frame, and how
it drifts.

faces (T 512) of emo.evaluation.identity, 25 a second, NaN where no face is seen. The first that is seen is the person.
"""

import numpy as np

from emo.evaluation.identity import Identity, identity
from emo.evaluation.stability import drift_per_minute
from emo.evaluation.tracks import without_gaps


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
