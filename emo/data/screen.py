"""Is a clip fit to be learnt from? One measure each, and its limit."""

from collections.abc import Sequence

import cv2
import numpy as np

MOST_UNSTEADY = 3.0  # grey levels, of a talking still: good ones reach 2.8, torn ones lie at 3 to 16
MOUTH = np.s_[:, 36:60, 20:48]  # of a crop of 64 x 64


def unsteadiness(frames: Sequence[np.ndarray]) -> float:
    """Frames (s s 3) uint8 of a crop whose head is held still -> grey levels by which a pixel away from the mouth
    differs from its mean over time: what moves there is no speech, and a model learns to paint it as haze."""
    small = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA) for f in frames]
    stack = np.stack(small).astype(np.float32)
    away = np.abs(stack - stack.mean(0))
    away[MOUTH] = np.nan
    return float(np.nanmean(away))
