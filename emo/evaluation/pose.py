"""How much a head moves: VASA-1's delta P (arXiv 2404.10667), the mean change of the pose's angles from frame to frame.

The paper says no more than that; here it is the mean over yaw, pitch and roll, in degrees, of heads measured by
emo.face.speed. Less is not better: a frozen head has 0. VASA-1's other measure of heads, CAPP, can't be had: neither
the network that puts sound and poses side by side nor its weights were published.
"""

import numpy as np

from emo.face.speed import head_angles, head_rotations


def delta_p(landmarks: np.ndarray) -> float:
    """landmarks (T 68 2) pixels, NaN where the face was not seen -> degrees per frame; NaN without two frames in a row.

    Compare at one frame rate.
    """
    change = np.degrees(np.diff(head_angles(head_rotations(landmarks)), axis=0))
    return float(np.abs(change).mean(1)[np.isfinite(change).all(1)].mean()) if np.isfinite(change).any() else np.nan
