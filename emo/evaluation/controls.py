"""Two sets that nobody would want, made of the real one: they show what a score is worth."""

from dataclasses import replace

import numpy as np

from emo.evaluation.tracks import Tracks


def frozen(tracks: Tracks) -> Tracks:
    """The first frame all the time, with the same sound."""

    def still(values: np.ndarray) -> np.ndarray:
        return np.repeat(values[:1], len(values), axis=0)

    names = ("seen", "landmarks", "gaze", "face_sharpness", "mouth_sharpness", "colour", "change", "background")
    values = {name: still(getattr(tracks, name)) for name in (*names, "faces")}
    return replace(tracks, **values, sync=np.full(3, np.nan), nearness=np.full(3, np.nan))


def with_sound_of(tracks: Tracks, other: Tracks) -> Tracks:
    """The same pictures with another's sound, which begins anew where it is too short."""
    level = np.resize(other.level, len(tracks.level))
    heard = np.resize(other.heard, tracks.heard.shape)
    return replace(tracks, level=level, heard=heard, sync=np.full(3, np.nan))
