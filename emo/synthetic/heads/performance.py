"""Performances: a voice, and everything that a head does with it, frame by frame, ready to be drawn.

T frames at FPS, E expressions of the face model, S samples at SAMPLE_RATE.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from emo.core.timing import FPS, SAMPLE_RATE
from emo.synthetic.heads.coarticulation import MouthCurves, make_mouth_curves, smooth_columns
from emo.synthetic.heads.face_model import FaceModel
from emo.synthetic.heads.head_motion import MIN_SCALE, HeadMotion, draw_head_motion
from emo.synthetic.heads.head_shape import MotionFrame
from emo.synthetic.heads.photo_head import PhotoFrame, PhotoHead
from emo.synthetic.heads.prosody import Prosody, estimate_prosody, measure_prosody
from emo.synthetic.heads.retargeting import apply_clip_motion, close_lips, fit_clip_motion
from emo.synthetic.voices.acoustics import RecordingConditions, draw_recording_conditions, simulate_recording
from emo.synthetic.voices.utterances import EFFORT_LEVELS_DB, Utterance

JAW_SCALES, LIP_SCALES = (0.6, 1.0), (0.75, 1.15)  # between people who mumble and people who articulate
RETARGETED_HEAD_SHARE = 0.4  # of the real clips whose head and eyelids move as in the clip
EMOTION_SHARE = 0.4  # of the real clips to which emotions are added
CLIP_SMOOTHING_FRAMES = 0.8  # sigma: the weights fitted to single frames are noisy
WEIGHT_LIMITS = (-0.4, 1.2)  # of expression offsets
SONG_MUSIC_SHARE, SPEECH_MUSIC_SHARE = 0.85, 0.15  # of the recordings with music


class Head(Protocol):
    """A person who can be drawn."""

    @property
    def portrait(self) -> np.ndarray:
        """(S S 3) uint8, of which all frames are a deformation."""
        ...

    @property
    def min_scale(self) -> float:
        """The smallest scale at which the picture still fills the frame above the head."""
        ...

    def draw(self, motion: MotionFrame) -> PhotoFrame:
        """Draw a frame with its ground truth."""
        ...

    def project_landmarks(self, expression: np.ndarray) -> np.ndarray:
        """Expression offsets (T E) -> landmarks (T 68 2) in sides, the head as in the portrait."""
        ...


@dataclass(frozen=True)
class PhotoPerson:
    """The head of a photograph as a `Head`."""

    head: PhotoHead
    min_scale: float = MIN_SCALE

    @property
    def portrait(self) -> np.ndarray:
        """See `Head.portrait`."""
        return self.head.portrait

    def draw(self, motion: MotionFrame) -> PhotoFrame:
        """See `Head.draw`."""
        return self.head.draw(motion)

    def project_landmarks(self, expression: np.ndarray) -> np.ndarray:
        """See `Head.project_landmarks`."""
        points = self.head.landmark_vertices
        vertices = points.base + (expression.astype(np.float32) @ points.basis).reshape(len(expression), -1, 3)
        return self.head.shape.fit.pose.project(vertices)[..., :2] + points.residual


@dataclass(frozen=True)
class Performance:
    """A voice and the motion of T frames.

    Attributes:
        utterance: The clean voice.
        wave: (S,) float32, the recording of the voice.
        recording: Conditions of the recording.
        expression: (T E) float32 offsets of expression weights.
        motion: Motion of head, gaze and eyelids.
        mouth: Curves of the mouth; None: those of a real clip.
    """

    utterance: Utterance
    wave: np.ndarray
    recording: RecordingConditions
    expression: np.ndarray
    motion: HeadMotion
    mouth: MouthCurves | None

    def __len__(self) -> int:
        return len(self.expression)

    def frame(self, index: int) -> MotionFrame:
        """Return the motion of a frame."""
        return MotionFrame(
            self.expression[index],
            self.motion.head_radians[index],
            self.motion.translation[index],
            float(self.motion.scale[index]),
            self.motion.gaze_radians[index],
            self.motion.blink[index],
        )


def perform_utterance(
    utterance: Utterance,
    head: Head,
    expression_names: tuple[str, ...],
    random: np.random.Generator,
    max_seconds: float,
    min_scale: float,
    keep_distance: bool,
) -> Performance:
    """Perform a voice whose phonemes are known.

    Args:
        utterance: The clean voice.
        head: Who speaks or sings.
        expression_names: E names, of the face model.
        random: Draws everything else.
        max_seconds: Longest duration of the performance, seconds.
        min_scale: Smallest scale of the motion, that of `Head.min_scale` or above.
        keep_distance: Whether the head stays as near as in the portrait.

    Returns:
        The performance, as long as the voice or `max_seconds`.
    """
    utterance, count = cut_to_frames(utterance, max_seconds)
    mouth = make_mouth_curves(
        utterance.phonemes,
        count,
        FPS,
        wave=utterance.wave,
        sample_rate=SAMPLE_RATE,
        effort=utterance.effort,
        jaw_scale=random.uniform(*JAW_SCALES),
        lip_scale=random.uniform(*LIP_SCALES),
    )
    prosody = measure_prosody(utterance.phonemes, utterance.wave, SAMPLE_RATE)
    motion = draw_motion(prosody, count, min_scale, random, keep_distance)
    expression = stack_curves(mouth.to_expression(), expression_names, count)
    expression += stack_curves(motion.to_expression(mouth.closure), expression_names, count)
    expression = np.clip(expression, *WEIGHT_LIMITS)
    if "jawOpen" in expression_names:
        jaw = expression_names.index("jawOpen")
        expression = close_lips(expression, mouth.closure, jaw, head.project_landmarks)
    wave, recording = record_voice(utterance, random)
    return Performance(utterance, wave, recording, expression, motion, mouth)


def perform_clip(
    landmarks: np.ndarray,
    utterance: Utterance,
    head: Head,
    model: FaceModel,
    random: np.random.Generator,
    max_seconds: float,
    min_scale: float,
    keep_distance: bool,
) -> Performance:
    """Perform a real clip: its facial motion on another head, with its own voice.

    Args:
        landmarks: (T 68 2) of the clip, in any unit.
        utterance: The clip's voice.
        head: Who moves as the person of the clip does.
        model: The face model.
        random, max_seconds, min_scale, keep_distance: As of `perform_utterance`.

    Returns:
        The performance, as long as the clip or `max_seconds`.
    """
    utterance, count = cut_to_frames(utterance, max_seconds)
    count = min(count, len(landmarks))
    utterance = utterance.cut(round(count / FPS * SAMPLE_RATE))
    clip = fit_clip_motion(landmarks[:count].astype(np.float64), model)
    clip = replace(clip, expression=smooth_columns(clip.expression, CLIP_SMOOTHING_FRAMES))
    motion = draw_motion(estimate_prosody(utterance.wave, SAMPLE_RATE), count, min_scale, random, keep_distance)
    has_retargeted_head, has_emotions = random.random() < RETARGETED_HEAD_SHARE, random.random() < EMOTION_SHARE
    if has_retargeted_head:
        motion = replace(motion, head_radians=clip.head_radians, blink=clip.blink, blink_spans=np.zeros((0, 2)))
    if not has_emotions:
        neutral = replace(motion.emotions, kind=np.zeros(count, np.int64), strength=np.zeros(count))
        motion = replace(motion, emotions=neutral)
    added = stack_curves(motion.to_expression(), model.names, count)
    expression = apply_clip_motion(replace(clip, expression=clip.expression + added), model, head.project_landmarks)
    wave, recording = record_voice(utterance, random)
    return Performance(utterance, wave, recording, np.clip(expression, *WEIGHT_LIMITS), motion, None)


def cut_to_frames(utterance: Utterance, max_seconds: float) -> tuple[Utterance, int]:
    """Cut a voice to full frames.

    Args:
        utterance: The voice.
        max_seconds: Longest duration.

    Returns:
        The cut voice, and the number of frames.
    """
    count = int(min(utterance.seconds, max_seconds) * FPS)
    return utterance.cut(round(count / FPS * SAMPLE_RATE)), count


def draw_motion(
    prosody: Prosody, num_frames: int, min_scale: float, random: np.random.Generator, keep_distance: bool
) -> HeadMotion:
    """Draw a motion of the head whose scale does not fall below a limit.

    Args:
        prosody: Prosody of the voice.
        num_frames: Number of frames.
        min_scale: The limit; 1 if it is above.
        random: Draws the motion.
        keep_distance: Whether the head stays as near as in the portrait.

    Returns:
        Motion of the frames.
    """
    motion = draw_head_motion(prosody, num_frames, FPS, random, move_distance=not keep_distance)
    return replace(motion, scale=np.maximum(motion.scale, min(1.0, min_scale)))


def record_voice(utterance: Utterance, random: np.random.Generator) -> tuple[np.ndarray, RecordingConditions]:
    """Simulate a recording of a voice; songs mostly have music, whispers are quieter.

    Args:
        utterance: The voice, with its music if it has any.
        random: Draws the conditions of the recording.

    Returns:
        (S,) float32, and the conditions.
    """
    music_share = SONG_MUSIC_SHARE if utterance.kind == "song" else SPEECH_MUSIC_SHARE
    conditions = draw_recording_conditions(random, music_share)
    conditions = replace(conditions, level_dbfs=conditions.level_dbfs + EFFORT_LEVELS_DB[utterance.effort])
    return simulate_recording(utterance.wave, SAMPLE_RATE, conditions, utterance.music), conditions


def stack_curves(curves: dict[str, np.ndarray], expression_names: tuple[str, ...], num_frames: int) -> np.ndarray:
    """Stack curves in the order of the model's expressions; names that the model lacks are skipped.

    Args:
        curves: (T,) weights by name of the expression.
        expression_names: Names in the model's order.
        num_frames: Number of frames T.

    Returns:
        (T E) float32 weights, 0 without a curve.
    """
    weights = np.zeros((num_frames, len(expression_names)), np.float32)
    for k, name in enumerate(expression_names):
        if name in curves:
            weights[:, k] = curves[name]
    return weights
