"""Is a face fit to be learnt from? One measure each, and the limits they are held to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

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

MOST_UNSTEADY = 3.0  # grey levels, of a talking still: good ones reach 2.8, torn ones lie at 3 to 16
SURELY = 0.8  # covered, in a frame: 93 of 100 made-up covers of a third of the lips and more lie above
MOUTH = np.s_[:, 36:60, 20:48]  # of a crop of 64 x 64


@dataclass
class Limits:
    """What a clip must keep to. Figures without a source were measured on GRID and published talking clips."""

    shortest_seconds: float = 5.0  # LatentSync's and SoulX-FlashHead's shortest scene; a sentence of GRID has 3
    longest_seconds: float = 50.0  # what is longer is cut; SoulX-FlashHead's longest scene
    longest_video_hours: float = 6.0  # of a file
    smallest_face_pixels: float = 90.0  # side of the square around it
    most_turned_degrees: float = 45.0  # from the camera, in nine frames of ten; beyond lie profiles
    most_outside: float = 0.2  # share of the face's square beyond the frame; whole faces have up to 0.1, cut ones 0.27
    least_sharpness: float = 0.2  # sharp faces have 0.28 to 0.6; blurred by a fiftieth of their square, 0.16 at most
    least_change: float = 2.0  # grey levels; talkers have 3 to 50, photos 0 to 1.9 under noise, shaking and zooming
    most_bars: float = 0.02  # share of the face's square
    most_letters: float = 8.0  # strokes in a line; faces have up to 5, subtitles over the mouth 11 and more
    most_covered: float = 0.3  # share of the frames in which something is over the mouth; real talkers have up to 0.04
    least_loud_db: float = -50.0  # the loudest frame, over full scale
    # Of songs Silero hears one in two, the others are 0.0 like music: footage of singers wants --vocals, or 0
    least_voice: float = 0.05  # share of the time; speech has 0.33 and more, one syllable in 3 s 0.06, music 0.0
    least_music: float = 0.1  # share of the sound's energy; with --vocals, music from there on is taken away
    # SyncNet's are those of LatentSync (its README, preprocess/sync_av.py), which then moves the sound to 0, as here
    least_sync_confidence: float = 3.0
    most_sync_offset_frames: int = 6
    # The ear's keep 80 in 100 of published clips of talkers, and 10 in 100 of the same with another's sound
    least_ear_confidence: float = 0.22
    most_ear_offset_frames: int = 4  # it errs by as many, so it moves nothing


def read_limits(given: dict[str, float], overrides: list[str]) -> Limits:
    """`given` over the defaults, and `name=value` over both. Raises InputError for an unknown name or a value that is
    no number."""
    layers = OmegaConf.structured(Limits), OmegaConf.create(given), OmegaConf.from_dotlist(overrides)
    try:
        return OmegaConf.to_object(OmegaConf.merge(*layers))
    except OmegaConfBaseException as error:
        raise InputError(f"{' '.join(overrides)}: give name=number of {', '.join(asdict(Limits()))}") from error


def covered_share(covered: np.ndarray) -> float | None:
    """covered (T,) 0..1, how surely the mouth is covered, NaN where it was not seen -> the share of the frames."""
    seen = covered[np.isfinite(covered)]
    return float((seen > SURELY).mean()) if len(seen) else None


def check_video(name: str, video: VideoInfo, limits: Limits) -> None:
    """Raises InputError with the first reason against a file, before it is decoded."""
    if video.hdr:
        raise InputError(f"{name}: the picture is HDR; convert it to BT.709 first")
    if video.seconds > limits.longest_video_hours * 3600:
        raise InputError(f"{name}: the file is longer than {limits.longest_video_hours:g} hours; cut it")


def turned_degrees(landmarks: np.ndarray) -> np.ndarray:
    """landmarks (T 68 2) pixels -> (T,) how far the face looks away from the camera."""
    return np.degrees(np.arccos(head_rotations(landmarks)[:, 2, 2].clip(-1, 1)))


def check_picture(info: ClipInfo, limits: Limits) -> None:
    """Raises InputError with the first reason against a face as it was seen. What was not measured is no reason."""
    reasons = {
        f"the shot is shorter than {limits.shortest_seconds:g} s": info.num_frames < limits.shortest_seconds * FPS,
        f"the face is smaller than {limits.smallest_face_pixels:g} pixels": below(
            info.face_pixels, limits.smallest_face_pixels
        ),
        f"the head is turned by more than {limits.most_turned_degrees:g} degrees": beyond(
            info.turned_degrees, limits.most_turned_degrees
        ),
        "the face is cut off by the edge of the picture": beyond(info.outside, limits.most_outside),
        "the picture has black bars": beyond(info.bars, limits.most_bars),
        "the picture is blurred": below(info.sharpness, limits.least_sharpness),
        "the picture stands still": below(info.change, limits.least_change),
        "there is writing over the mouth": beyond(info.letters, limits.most_letters),
        "something covers the mouth": beyond(info.covered, limits.most_covered),
    }
    refuse(info, reasons)


def check_sound(info: ClipInfo, wave: np.ndarray, limits: Limits) -> None:
    """wave (S,) of the clip's time. Raises InputError with the first reason against it."""
    loudest = loudness(wave, SAMPLE_RATE, info.num_frames, FPS).max()
    reasons = {
        "there is no sound": loudest < limits.least_loud_db,
        "there is no voice": below(info.voice_share, limits.least_voice),
    }
    refuse(info, reasons)


def refuse(info: ClipInfo, reasons: dict[str, bool]) -> None:
    """Raises InputError with the first reason that holds."""
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"{info.name}: {reason}")


def check_sync(info: ClipInfo, limits: Limits) -> None:
    """Raises InputError where the lips and the sound are not of one take, as far as whoever measured it can tell."""
    least, most = limits.least_ear_confidence, limits.most_ear_offset_frames
    doubt = "the ear can't tell whether the lips say what is heard"
    if info.sync_by == "syncnet":
        least, most = limits.least_sync_confidence, limits.most_sync_offset_frames
        doubt = "the lips do not say what is heard"
    late = info.sync_offset_frames and abs(info.sync_offset_frames)
    refuse(info, {doubt: below(info.sync_confidence, least), "the sound is early or late": beyond(late, most)})


def below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def beyond(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def unsteadiness(frames: Sequence[np.ndarray]) -> float:
    """Frames (s s 3) uint8 of a crop whose head is held still -> grey levels by which a pixel away from the mouth
    differs from its mean over time: what moves there is no speech, and a model learns to paint it as haze."""
    small = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA) for f in frames]
    stack = np.stack(small).astype(np.float32)
    away = np.abs(stack - stack.mean(0))
    away[MOUTH] = np.nan
    return float(np.nanmean(away))
