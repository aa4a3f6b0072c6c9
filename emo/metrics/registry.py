"""All measures of a video: what each is called, what it is of, and what is good."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emo.face.landmarks import opening
from emo.metrics.identity import identity_drift, kept_identity
from emo.metrics.motion import blinks_per_minute, brow_dynamics, delta_p, head_dynamics, lip_dynamics
from emo.metrics.stability import border_jump, colour_drift, flicker, sharpness_drift
from emo.metrics.sync import follows, lip_volume_difference, silent_lip_stability
from emo.metrics.tracks import Tracks, ear_sync

LEAST_SEEN = 0.5  # of the frames: below, nothing is said of a face
LEAST_FRAMES = 12
AS_REAL = "as real"  # good is what real footage has


@dataclass(frozen=True)
class Asked:
    """What is measured beside what always is."""

    window: int | None = None  # frames from one window's start to the next's: jumps there
    syncnet: Path | None = None  # weights: lips and sound by SyncNet
    controls: bool = False  # a frozen picture, and another's sound
    networks: dict[str, Path] = field(default_factory=dict)  # weights, by the options of emo.metrics.networks
    reconstruction: bool = False  # how near videos are to the real ones of their names


@dataclass(frozen=True)
class Measure:
    """One figure of a video."""

    name: str
    of: Callable[[Tracks], float]
    unit: str
    good: str  # AS_REAL, "high" or "low", or the ideal value
    scored: bool = False  # whether it is one of THEval's, whose closeness to real footage makes the score
    face: bool = True  # whether a face is needed


def measures(asked: Asked) -> list[Measure]:
    """In the order of the table."""
    found = [
        Measure("face_sharpness", lambda t: t.face_sharpness.mean(), "1/px²", AS_REAL, scored=True),
        Measure("mouth_sharpness", lambda t: t.mouth_sharpness.mean(), "1/px²", AS_REAL, scored=True),
        Measure("lip_dynamics", lambda t: lip_dynamics(t.landmarks), "% of face", AS_REAL, scored=True),
        Measure("head_dynamics", lambda t: head_dynamics(t.landmarks), "degrees, % of face", AS_REAL, scored=True),
        Measure("brow_dynamics", lambda t: brow_dynamics(t.landmarks), "% of eyes' distance", AS_REAL, scored=True),
        Measure("silent_lip_stability", of_speech(silent_lip_stability), "% of face", AS_REAL, scored=True),
        Measure("lip_volume_difference", of_speech(lip_volume_difference), "0..1", AS_REAL, scored=True),
        Measure("mouth_voice_r", lambda t: of_speech(follows)(t).r, "r", "high"),
        Measure("mouth_voice_lag", lambda t: abs(of_speech(follows)(t).best_lag_frames), "frames", "0"),
        Measure("ear_confidence", lambda t: ear_sync(t)[0], "r", "high"),
        Measure("ear_offset", lambda t: ear_sync(t)[1], "frames", "0"),
        Measure("silence_spread", lambda t: of_speech(follows)(t).silence_spread, "of speech", "low"),
        Measure("delta_P", lambda t: delta_p(t.seen_landmarks), "degrees a frame", AS_REAL),
        Measure("blinks", lambda t: blinks_per_minute(t.landmarks), "per minute", AS_REAL),
        Measure("flicker", lambda t: flicker(t.colour[:, 0]), "L*", AS_REAL),
        Measure("background_change", lambda t: t.background[1:].mean(), "grey levels", AS_REAL, face=False),
        Measure("sharpness_drift", lambda t: sharpness_drift(t.face_sharpness), "% a minute", "0"),
        Measure("colour_drift", lambda t: colour_drift(t.colour), "ΔE a minute", "low"),
        Measure("face_seen", lambda t: t.seen.mean(), "of frames", "1", face=False),
    ]
    if asked.window is not None:
        found.append(Measure("border_jump", lambda t: border_jump(t.change, asked.window), "ratio", "1", face=False))
    if asked.syncnet is not None:
        found.append(Measure("LSE-C", lambda t: t.sync[0], "confidence", AS_REAL))
        found.append(Measure("LSE-D", lambda t: t.sync[1], "distance", AS_REAL))
        found.append(Measure("syncnet_offset", lambda t: t.sync[2], "frames", "0"))
    if "arcface" in asked.networks:
        found.append(Measure("CSIM", lambda t: kept_identity(t.faces).mean, "cosine", AS_REAL))
        found.append(Measure("CSIM_worst_frame", lambda t: kept_identity(t.faces).worst, "cosine", AS_REAL))
        found.append(Measure("identity_drift", lambda t: identity_drift(t.faces), "cosine a minute", "0"))
    if asked.reconstruction:
        found.append(Measure("PSNR", lambda t: t.nearness[0], "dB", "high", face=False))
        found.append(Measure("SSIM", lambda t: t.nearness[1], "up to 1", "high", face=False))
    if asked.reconstruction and "lpips" in asked.networks:
        found.append(Measure("LPIPS", lambda t: t.nearness[2], "distance", "low", face=False))
    return found


def of_speech(function: Callable) -> Callable:
    """A function of opening and level -> one of tracks, NaN without sound."""

    def measure(tracks: Tracks):
        return function(opening(tracks.landmarks), tracks.level)

    return measure


def measure_tracks(tracks: Tracks, those: list[Measure]) -> dict[str, float]:
    """The figure of each measure; NaN where it can't be taken."""
    shown = tracks.seen.mean() >= LEAST_SEEN and len(tracks.seen) >= LEAST_FRAMES
    return {m.name: float(m.of(tracks)) if shown or not m.face else np.nan for m in those}
