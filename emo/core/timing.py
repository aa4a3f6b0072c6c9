"""Frame rate and sample rate inside the package, and the times of frames and samples.

Frame k of a video covers the seconds k / fps .. (k + 1) / fps; sample n of a sound lies at n / sample_rate.
"""

import numpy as np

FPS = 25.0  # frames per second of prepared clips, and of videos that are written
SAMPLE_RATE = 16000  # Hz, of sound that models are conditioned on


def count_frames(duration_seconds: float, fps: float = FPS) -> int:
    """Count the frames of a video that is as long as a sound.

    Args:
        duration_seconds: Length of the sound.
        fps: Frames per second.

    Returns:
        Number of frames, rounded to the nearest.
    """
    return round(duration_seconds * fps)


def frame_edges(num_frames: int, fps: float = FPS, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Compute which audio samples accompany each frame.

    Args:
        num_frames: Number of frames.
        fps: Frames per second.
        sample_rate: Audio samples per second.

    Returns:
        (num_frames + 1,) int: the samples of frame k are edges[k] .. edges[k + 1] - 1.
    """
    return np.round(np.arange(num_frames + 1) * sample_rate / fps).astype(int)


def frame_centers(num_frames: int, fps: float = FPS) -> np.ndarray:
    """Compute the middle of each frame's time.

    Args:
        num_frames: Number of frames.
        fps: Frames per second.

    Returns:
        (num_frames,) seconds.
    """
    return (np.arange(num_frames) + 0.5) / fps
