"""Two sets that nobody would want, made of the real one: they show what a score is worth.

Two sets that nobody would want, made of the real one: they show what a score is worth.

Faults that are put into a good clip on purpose, to see which measures tell them and which stay as they are.

T frames (H W 3) uint8 at 25 per second; wave (S,) at SAMPLE_RATE; landmarks (T 68 2) pixels, iBUG.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import TEMPLATE, crop, region_of_landmarks, transform
from emo.media.audio import loudness
from emo.metrics.sync import silent, spoken
from emo.metrics.tracks import Tracks


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


FINE = 256  # pixels of the face's square in which masks are drawn
# centre and radii of ellipses in the face's square
MOUTH, EYES, WHOLE = ((0.5, 0.72), (0.2, 0.15)), ((0.5, float(TEMPLATE[0, 1])), (0.28, 0.07)), ((0.5, 0.5), (0.4, 0.45))
CHEEKS = ((0.33, 0.6), (0.1, 0.1)), ((0.67, 0.6), (0.1, 0.1))
LIPS, LIDS = slice(48, 68), slice(36, 48)


@dataclass(frozen=True)
class Footage:
    """A clip, and where its face is: faults move the points with the picture."""

    frames: list[np.ndarray]
    wave: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Fault:
    """What is done to a clip, and which figures it moves: up (1), down (-1), or anywhere (0)."""

    plant: Callable[[Footage], Footage]
    told_by: dict[str, int]


def patch(points: np.ndarray, ellipse: tuple, shape: tuple[int, ...]) -> np.ndarray:
    """points (68 2), a part of the face, shape (H W ...) -> (H W 1) 0..1, a soft ellipse over it."""
    (x, y), (across, high) = ellipse
    center, axes = (round(FINE * x), round(FINE * y)), (round(FINE * across), round(FINE * high))
    drawn = cv2.ellipse(np.zeros((FINE, FINE), np.float32), center, axes, 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(drawn, (0, 0), FINE / 50)
    return cv2.warpAffine(soft, region_of_landmarks(points).matrix(FINE), shape[1::-1])[..., None]


def mix(frame: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.clip(frame + (other.astype(np.float32) - frame) * mask + 0.5, 0, 255).astype(np.uint8)


def each_frame(footage: Footage, change: Callable[[int, np.ndarray], np.ndarray]) -> Footage:
    """Every frame, with its number, through `change`."""
    return replace(footage, frames=[change(k, frame) for k, frame in enumerate(footage.frames)])


def late_sound(footage: Footage, frames: int) -> Footage:
    late = round(frames / FPS * SAMPLE_RATE)
    return replace(footage, wave=np.pad(footage.wave, (late, 0))[: len(footage.wave)])


def other_sound(footage: Footage) -> Footage:
    """Its own sound, the last third of it first: as loud and as long, of nothing the mouth says."""
    return replace(footage, wave=np.roll(footage.wave, len(footage.wave) // 3))


def blurred(footage: Footage, share: float, ellipse: tuple = ((0.5, 0.5), (2.0, 2.0)), grows: bool = False) -> Footage:
    """By a Gaussian of this share of the face's side, in an ellipse of it; `grows`: from nothing to that at the end."""
    last = max(1, len(footage.frames) - 1)

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        sigma = share * region_of_landmarks(footage.landmarks[k]).side * (k / last if grows else 1)
        soft = cv2.GaussianBlur(frame, (0, 0), max(sigma, 0.01))
        return mix(frame, soft, patch(footage.landmarks[k], ellipse, frame.shape))

    return each_frame(footage, change)


def moved_part(footage: Footage, ellipse: tuple, points: slice, shown: Sequence[int]) -> Footage:
    """shown (T,): in each frame a part of the face, and the points in it, are those of another frame, and go with the
    head."""
    landmarks = footage.landmarks.copy()

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        other = shown[k]
        if other == k:
            return frame
        region = region_of_landmarks(footage.landmarks[other])
        part = crop(footage.frames[other], region, 2 * round(region.side))
        matrix = region_of_landmarks(footage.landmarks[k]).matrix(len(part))
        placed = transform(cv2.invertAffineTransform(region.matrix(len(part))), footage.landmarks[other, points])
        landmarks[k, points] = transform(matrix, placed)
        moved = cv2.warpAffine(part, matrix, frame.shape[1::-1])
        return mix(frame, moved, patch(footage.landmarks[k], ellipse, frame.shape))

    return replace(each_frame(footage, change), landmarks=landmarks)


def frozen_part(footage: Footage, ellipse: tuple, points: slice) -> Footage:
    """A part of the face stays as it is in the first frame."""
    return moved_part(footage, ellipse, points, [0] * len(footage.frames))


def restless_mouth(footage: Footage) -> Footage:
    """In every silence the mouth goes on as it does in speech."""
    shown = np.arange(len(footage.frames))
    level = loudness(footage.wave, SAMPLE_RATE, len(shown), FPS)
    quiet, speech = silent(level), np.flatnonzero(spoken(level))
    shown[quiet] = np.resize(speech, quiet.sum())
    return moved_part(footage, MOUTH, LIPS, shown.tolist())


