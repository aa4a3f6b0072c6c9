"""All measures of a video: their names, units, best values, and the functions that compute them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from emo.face.landmarks import mouth_opening
from emo.metrics.controls import control_error
from emo.metrics.identity import identity_drift, measure_own_identity
from emo.metrics.motion import (
    blinks_per_minute,
    brow_dynamics,
    delta_p,
    head_dynamics,
    lip_dynamics,
    mean_head_speed,
    pose_drift,
)
from emo.metrics.portrait import head_sharpness, open_mouth_sharpness
from emo.metrics.score import AS_REAL, Measure
from emo.metrics.stability import border_jump, color_drift, flicker, sharpness_drift
from emo.metrics.sync import (
    lip_volume_difference,
    measure_onset_lead,
    measure_video_sync,
    opening_amplitude,
    silence_opening,
    silent_lip_stability,
)
from emo.metrics.tracks import VideoTracks, measure_lip_sync

MIN_VISIBLE_RATIO = 0.5  # of the frames; where the face is visible in fewer, nothing is measured of it
MIN_FRAMES = 12
Value = TypeVar("Value")


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured in addition to the measures that need no external weights.

    Attributes:
        window: Frames from the start of one window to the start of the next: measures jumps there.
        syncnet: Weights of SyncNet: LSE-C and LSE-D.
        controls: Also evaluate the real videos as frozen pictures and with another's sound.
        networks: Weights of networks, by the names of `emo.metrics.networks.catalog`.
        reconstruction: PSNR and SSIM to the real videos of the same names.
        portraits: Folder of the pictures that the videos were made from: sharpness over the picture's.
        asked: Folder of files that say what the videos were asked to show: errors and responses.
    """

    window: int | None = None
    syncnet: Path | None = None
    controls: bool = False
    networks: dict[str, Path] = field(default_factory=dict)
    reconstruction: bool = False
    portraits: Path | None = None
    asked: Path | None = None


