"""Choose the clips for training: the limits of each measure, and the reason for a rejection."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import cv2
import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.clip import ClipInfo
from emo.face.pose import head_rotations
from emo.media.audio import loudness
from emo.media.video import VideoInfo

MAX_UNSTEADINESS = 3.0  # gray levels, of a talking still: good ones measure up to 2.8, distorted ones 3 to 16
OCCLUDED_SCORE = 0.8  # of a frame: 93 of 100 drawn objects over a third of the lips and more score higher
MOUTH = np.s_[:, 36:60, 20:48]  # of crops (T 64 64)
OLD_NAMES = {  # of limits, and what they are called now
    "shortest_seconds": "min_seconds",
    "longest_seconds": "max_seconds",
    "longest_video_hours": "max_video_hours",
    "smallest_face_pixels": "min_face_pixels",
    "most_turned_degrees": "max_rotation_degrees",
    "most_outside": "max_offscreen_ratio",
    "least_sharpness": "min_sharpness",
    "least_change": "min_motion",
    "most_bars": "max_bars_ratio",
    "most_letters": "max_letter_strokes",
    "most_covered": "max_occluded_ratio",
    "least_loud_db": "min_peak_db",
    "least_voice": "min_speech_ratio",
    "least_music": "min_music_ratio",
    "least_sync_confidence": "min_syncnet_confidence",
    "most_sync_offset_frames": "max_syncnet_offset_frames",
    "least_ear_confidence": "min_lip_sync_confidence",
    "most_ear_offset_frames": "max_lip_sync_offset_frames",
}


@dataclass
class ClipLimits:
    """What a clip must satisfy. Figures without a source were measured on GRID and on published talking clips.

    Attributes:
        min_seconds: LatentSync's and SoulX-FlashHead's shortest scene; a sentence of GRID has 3.
        max_seconds: What is longer is split; SoulX-FlashHead's longest scene.
        max_video_hours: Length of a file.
        min_face_pixels: Side of the square around the face.
        max_rotation_degrees: Angle between face and camera, 90th percentile of the frames; profiles lie beyond.
        max_offscreen_ratio: Share of the face's square beyond the frame; complete faces measure up to 0.1, cut ones
            0.27.
        min_sharpness: Sharp faces have 0.28 to 0.6; blurred by a fiftieth of their square, 0.16 at most.
        min_motion: Gray levels; talkers have 3 to 50, photographs 0 to 1.9 under noise, shaking and zooming.
        max_bars_ratio: Share of the face's square under black bars.
        max_letter_strokes: In one line; faces have up to 5, subtitles over the mouth 11 and more.
        max_occluded_ratio: Share of the frames in which something covers the mouth; real talkers have up to 0.04.
        min_peak_db: Level of the loudest frame over full scale.
        min_speech_ratio: Share of the time with a voice; speech has 0.33 and more, one syllable in 3 s 0.06, music 0.
            Silero finds the voice in one song of two: footage of singers needs separated vocals, or 0 here.
        min_music_ratio: Share of the sound's energy from which on music is separated from the voice, where that is
            asked for.
        min_syncnet_confidence: LatentSync's (its README, preprocess/sync_av.py).
        max_syncnet_offset_frames: LatentSync's; the sound is then moved to offset 0, as there.
        min_lip_sync_confidence: Confidence of the packaged scorer; keeps 80 of 100 published clips of talkers, and
            10 of 100 of the same clips with another sound.
        max_lip_sync_offset_frames: The packaged scorer errs by as much, so nothing is moved.
    """

    min_seconds: float = 5.0
    max_seconds: float = 50.0
    max_video_hours: float = 6.0
    min_face_pixels: float = 90.0
    max_rotation_degrees: float = 45.0
    max_offscreen_ratio: float = 0.2
    min_sharpness: float = 0.2
    min_motion: float = 2.0
    max_bars_ratio: float = 0.02
    max_letter_strokes: float = 8.0
    max_occluded_ratio: float = 0.3
    min_peak_db: float = -50.0
    min_speech_ratio: float = 0.05
    min_music_ratio: float = 0.1
    min_syncnet_confidence: float = 3.0
    max_syncnet_offset_frames: int = 6
    min_lip_sync_confidence: float = 0.22
    max_lip_sync_offset_frames: int = 4


def check_limit_names(names: Sequence[str], place: str) -> None:
    """Check names of limits.

    Args:
        names: As given.
        place: File or options that they come from, for the message.

    Raises:
        InputError: A name is unknown or an old one.
    """
    for name in names:
        if name in OLD_NAMES:
            raise InputError(f"{place}: {name} was renamed: write {OLD_NAMES[name]}")
    if set(names) - set(asdict(ClipLimits())):
        raise InputError(f"{place}: give name=number of {', '.join(asdict(ClipLimits()))}")


def read_limits(recipe: dict[str, float], overrides: Sequence[str]) -> ClipLimits:
    """Combine the limits of a recipe with those of a command line.

    Args:
        recipe: Limits over the defaults.
        overrides: `name=value` each, over both.

    Returns:
        The combined limits.

    Raises:
        InputError: An unknown or old name, or a value that is not a number.
    """
    given = " ".join(overrides)
    check_limit_names([text.split("=")[0] for text in overrides], given)
    layers = OmegaConf.structured(ClipLimits), OmegaConf.create(recipe), OmegaConf.from_dotlist([*overrides])
    try:
        return cast(ClipLimits, OmegaConf.to_object(OmegaConf.merge(*layers)))
    except OmegaConfBaseException as error:
        raise InputError(f"{given}: give name=number of {', '.join(asdict(ClipLimits()))}") from error


def occluded_ratio(occlusion: np.ndarray) -> float | None:
    """Measure the share of the frames in which the mouth is occluded.

    Args:
        occlusion: (T,) score 0 .. 1 of each frame, NaN where there is no face.

    Returns:
        The share of the frames with a face; None where there is none.
    """
    seen = occlusion[np.isfinite(occlusion)]
    return float((seen > OCCLUDED_SCORE).mean()) if len(seen) else None


def head_rotation_degrees(landmarks: np.ndarray) -> np.ndarray:
    """Measure the angle between the face's direction and the camera: landmarks (T 68 2) pixels -> (T,) degrees."""
    return np.degrees(np.arccos(head_rotations(landmarks)[:, 2, 2].clip(-1, 1)))


