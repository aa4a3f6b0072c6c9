"""Draw a performance and write it as a prepared clip with its ground truth.

T frames at FPS, S samples at SAMPLE_RATE, cells of the flow C C. The crop of a clip either shows the frames as they are
("free": the head moves in it) or follows the head as the crops of real footage do ("steady").
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from emo.core.errors import OutputError
from emo.core.timing import FPS, SAMPLE_RATE, frame_centers
from emo.data.clip import Clip, ClipInfo, save_clip
from emo.data.clip_truth import save_clip_truth
from emo.face.crop import (
    Region,
    crop_region,
    normalize_landmarks,
    normalize_points,
    region_of_landmarks,
    smooth_regions,
    transform_points,
)
from emo.face.landmarks import eye_opening
from emo.face.pose import head_angles, head_speed
from emo.models.conditions import EMOTIONS
from emo.synthetic.heads.emotions import EMOTION_NAMES, EmotionTrack
from emo.synthetic.heads.fitting import rotation_of_angles
from emo.synthetic.heads.head_shape import MotionFrame
from emo.synthetic.heads.performance import Head, Performance
from emo.synthetic.heads.photo_head import PhotoFrame, PhotoTruth

FORMAT = (
    3  # of the ground truth: 2 has portrait_landmarks, and the clip head_angles as of emo.face.pose; 3 has motion_id
)
FLOW_STEPS = 8192  # of a side, to which the flow is rounded: half the storage, at most 0.016 pixels of 256 off
SPEECH_DB = 30.0  # below the loudest frame of a real clip: no speech


@dataclass(frozen=True)
class HeadClipSource:
    """Where a clip of a talking head comes from.

    Attributes:
        name: Name of the clip.
        photo: The person's picture.
        photo_license: License of the picture; "" if unknown.
        face_model_license: License of the face model.
        driver: What the head performs, for ClipInfo.source.
        is_steady: Whether the crop follows the head.
        motion_id: Name that all clips of the same voice and motion share.
    """

    name: str
    photo: Path
    photo_license: str
    face_model_license: str
    driver: str
    is_steady: bool
    motion_id: str


@dataclass(frozen=True)
class ClipView:
    """The frames of a clip as its crop shows them; positions in sides of the crop."""

    images: list[np.ndarray]  # T of (size size 3) uint8
    portrait: np.ndarray  # (size size 3) uint8
    regions: list[Region]  # of the drawn frames that the crop shows, pixels
    landmarks: np.ndarray  # (T 68 2)
    irises: np.ndarray  # (T 2 2)
    portrait_landmarks: np.ndarray  # (68 2)
    flow: np.ndarray  # (T 2 C C) float16
    unsourced: np.ndarray  # (T C C) uint8


def write_head_clip(
    folder: Path, source: HeadClipSource, head: Head, performance: Performance, expression_names: tuple[str, ...]
) -> None:
    """Draw a performance and write its clip; the JSON of the clip is written last.

    Args:
        folder: Where the clip goes.
        source: Where it comes from.
        head: Who performs.
        performance: What is drawn.
        expression_names: Names of the expression coefficients of the face model.

    Raises:
        OutputError: A file can't be written.
    """
    frames = [head.draw(performance.frame(k)) for k in range(len(performance))]
    portrait_truth = head.draw(MotionFrame.neutral(len(expression_names))).truth
    size = head.portrait.shape[0]
    make_view = crop_steadily if source.is_steady else show_frames
    view = make_view(frames, head.portrait, portrait_truth, size)
    utterance, truths = performance.utterance, [frame.truth for frame in frames]
    licenses = [f"picture: {source.photo_license or 'not named'}", source.face_model_license, utterance.license]
    info = ClipInfo(
        source.name,
        source.photo.stem,
        f"{source.photo.name}, {source.driver}",
        "; ".join(licenses),
        len(frames),
        speech_ratio=round(measure_speech_ratio(performance), 4),
        music_ratio=None,
    )
    clip = Clip(
        info,
        performance.wave,
        view.landmarks.astype(np.float32),
        head_speed(np.stack([truth.landmarks for truth in truths]) * size, FPS),
        np.zeros((len(frames), 0, 2), np.float32),
        squares=np.array([(*region.center, region.side, region.angle_radians) for region in view.regions]),
        head_angles=head_angles(np.stack([rotation_of_angles(truth.head_radians) for truth in truths])),
        eye_opening=eye_opening(view.landmarks),
        gaze=np.stack([truth.gaze_radians for truth in truths]),
        vocals=utterance.wave if performance.recording.music_snr_db is not None else np.zeros(0, np.float32),
        emotion=label_emotions(performance.motion.emotions),
    )
    record: dict[str, object] = {
        "format": FORMAT,
        "text": utterance.text,
        "language": utterance.language,
        "voice": utterance.voice,
        "effort": utterance.effort,
        "kind": utterance.kind,
        "recording": performance.recording.describe(),
        "licenses": licenses,
        "crop": "steady" if source.is_steady else "free",
    }
    arrays = collect_truth(performance, view, expression_names) | {"motion_id": np.array(source.motion_id)}
    save_clip_truth(folder, source.name, arrays, record)
    save_clip(folder, clip, iter(view.images))


def show_frames(frames: list[PhotoFrame], portrait: np.ndarray, portrait_truth: PhotoTruth, size: int) -> ClipView:
    """Return the view of frames as they are drawn.

    Args:
        frames: T drawn frames.
        portrait: (size size 3) uint8.
        portrait_truth: Ground truth of the portrait.
        size: Side of the frames, pixels.

    Returns:
        Frames, portrait and ground truth.
    """
    truths = [frame.truth for frame in frames]
    return ClipView(
        [frame.image for frame in frames],
        portrait,
        [Region((size / 2, size / 2), float(size))] * len(frames),
        np.stack([truth.landmarks for truth in truths]),
        np.stack([truth.irises for truth in truths]),
        portrait_truth.landmarks,
        np.stack([truth.flow for truth in truths]),
        np.stack([truth.unsourced for truth in truths]),
    )


def crop_steadily(frames: list[PhotoFrame], portrait: np.ndarray, portrait_truth: PhotoTruth, size: int) -> ClipView:
    """Return the view of frames in a crop that follows the head, as `emo.face.crop.smooth_regions` places it.

    Args:
        frames: T drawn frames.
        portrait: (size size 3) uint8.
        portrait_truth: Ground truth of the portrait.
        size: Side of the frames, pixels.

    Returns:
        Cropped frames, cropped portrait and their ground truth.
    """
    truths = [frame.truth for frame in frames]
    landmarks, irises = (np.stack([getattr(t, name) for t in truths]) * size for name in ("landmarks", "irises"))
    regions = smooth_regions(landmarks)
    portrait_region = region_of_landmarks(portrait_truth.landmarks * size)
    flows = [crop_flow(t, region, portrait_region, size) for t, region in zip(truths, regions, strict=True)]
    return ClipView(
        [crop_region(frame.image, region, size) for frame, region in zip(frames, regions, strict=True)],
        crop_region(portrait, portrait_region, size),
        regions,
        normalize_landmarks(landmarks, regions),
        normalize_landmarks(irises, regions),
        normalize_points(portrait_truth.landmarks * size, portrait_region),
        np.stack([flow for flow, _ in flows]),
        np.stack([unsourced for _, unsourced in flows]),
    )


def crop_flow(truth: PhotoTruth, region: Region, portrait_region: Region, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow of a frame as its crop shows it, into the portrait's crop.

    Args:
        truth: Ground truth of the frame as it is drawn.
        region: That the frame's crop shows, pixels.
        portrait_region: That the portrait's crop shows, pixels.
        size: Side of the drawn frame, pixels.

    Returns:
        Flow (2 C C) float16 and unsourced (C C) uint8.
    """
    cells = truth.flow.shape[-1]
    centers = np.stack(np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2), -1)
    positions = transform_points(region.matrix(1), centers) / size  # in sides of the drawn frame
    grid = (positions * cells - 0.5).astype(np.float32)
    flow, unsourced = np.moveaxis(truth.flow, 0, -1).astype(np.float32), truth.unsourced.astype(np.float32)
    sample = partial(
        cv2.remap, map1=grid[..., 0], map2=grid[..., 1], interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    source = positions + sample(flow)
    matrix = portrait_region.matrix(1)
    in_portrait = (source * size - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    is_outside = [((points < 0) | (points > 1)).any(-1) for points in (positions, in_portrait)]
    unsourced = np.where(is_outside[0] | is_outside[1], 255, sample(unsourced))
    cropped = np.moveaxis(in_portrait - centers, -1, 0)
    return cropped.astype(np.float16), np.round(unsourced).clip(0, 255).astype(np.uint8)


def measure_speech_ratio(performance: Performance) -> float:
    """Share of the time in which phonemes sound; of a real clip, of the frames within SPEECH_DB of the loudest."""
    utterance, count = performance.utterance, len(performance)
    if not utterance.phonemes:
        frames = utterance.wave[: count * round(SAMPLE_RATE / FPS)].reshape(count, -1)
        level = 10 * np.log10(np.square(frames).mean(1) + 1e-9)
        return float((level > level.max() - SPEECH_DB).mean())
    voiced = sum(p.end_seconds - p.start_seconds for p in utterance.phonemes if any(c.isalpha() for c in p.ipa))
    return float(min(1.0, voiced / (count / FPS)))


def label_emotions(track: EmotionTrack) -> np.ndarray:
    """Convert an emotion track to intensities in the order of `emo.models.conditions.EMOTIONS`.

    Returns:
        (T 7) float32: the strength of the emotion, and what is left of 1 for neutral; NaN in frames with an emotion
        that is not among the seven (contempt).
    """
    labels = np.zeros((len(track.kind), len(EMOTIONS)), np.float32)
    labels[:, EMOTIONS.index("neutral")] = 1 - track.strength
    for number, name in enumerate(EMOTION_NAMES):
        rows = (track.kind == number) & (track.strength > 0)
        if name in EMOTIONS:
            labels[rows, EMOTIONS.index(name)] = track.strength[rows]
        else:
            labels[rows] = np.nan
    return labels


def collect_truth(performance: Performance, view: ClipView, expression_names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Collect the ground truth of a clip.

    Args:
        performance: The motion and speech that were rendered.
        view: Frames and portrait with their ground truth.
        expression_names: Names of the expression coefficients of the face model.

    Returns:
        The arrays that `emo.data.clip_truth` lists.

    Raises:
        OutputError: The portrait can't be encoded.
    """
    motion, phonemes = performance.motion, performance.utterance.phonemes
    is_encoded, png = cv2.imencode(".png", view.portrait[..., ::-1])
    if not is_encoded:
        raise OutputError("the portrait can't be encoded as PNG")
    spans = np.array([(p.start_seconds, p.end_seconds) for p in phonemes], np.float64).reshape(-1, 2)
    return {
        "portrait": png,
        "portrait_landmarks": view.portrait_landmarks.astype(np.float32),
        "flow": (np.round(view.flow.astype(np.float32) * FLOW_STEPS) / FLOW_STEPS).astype(np.float16),
        "unsourced": view.unsourced,
        "irises": view.irises.astype(np.float32),
        "head_radians": motion.head_radians.astype(np.float32),
        "gaze_radians": motion.gaze_radians.astype(np.float32),
        "blink": motion.blink.astype(np.float32),
        "scale": motion.scale.astype(np.float32),
        "translation": motion.translation.astype(np.float32),
        "expression": performance.expression.astype(np.float16),
        "expression_names": np.array(expression_names),
        "emotion": motion.emotions.kind.astype(np.int8),
        "emotion_strength": motion.emotions.strength.astype(np.float16),
        "emotion_names": np.array(EMOTION_NAMES),
        "phonemes": np.array([p.ipa for p in phonemes], dtype=np.str_),
        "phoneme_seconds": spans.astype(np.float32),
        "phoneme": number_phonemes(spans, frame_centers(len(performance))),
        "clean_voice": np.round(np.clip(performance.utterance.wave, -1, 1) * 32767).astype(np.int16),
    }


def number_phonemes(spans: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Find the phoneme that is spoken at each time.

    Args:
        spans: (P 2) start and end of the phonemes in order, seconds.
        seconds: (T,) times.

    Returns:
        (T,) int16 number of the phoneme, -1 where there is none.
    """
    numbers = np.searchsorted(spans[:, 0], seconds, "right") - 1
    ends = np.append(spans[:, 1], -np.inf)  # number -1 is the last one: no phoneme
    return np.where(seconds < ends[numbers], numbers, -1).astype(np.int16)
