"""Known faults that are put into good clips, to test which measures detect them, and controls for a report.

`list_faults` gives every fault with the figures that it must move; tests and benchmarks/measures.py apply them.
`freeze_tracks` and `replace_sound` make the two control sets of emo-eval: they show what a score is worth.

Shapes: T frames (H W 3) uint8 at 25 per second; wave (S,) at SAMPLE_RATE; landmarks (T 68 2) pixels, iBUG order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from emo.core.timing import FPS, SAMPLE_RATE
from emo.face.crop import RIGID_TEMPLATE, crop_region, region_of_landmarks, to_pixel_indices, transform_points
from emo.face.landmarks import EYE_POINTS, LIP_POINTS, mouth_opening
from emo.media.audio import find_speech_frames, loudness
from emo.metrics.sync import find_silence
from emo.metrics.tracks import VideoTracks

Ellipse = tuple[tuple[float, float], tuple[float, float]]  # center and radii in the face's square

MASK_PIXELS = 256  # side of the face's square in which masks are drawn
MOUTH: Ellipse = ((0.5, 0.72), (0.2, 0.15))
EYES: Ellipse = ((0.5, float(RIGID_TEMPLATE[0, 1])), (0.28, 0.07))
FACE: Ellipse = ((0.5, 0.5), (0.4, 0.45))
PICTURE: Ellipse = ((0.5, 0.5), (2.0, 2.0))
CHEEKS: tuple[Ellipse, Ellipse] = ((0.33, 0.6), (0.1, 0.1)), ((0.67, 0.6), (0.1, 0.1))


def freeze_tracks(tracks: VideoTracks) -> VideoTracks:
    """Return the tracks of a video that shows its first frame all the time, with the same sound."""

    def freeze(values: np.ndarray) -> np.ndarray:
        return np.repeat(values[:1], len(values), axis=0)

    return replace(
        tracks,
        face_visible=freeze(tracks.face_visible),
        landmarks=freeze(tracks.landmarks),
        gaze=freeze(tracks.gaze),
        face_sharpness=freeze(tracks.face_sharpness),
        mouth_sharpness=freeze(tracks.mouth_sharpness),
        color=freeze(tracks.color),
        frame_change=freeze(tracks.frame_change),
        background_change=freeze(tracks.background_change),
        face_embeddings=freeze(tracks.face_embeddings),
        portrait=freeze(tracks.portrait),
        syncnet=np.full(3, np.nan),
        reconstruction=np.full(3, np.nan),
    )


def replace_sound(tracks: VideoTracks, other: VideoTracks) -> VideoTracks:
    """Return the tracks of the same pictures with another video's sound.

    Args:
        tracks: Tracks of the pictures.
        other: Tracks of the video with the sound, repeated where it is too short.

    Returns:
        The tracks, without SyncNet's score.
    """
    levels = np.resize(other.loudness_db, len(tracks.loudness_db))
    lips = np.resize(other.predicted_lips, tracks.predicted_lips.shape)
    return replace(tracks, loudness_db=levels, predicted_lips=lips, syncnet=np.full(3, np.nan))


@dataclass(frozen=True)
class Footage:
    """A clip and its landmarks, which faults move with the picture."""

    frames: list[np.ndarray]
    wave: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Fault:
    """A change of a clip, and how it moves figures.

    Attributes:
        apply: The clip -> the clip with the fault.
        expected_changes: Measure -> 1 where it rises, -1 where it falls, 0 where it may do either.
    """

    apply: Callable[[Footage], Footage]
    expected_changes: dict[str, int]


def ellipse_mask(points: np.ndarray, ellipse: Ellipse, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a soft ellipse over a part of the face.

    Args:
        points: (68 2) landmarks in pixels.
        ellipse: Center and radii in sides of the face's square.
        shape: Shape of the picture (H, W, ...).

    Returns:
        (H W 1) float32 in 0..1.
    """
    (x, y), (radius_x, radius_y) = ellipse
    center = round(MASK_PIXELS * x), round(MASK_PIXELS * y)
    axes = round(MASK_PIXELS * radius_x), round(MASK_PIXELS * radius_y)
    drawn = cv2.ellipse(np.zeros((MASK_PIXELS, MASK_PIXELS), np.float32), center, axes, 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(drawn, (0, 0), MASK_PIXELS / 50)
    return cv2.warpAffine(soft, region_of_landmarks(points).matrix(MASK_PIXELS), shape[1::-1])[..., None]


def blend(frame: np.ndarray, other: np.ndarray, mask: np.ndarray | float) -> np.ndarray:
    """Mix two pictures by a mask.

    Args:
        frame: (H W 3) uint8, shown where the mask is 0.
        other: (H W 3), shown where the mask is 1.
        mask: (H W 1) in 0..1, or one number for all pixels.

    Returns:
        (H W 3) uint8.
    """
    return np.clip(frame + (other.astype(np.float32) - frame) * mask + 0.5, 0, 255).astype(np.uint8)


def map_frames(footage: Footage, change: Callable[[int, np.ndarray], np.ndarray]) -> Footage:
    """Apply a function to every frame.

    Args:
        footage: The clip.
        change: Called as change(number, frame); returns the new frame (H W 3) uint8.

    Returns:
        The clip with the new frames.
    """
    return replace(footage, frames=[change(k, frame) for k, frame in enumerate(footage.frames)])


def delay_sound(footage: Footage, frames: int) -> Footage:
    """Start the sound some frames late.

    Args:
        footage: The clip.
        frames: Delay in frames at FPS.

    Returns:
        The clip with silence at the start and the same length.
    """
    delay = round(frames / FPS * SAMPLE_RATE)
    return replace(footage, wave=np.pad(footage.wave, (delay, 0))[: len(footage.wave)])


def rotate_sound(footage: Footage) -> Footage:
    """Play the last third of the sound first: as loud and as long, but unrelated to the mouth."""
    return replace(footage, wave=np.roll(footage.wave, len(footage.wave) // 3))


def blur(footage: Footage, ratio: float, ellipse: Ellipse = PICTURE, grows: bool = False) -> Footage:
    """Blur a part of the face by a Gaussian.

    Args:
        footage: The clip.
        ratio: Standard deviation in sides of the face's square.
        ellipse: The blurred part, in sides of the face's square.
        grows: Whether the blur grows from nothing to `ratio` in the last frame.

    Returns:
        The blurred clip.
    """
    last = max(1, len(footage.frames) - 1)

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        sigma = ratio * region_of_landmarks(footage.landmarks[k]).side * (k / last if grows else 1)
        soft = cv2.GaussianBlur(frame, (0, 0), max(sigma, 0.01))
        return blend(frame, soft, ellipse_mask(footage.landmarks[k], ellipse, frame.shape))

    return map_frames(footage, change)


def replay_part(footage: Footage, ellipse: Ellipse, points: slice, source_frames: Sequence[int]) -> Footage:
    """Show a part of the face, and its landmarks, as it is in another frame, moved with the head.

    Args:
        footage: The clip.
        ellipse: The part, in sides of the face's square.
        points: Indices of the part's landmarks.
        source_frames: (T,) number of the frame that the part is copied from, for each frame.

    Returns:
        The changed clip.
    """
    landmarks = footage.landmarks.copy()

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        source = source_frames[k]
        if source == k:
            return frame
        region = region_of_landmarks(footage.landmarks[source])
        part = crop_region(footage.frames[source], region, 2 * round(region.side))
        matrix = region_of_landmarks(footage.landmarks[k]).matrix(len(part))
        to_part = cv2.invertAffineTransform(region.matrix(len(part)))
        placed = transform_points(to_part, footage.landmarks[source, points])
        landmarks[k, points] = transform_points(matrix, placed)
        moved = cv2.warpAffine(part, matrix, frame.shape[1::-1])
        return blend(frame, moved, ellipse_mask(footage.landmarks[k], ellipse, frame.shape))

    return replace(map_frames(footage, change), landmarks=landmarks)


def freeze_part(footage: Footage, ellipse: Ellipse, points: slice) -> Footage:
    """Show a part of the face as it is in the first frame.

    Args:
        footage: The clip.
        ellipse: The part, in sides of the face's square.
        points: Indices of the part's landmarks.

    Returns:
        The changed clip.
    """
    return replay_part(footage, ellipse, points, [0] * len(footage.frames))


def move_mouth_in_silence(footage: Footage) -> Footage:
    """Move the mouth in every silence as it moves in speech."""
    source_frames = np.arange(len(footage.frames))
    level = loudness(footage.wave, SAMPLE_RATE, len(source_frames), FPS)
    silence, speech = find_silence(level), np.flatnonzero(find_speech_frames(level))
    source_frames[silence] = np.resize(speech, silence.sum())
    return replay_part(footage, MOUTH, LIP_POINTS, source_frames.tolist())


def shrink_opening(footage: Footage, ratio: float) -> Footage:
    """Open the mouth less: each frame shows the mouth of the frame whose opening is nearest to a share of its own.

    Args:
        footage: The clip.
        ratio: The share, 0 to 1.

    Returns:
        The changed clip.
    """
    opening = mouth_opening(footage.landmarks)
    source_frames = np.abs(opening[:, None] * ratio - opening[None]).argmin(1)
    return replay_part(footage, MOUTH, LIP_POINTS, source_frames.tolist())


def blur_open_mouth(footage: Footage, ratio: float) -> Footage:
    """Blur the mouth where it is open, as a model does that shows a mean of closed and open mouths.

    Args:
        footage: The clip.
        ratio: Standard deviation of the blur in sides of the face's square.

    Returns:
        The changed clip.
    """
    opening, blurred = mouth_opening(footage.landmarks), blur(footage, ratio, MOUTH)
    is_open = opening > np.median(opening)
    return map_frames(footage, lambda k, frame: blurred.frames[k] if is_open[k] else frame)


def drift_head(footage: Footage, degrees: float) -> Footage:
    """Tilt the picture about its middle more and more.

    Args:
        footage: The clip.
        degrees: Tilt in the last frame, clockwise.

    Returns:
        The changed clip.
    """
    last = max(1, len(footage.frames) - 1)
    height, width = footage.frames[0].shape[:2]
    tilts = [cv2.getRotationMatrix2D((width / 2, height / 2), -degrees * k / last, 1.0) for k in range(last + 1)]
    landmarks = np.stack([transform_points(m, points) for m, points in zip(tilts, footage.landmarks, strict=True)])

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        matrix = to_pixel_indices(tilts[k])
        return cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    return replace(map_frames(footage, change), landmarks=landmarks)


def freeze_picture(footage: Footage) -> Footage:
    """Show the first frame all the time."""
    still = np.repeat(footage.landmarks[:1], len(footage.landmarks), axis=0)
    return replace(footage, frames=[footage.frames[0]] * len(footage.frames), landmarks=still)


def add_flicker(footage: Footage, gray_levels: float) -> Footage:
    """Make the face lighter in every second frame.

    Args:
        footage: The clip.
        gray_levels: Added brightness, of 255.

    Returns:
        The changed clip.
    """

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        mask = ellipse_mask(footage.landmarks[k], FACE, frame.shape)
        return blend(frame, frame + gray_levels * (k % 2), mask)

    return map_frames(footage, change)


def drift_color(footage: Footage, gray_levels: float) -> Footage:
    """Shift the picture's color toward orange, linearly in time and at the same lightness.

    Args:
        footage: The clip.
        gray_levels: Shift of red in the last frame, of 255.

    Returns:
        The changed clip.
    """
    shift = np.array([1.0, -0.25, -1.0]) * gray_levels / max(1, len(footage.frames) - 1)
    return map_frames(footage, lambda k, frame: blend(frame, frame + k * shift, 1.0))


def swap_person(footage: Footage, gray_levels: float) -> Footage:
    """Change the face's identity from the middle of the clip on: one cheek darker, the other lighter.

    Args:
        footage: The clip.
        gray_levels: Change of the cheeks, of 255.

    Returns:
        The changed clip.
    """
    middle = len(footage.frames) // 2

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        dark, light = (ellipse_mask(footage.landmarks[k], cheek, frame.shape) for cheek in CHEEKS)
        return blend(frame, frame + gray_levels * (light - dark), float(k >= middle))

    return map_frames(footage, change)


def add_background_noise(footage: Footage, gray_levels: float) -> Footage:
    """Add Gaussian noise around the face.

    Args:
        footage: The clip.
        gray_levels: Standard deviation of the noise, of 255.

    Returns:
        The changed clip.
    """
    random = np.random.default_rng(0)

    def change(k: int, frame: np.ndarray) -> np.ndarray:
        noise = random.normal(0, gray_levels, frame.shape)
        return blend(frame, frame + noise, 1 - ellipse_mask(footage.landmarks[k], FACE, frame.shape))

    return map_frames(footage, change)


def jump_at_borders(footage: Footage, window: int, frames: int) -> Footage:
    """Show later frames in every second window, so that the picture jumps at window borders.

    Args:
        footage: The clip.
        window: Frames of a window.
        frames: How many frames later the shown frames are.

    Returns:
        The changed clip.
    """
    last = len(footage.frames) - 1
    order = [min(last, k + frames * (k // window % 2)) for k in range(last + 1)]
    return replace(footage, frames=[footage.frames[k] for k in order], landmarks=footage.landmarks[order])


def list_faults(window: int) -> dict[str, Fault]:
    """List all faults, strong enough to be visible.

    Args:
        window: Frames from one window border to the next.

    Returns:
        Name of the fault -> its function and the figures that it changes.
    """
    disagreement = {"mouth_voice_r": -1, "lip_volume_difference": 1}
    no_lip_sync = {"lip_sync_confidence": -1, "lip_sync_offset": 0}
    silence = ["silent_lip_stability", "silence_spread", "silence_opening"]
    onset = dict.fromkeys(["onset_lead", "early_opening"], 0)
    other_sound = disagreement | onset | dict.fromkeys(silence, 0)  # its silences lie elsewhere
    late = other_sound | {"mouth_voice_lag": 1, "lip_sync_offset": 1, "lip_sync_confidence": 0}
    late |= {"onset_lead": 1, "early_opening": 1}
    still_mouth = {"lip_dynamics": -1, "opening_amplitude": -1, "mouth_voice_lag": 0} | other_sound | no_lip_sync
    still_mouth |= {"open_mouth_sharpness": 0}
    head = ["head_dynamics", "head_speed", "delta_P", "brow_dynamics", "pose_drift"]
    # half of the clip comes early
    jumps = dict.fromkeys(["mouth_voice_lag", "blinks", *head, *other_sound, *no_lip_sync], 0)
    blurred = {"face_sharpness": -1, "mouth_sharpness": -1, "head_sharpness": -1, "open_mouth_sharpness": -1}
    frozen = still_mouth | dict.fromkeys(["head_dynamics", "head_speed", "delta_P", "brow_dynamics", "blinks"], -1)
    frozen |= dict.fromkeys(["flicker", "border_jump", "CSIM", "CSIM_worst_frame", "pose_drift"], 0)
    person = {"CSIM": -1, "CSIM_worst_frame": -1, "identity_drift": -1}
    soft_mouth = {"mouth_sharpness": -1, "open_mouth_sharpness": -1}
    small = {"opening_amplitude": -1, "lip_dynamics": -1}
    tilted = {"pose_drift": 1, "head_dynamics": 0, "head_speed": 0, "delta_P": 0, "background_change": 0}
    return {
        "late sound": Fault(lambda f: delay_sound(f, 6), late),
        "another sound": Fault(rotate_sound, other_sound | no_lip_sync | {"mouth_voice_lag": 0}),
        "restless mouth": Fault(move_mouth_in_silence, dict.fromkeys(silence, 1) | onset | {"mouth_voice_r": -1}),
        "small opening": Fault(lambda f: shrink_opening(f, 0.4), small),
        "blur": Fault(lambda f: blur(f, 0.02), blurred | {"face_visible": 0}),
        "blurred mouth": Fault(lambda f: blur(f, 0.02, MOUTH), soft_mouth),
        "blurred open mouth": Fault(lambda f: blur_open_mouth(f, 0.02), soft_mouth),
        "frozen mouth": Fault(lambda f: freeze_part(f, MOUTH, LIP_POINTS), still_mouth | {"mouth_sharpness": 0}),
        "frozen eyes": Fault(lambda f: freeze_part(f, EYES, EYE_POINTS), {"blinks": -1, "brow_dynamics": 0}),
        "frozen picture": Fault(freeze_picture, frozen),
        "flicker": Fault(lambda f: add_flicker(f, 4.0), {"flicker": 1}),
        "drifting color": Fault(lambda f: drift_color(f, 12.0), {"color_drift": 1}),
        "drifting head": Fault(lambda f: drift_head(f, 10.0), tilted),
        "growing blur": Fault(lambda f: blur(f, 0.02, grows=True), blurred | {"sharpness_drift": -1}),
        "another person": Fault(lambda f: swap_person(f, 40.0), person),
        "noisy background": Fault(lambda f: add_background_noise(f, 6.0), {"background_change": 1}),
        "jumps at borders": Fault(lambda f: jump_at_borders(f, window, 4), jumps | {"border_jump": 1}),
    }