def check_video(name: str, video: VideoInfo, limits: ClipLimits) -> None:
    """Check a file before it is decoded.

    Args:
        name: Name of the source, for the message.
        video: Size, rate and length of the file.
        limits: Which files pass.

    Raises:
        InputError: The file is rejected; the message gives the first reason.
    """
    if video.hdr:
        raise InputError(f"{name}: the picture is HDR; convert it to BT.709 first")
    if video.seconds > limits.max_video_hours * 3600:
        raise InputError(f"{name}: the file is longer than max_video_hours={limits.max_video_hours:g}: cut it")


def check_picture(info: ClipInfo, limits: ClipLimits) -> None:
    """Check the picture measures of a clip; what was not measured passes.

    Args:
        info: Measures of the clip.
        limits: Which clips pass.

    Raises:
        InputError: The clip is rejected; the message gives the first reason.
    """
    reasons = {
        f"the shot is shorter than min_seconds={limits.min_seconds:g}": info.num_frames < limits.min_seconds * FPS,
        f"the face is smaller than min_face_pixels={limits.min_face_pixels:g}": below(
            info.face_pixels, limits.min_face_pixels
        ),
        f"the head is turned by more than max_rotation_degrees={limits.max_rotation_degrees:g}": above(
            info.rotation_degrees, limits.max_rotation_degrees
        ),
        f"more of the face lies outside of the picture than max_offscreen_ratio={limits.max_offscreen_ratio:g}": above(
            info.offscreen_ratio, limits.max_offscreen_ratio
        ),
        f"black bars hide more of the face than max_bars_ratio={limits.max_bars_ratio:g}": above(
            info.bars_ratio, limits.max_bars_ratio
        ),
        f"the face is less sharp than min_sharpness={limits.min_sharpness:g}": below(
            info.sharpness, limits.min_sharpness
        ),
        f"the face moves less than min_motion={limits.min_motion:g}; is it a photograph?": below(
            info.motion, limits.min_motion
        ),
        f"text over the mouth has more strokes than max_letter_strokes={limits.max_letter_strokes:g}": above(
            info.letter_strokes, limits.max_letter_strokes
        ),
        f"the mouth is occluded in more frames than max_occluded_ratio={limits.max_occluded_ratio:g}": above(
            info.occluded_ratio, limits.max_occluded_ratio
        ),
    }
    raise_first_reason(info, reasons)