def list_measures(options: EvaluationOptions) -> list[Measure]:
    """Return the measures of an evaluation, in the order of the table."""
    sync, onset = from_opening(measure_video_sync), from_opening(measure_onset_lead)
    measures = [
        Measure("face_sharpness", lambda t: t.face_sharpness.mean(), "1/px²", AS_REAL, scored=True),
        Measure("mouth_sharpness", lambda t: t.mouth_sharpness.mean(), "1/px²", AS_REAL, scored=True),
        Measure("lip_dynamics", lambda t: lip_dynamics(t.landmarks), "% of face", AS_REAL, scored=True),
        Measure("head_dynamics", lambda t: head_dynamics(t.landmarks), "degrees, % of face", AS_REAL, scored=True),
        Measure("brow_dynamics", lambda t: brow_dynamics(t.landmarks), "% of eyes' distance", AS_REAL, scored=True),
        Measure("silent_lip_stability", from_opening(silent_lip_stability), "% of face", AS_REAL, scored=True),
        Measure("lip_volume_difference", from_opening(lip_volume_difference), "0..1", AS_REAL, scored=True),
        Measure("opening_amplitude", lambda t: opening_amplitude(mouth_opening(t.landmarks)), "of face", AS_REAL),
        Measure("mouth_voice_r", lambda t: sync(t).correlation, "r", "high"),
        Measure("mouth_voice_lag", lambda t: abs(sync(t).best_lag_frames), "frames", "0"),
        Measure("lip_sync_confidence", lambda t: measure_lip_sync(t)[0], "r", "high"),
        Measure("lip_sync_offset", lambda t: measure_lip_sync(t)[1], "frames", "0"),
        Measure("silence_spread", lambda t: sync(t).silence_spread, "of speech", "low"),
        Measure("silence_opening", from_opening(silence_opening), "of speech", "low"),
        Measure("onset_lead", lambda t: onset(t).lead_ms, "ms", "0"),
        Measure("early_opening", lambda t: onset(t).early_opening, "of speech", "low"),
        Measure("head_speed", lambda t: mean_head_speed(t.visible_landmarks), "rad/s", AS_REAL),
        Measure("delta_P", lambda t: delta_p(t.visible_landmarks), "degrees a frame", AS_REAL),
        Measure("blinks", lambda t: blinks_per_minute(t.landmarks), "per minute", AS_REAL),
        Measure("flicker", lambda t: flicker(t.color[:, 0]), "L*", AS_REAL),
        Measure(
            "background_change", lambda t: t.background_change[1:].mean(), "gray levels", AS_REAL, needs_face=False
        ),
        Measure("sharpness_drift", lambda t: sharpness_drift(t.face_sharpness), "% a minute", "0"),
        Measure("color_drift", lambda t: color_drift(t.color), "ΔE a minute", "low"),
        Measure("pose_drift", lambda t: pose_drift(t.landmarks), "degrees a minute", "low"),
        Measure("face_visible", lambda t: t.face_visible.mean(), "of frames", "1", needs_face=False),
    ]
    if (window := options.window) is not None:
        jump = Measure("border_jump", lambda t: border_jump(t.frame_change, window), "ratio", "1", needs_face=False)
        measures.append(jump)
    if options.portraits is not None:
        measures += [
            Measure("head_sharpness", lambda t: head_sharpness(t.portrait), "of portrait", "1"),
            Measure(
                "open_mouth_sharpness", lambda t: open_mouth_sharpness(t.portrait, t.landmarks), "of portrait", "1"
            ),
        ]
    if options.asked is not None:
        measures += [
            Measure("speed_error", lambda t: control_error(t, "speed"), "%", "0"),
            Measure("gaze_error", lambda t: control_error(t, "gaze"), "degrees", "0"),
            Measure("pose_error", lambda t: control_error(t, "pose"), "degrees", "0"),
            Measure("distance_error", lambda t: control_error(t, "distance"), "%", "0"),
        ]
    if options.syncnet is not None:
        measures.append(Measure("LSE-C", lambda t: t.syncnet[0], "confidence", AS_REAL))
        measures.append(Measure("LSE-D", lambda t: t.syncnet[1], "distance", AS_REAL))
        measures.append(Measure("syncnet_offset", lambda t: t.syncnet[2], "frames", "0"))
    if "arcface" in options.networks:
        measures.append(Measure("CSIM", lambda t: measure_own_identity(t.face_embeddings).mean, "cosine", AS_REAL))
        measures.append(
            Measure("CSIM_worst_frame", lambda t: measure_own_identity(t.face_embeddings).worst, "cosine", AS_REAL)
        )
        measures.append(Measure("identity_drift", lambda t: identity_drift(t.face_embeddings), "cosine a minute", "0"))
    if options.reconstruction:
        measures.append(Measure("PSNR", lambda t: t.reconstruction[0], "dB", "high", needs_face=False))
        measures.append(Measure("SSIM", lambda t: t.reconstruction[1], "up to 1", "high", needs_face=False))
    if options.reconstruction and "lpips" in options.networks:
        measures.append(Measure("LPIPS", lambda t: t.reconstruction[2], "distance", "low", needs_face=False))
    return measures


def from_opening(measure: Callable[[np.ndarray, np.ndarray], Value]) -> Callable[[VideoTracks], Value]:
    """Convert a function of mouth opening (T,) and loudness (T,) to a function of tracks."""
    return lambda tracks: measure(mouth_opening(tracks.landmarks), tracks.loudness_db)


def measure_tracks(tracks: VideoTracks, measures: list[Measure]) -> dict[str, float]:
    """Compute the figures of one video.

    Args:
        tracks: Tracks of the video.
        measures: The measures to compute.

    Returns:
        Name of a measure -> its figure, NaN where it can't be measured.
    """
    enough = tracks.face_visible.mean() >= MIN_VISIBLE_RATIO and len(tracks.face_visible) >= MIN_FRAMES
    return {m.name: float(m.compute(tracks)) if enough or not m.needs_face else np.nan for m in measures}