def frozen_picture(footage: Footage) -> Footage:
    still = np.repeat(footage.landmarks[:1], len(footage.landmarks), axis=0)
    return replace(footage, frames=[footage.frames[0]] * len(footage.frames), landmarks=still)


def flickering(footage: Footage, grey_levels: float) -> Footage:
    """The face a little lighter in every second frame."""

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        return mix(frame, frame + grey_levels * (k % 2), patch(footage.landmarks[k], WHOLE, frame.shape))

    return each_frame(footage, change)


def drifting_colour(footage: Footage, grey_levels: float) -> Footage:
    """Ever more orange, to so much at the end, and no lighter."""
    shift = np.array([1.0, -0.25, -1.0]) * grey_levels / max(1, len(footage.frames) - 1)
    return each_frame(footage, lambda k, frame: mix(frame, frame + k * shift, np.float32(1)))


def swapped_person(footage: Footage, grey_levels: float) -> Footage:
    """From the middle on somebody of other cheeks, one as much darker as the other is lighter."""
    middle = len(footage.frames) // 2

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        dark, light = (patch(footage.landmarks[k], cheek, frame.shape) for cheek in CHEEKS)
        return mix(frame, frame + grey_levels * (light - dark), np.float32(k >= middle))

    return each_frame(footage, change)


def noisy_background(footage: Footage, grey_levels: float) -> Footage:
    """Noise of this deviation where the face is not."""
    random = np.random.default_rng(0)

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        noise = random.normal(0, grey_levels, frame.shape)
        return mix(frame, frame + noise, 1 - patch(footage.landmarks[k], WHOLE, frame.shape))

    return each_frame(footage, change)


def jumping_borders(footage: Footage, window: int, frames: int) -> Footage:
    """Every second window shows what comes so many frames later."""
    last = len(footage.frames) - 1
    order = [min(last, k + frames * (k // window % 2)) for k in range(last + 1)]
    return replace(footage, frames=[footage.frames[k] for k in order], landmarks=footage.landmarks[order])


def faults(window: int) -> dict[str, Fault]:
    """All of them, strong enough to be seen; window: that of the measure of borders, in frames."""
    apart = {"mouth_voice_r": -1, "lip_volume_difference": 1}
    unheard = {"ear_confidence": -1, "ear_offset": 0}
    silence = ["silent_lip_stability", "silence_spread"]
    foreign = apart | dict.fromkeys(silence, 0)  # in its silences the mouth may do more or less than in its own
    late = foreign | {"mouth_voice_lag": 1, "ear_offset": 1, "ear_confidence": 0}
    still = {"lip_dynamics": -1, "mouth_voice_lag": 0} | foreign | unheard
    heads = ["head_dynamics", "delta_P", "brow_dynamics"]
    shifted = dict.fromkeys(["mouth_voice_lag", "blinks", *heads, *foreign, *unheard], 0)  # half of it is early
    unsharp = {"face_sharpness": -1, "mouth_sharpness": -1}
    frozen = still | {"head_dynamics": -1, "delta_P": -1, "brow_dynamics": -1, "blinks": -1}
    frozen |= dict.fromkeys(["flicker", "border_jump", "CSIM", "CSIM_worst_frame"], 0)
    person = {"CSIM": -1, "CSIM_worst_frame": -1, "identity_drift": -1}
    return {
        "late sound": Fault(lambda f: late_sound(f, 6), late),
        "another sound": Fault(other_sound, foreign | unheard | {"mouth_voice_lag": 0}),
        "restless mouth": Fault(restless_mouth, dict.fromkeys(silence, 1) | {"mouth_voice_r": -1}),
        "blur": Fault(lambda f: blurred(f, 0.02), unsharp | {"face_seen": 0}),
        "blurred mouth": Fault(lambda f: blurred(f, 0.02, MOUTH), {"mouth_sharpness": -1}),
        "frozen mouth": Fault(lambda f: frozen_part(f, MOUTH, LIPS), still | {"mouth_sharpness": 0}),
        "frozen eyes": Fault(lambda f: frozen_part(f, EYES, LIDS), {"blinks": -1, "brow_dynamics": 0}),
        "frozen picture": Fault(frozen_picture, frozen),
        "flicker": Fault(lambda f: flickering(f, 4.0), {"flicker": 1}),
        "drifting colour": Fault(lambda f: drifting_colour(f, 12.0), {"colour_drift": 1}),
        "growing blur": Fault(lambda f: blurred(f, 0.02, grows=True), unsharp | {"sharpness_drift": -1}),
        "another person": Fault(lambda f: swapped_person(f, 40.0), person),
        "noisy background": Fault(lambda f: noisy_background(f, 6.0), {"background_change": 1}),
        "jumps at borders": Fault(lambda f: jumping_borders(f, window, 4), shifted | {"border_jump": 1}),
    }