def check_sound(info: ClipInfo, wave: np.ndarray, limits: ClipLimits) -> None:
    """Check the sound of a clip.

    Args:
        info: Measures of the clip.
        wave: (S,) the voice, over the clip's time.
        limits: Which clips pass.

    Raises:
        InputError: With the first reason against it.
    """
    loudest = loudness(wave, SAMPLE_RATE, info.num_frames, FPS).max()
    reasons = {
        f"the sound is quieter than min_peak_db={limits.min_peak_db:g}": loudest < limits.min_peak_db,
        f"the sound has less speech than min_speech_ratio={limits.min_speech_ratio:g}": below(
            info.speech_ratio, limits.min_speech_ratio
        ),
    }
    raise_first_reason(info, reasons)


def check_sync(info: ClipInfo, limits: ClipLimits) -> None:
    """Check that lips and sound match, by the limits of the scorer that measured it.

    Args:
        info: Measures of the clip.
        limits: Which clips pass.

    Raises:
        InputError: The clip is rejected; the message gives the first reason.
    """
    scale, lowest, highest = "lip_sync", limits.min_lip_sync_confidence, limits.max_lip_sync_offset_frames
    if info.sync_scorer == "syncnet":
        scale, lowest, highest = "syncnet", limits.min_syncnet_confidence, limits.max_syncnet_offset_frames
    offset = None if info.sync_offset_frames is None else abs(info.sync_offset_frames)
    reasons = {
        f"the lip-sync confidence is below min_{scale}_confidence={lowest:g}": below(info.sync_confidence, lowest),
        f"the sound is early or late by more than max_{scale}_offset_frames={highest:g}": above(offset, highest),
    }
    raise_first_reason(info, reasons)


def raise_first_reason(info: ClipInfo, reasons: dict[str, bool]) -> None:
    """Reject a clip for the first reason that applies.

    Args:
        info: The clip, for its name.
        reasons: Reason -> whether it applies.

    Raises:
        InputError: A reason applies.
    """
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"{info.name}: {reason}")


def below(value: float | None, limit: float) -> bool:
    """Check whether a measured value is lower than a limit.

    Args:
        value: The value; None: not measured.
        limit: The limit, in the same unit.

    Returns:
        True where it is lower; False where it was not measured.
    """
    return value is not None and value < limit


def above(value: float | None, limit: float) -> bool:
    """Check whether a measured value is higher than a limit.

    Args:
        value: The value; None: not measured.
        limit: The limit, in the same unit.

    Returns:
        True where it is higher; False where it was not measured.
    """
    return value is not None and value > limit


def measure_unsteadiness(frames: Sequence[np.ndarray]) -> float:
    """Measure how much pixels away from the mouth change in a crop with a stabilized head.

    Such motion is unrelated to speech, and models that were trained on it blur the picture there.

    Args:
        frames: T crops (s s 3) uint8.

    Returns:
        Gray levels by which such a pixel differs from its mean over time.
    """
    small = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA) for f in frames]
    stack = np.stack(small).astype(np.float32)
    away = np.abs(stack - stack.mean(0))
    away[MOUTH] = np.nan
    return float(np.nanmean(away))
