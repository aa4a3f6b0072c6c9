"""Make batches of the diffusion model: encode frames, label them, assemble samples, stack these.

Shapes: B samples, F frames of a sample, M motion frames, m n margins of frames for audio and head speed, C H W latents,
W D layers and width of audio features, T frames of a clip.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from emo.data.clip import Clip
from emo.data.sampling import FrameSelection, SampleSpec, widen_rows
from emo.face.crop import RIGID_TEMPLATE, Region, locator_mask
from emo.face.landmarks import LIP_POINTS, RIGID_POINTS
from emo.face.pose import head_angles, head_rotations
from emo.media.image import images_to_tensor
from emo.models.autoencoder import encode_images
from emo.models.conditions import EMOTIONS
from emo.models.contracts import VideoAutoencoder

FRAMES_PER_CHUNK = 32  # that the autoencoder encodes at once


@dataclass
class Batch:
    """Training samples, encoded by the frozen parts.

    Attributes:
        latents: (B F C H W).
        reference: (B C H W) of another frame of the clip; with motion latents its appearance (B C' H W).
        motion: (B M C H W) of the frames before; zeros before the clip's first.
        audio: (B F+2m W D) features; zeros outside of the clip.
        lips: (B F 3) center x, y and width, in the unit square of the crop.
        face_region: (B 1 H W) union of the clip's face boxes, 0 .. 1.
        head_speed: (B F+2n) rad/s; NaN: unknown.
        names: Names of the B clips.
        gaze: (B F 2) yaw and pitch of the eyes in the head, minus those of the reference, radians; NaN: unknown.
        head_pose: (B F 3) yaw, pitch and roll in the crop, minus those of the reference, radians.
        distance: (B F 1) from the camera, over that in the reference frame.
        emotion: (B F 7) intensities 0 .. 1; NaN: unknown.
    """

    latents: Tensor
    reference: Tensor
    motion: Tensor
    audio: Tensor
    lips: Tensor
    face_region: Tensor
    head_speed: Tensor
    names: list[str] = field(default_factory=list)
    gaze: Tensor | None = None
    head_pose: Tensor | None = None
    distance: Tensor | None = None
    emotion: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the same samples on a device.

        Args:
            device: The device.

        Returns:
            The batch, whose tensors are on the device.
        """
        return Batch(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in vars(self).items()})


@dataclass
class FrameLabels:
    """What is known of each of T frames beside picture and sound.

    Attributes:
        lips: (T 3) center x, y and width, in the unit square of the crop.
        mouth_opening: (T,) over the height of the face.
        face_box: Union of the clip's face boxes (x0, y0, x1, y1), in the unit square.
        head_speed: (T,) rad/s; NaN: unknown.
        gaze: (T 2) yaw and pitch of the eyes in the head, radians; NaN: unknown.
        head_pose: (T 3) yaw, pitch and roll in the crop, radians.
        face_size: (T,) side of the face's square, in sides of the crop.
        emotion: (T 7) intensities 0 .. 1; NaN: unknown.
    """

    lips: Tensor
    mouth_opening: Tensor
    face_box: tuple[float, float, float, float]
    head_speed: Tensor
    gaze: Tensor
    head_pose: Tensor
    face_size: Tensor
    emotion: Tensor


def label_frames(clip: Clip) -> FrameLabels:
    """Derive the labels of a clip's frames.

    Args:
        clip: A clip of T frames.

    Returns:
        Labels of its T frames.
    """
    lips = clip.landmarks[:, LIP_POINTS]
    width = lips[..., 0].max(1) - lips[..., 0].min(1)
    return FrameLabels(
        lips=torch.from_numpy(np.concatenate([lips.mean(1), width[:, None]], 1)).float(),
        mouth_opening=torch.from_numpy(clip.mouth_opening).float(),
        face_box=clip.face_box,
        head_speed=torch.from_numpy(clip.head_speed),
        gaze=torch.from_numpy(fill_unknown(clip.gaze, len(lips), 2)).float(),
        head_pose=measure_head_pose(clip.landmarks),
        face_size=torch.from_numpy(measure_face_sizes(clip.landmarks)).float(),
        emotion=torch.from_numpy(fill_unknown(clip.emotion, len(lips), len(EMOTIONS))).float(),
    )


def measure_face_sizes(landmarks: np.ndarray) -> np.ndarray:
    """Measure the sides of the faces' squares, as `emo.face.crop.region_of_landmarks` fits them.

    Args:
        landmarks: (T 68 2).

    Returns:
        (T,) sides, in the unit of the landmarks.
    """
    points, template = landmarks[:, RIGID_POINTS] @ [1, 1j], RIGID_TEMPLATE @ [1, 1j]
    points, template = points - points.mean(1, keepdims=True), template - template.mean()
    return np.abs((np.abs(points) ** 2).sum(1) / (points.conj() * template).sum(1))


def fill_unknown(values: np.ndarray, num_frames: int, width: int) -> np.ndarray:
    """Replace values that were not measured by NaN.

    Args:
        values: (T width), or (0 width) where they were not measured.
        num_frames: T.
        width: Number of values of a frame.

    Returns:
        (T width) the values, or NaN.
    """
    return values if len(values) else np.full((num_frames, width), np.nan)


def measure_head_pose(landmarks: np.ndarray) -> Tensor:
    """Measure head poses as `emo.pipelines.controls` does in a portrait: by landmarks, so that errors of it cancel.

    Args:
        landmarks: (T 68 2), in any unit.

    Returns:
        (T 3) yaw, pitch and roll in the landmarks' frame, radians.
    """
    return torch.from_numpy(head_angles(head_rotations(np.asarray(landmarks, float)))).float()


@dataclass(frozen=True)
class ReferenceLabels:
    """What the controls of a sample are relative to.

    Attributes:
        face_size: Side of the face's square in the reference, in sides of the crop.
        head_pose: (3,) yaw, pitch and roll, radians.
        gaze: (2,) yaw and pitch of the eyes in the head, radians; NaN: unknown.
    """

    face_size: float
    head_pose: Tensor
    gaze: Tensor


def select_reference_labels(labels: FrameLabels, row: int) -> ReferenceLabels:
    """Select the labels of a clip's frame that is a sample's reference."""
    return ReferenceLabels(float(labels.face_size[row]), labels.head_pose[row], labels.gaze[row])


def label_portrait(landmarks: np.ndarray) -> ReferenceLabels:
    """Label the picture that a synthetic clip was made of, which its gaze is relative to, by its landmarks (68 2)."""
    size = float(measure_face_sizes(landmarks[None])[0])
    return ReferenceLabels(size, measure_head_pose(landmarks[None])[0], torch.zeros(2))


@dataclass
class SampleLabels:
    """The labels of the frames of one sample, as in `Batch` without B; of the face region only its box."""

    lips: Tensor
    head_speed: Tensor
    gaze: Tensor
    head_pose: Tensor
    distance: Tensor
    emotion: Tensor
    face_box: tuple[float, float, float, float]


def select_labels(
    labels: FrameLabels, selection: FrameSelection, spec: SampleSpec, reference: ReferenceLabels | None = None
) -> SampleLabels:
    """Select the labels of a sample's frames from those of its clip.

    Args:
        labels: Labels of the clip's T frames.
        selection: Frames of the sample.
        spec: What kind of sample.
        reference: Labels of the portrait; None: those of the sample's reference frame.

    Returns:
        Labels of the sample's F frames.
    """
    rows = selection.rows
    reference = reference or select_reference_labels(labels, selection.reference)
    turned, in_clip = widen_rows(rows, spec.speed_margin, len(labels.head_speed))
    return SampleLabels(
        lips=labels.lips[rows],
        head_speed=torch.where(in_clip, labels.head_speed[turned], torch.nan),
        gaze=labels.gaze[rows] - reference.gaze,
        head_pose=labels.head_pose[rows] - reference.head_pose,
        distance=(reference.face_size / labels.face_size[rows])[:, None],
        emotion=labels.emotion[rows],
        face_box=labels.face_box,
    )


def assemble_sample(
    latents: Tensor, reference: Tensor, audio: Tensor, in_clip: Tensor, labels: SampleLabels, spec: SampleSpec
) -> dict[str, Tensor]:
    """Make one sample of its encoded parts.

    Args:
        latents: (M+F C H W) of `FrameSelection.numbers` but the last; (F C H W) where the clip has no M frames before.
        reference: (C H W) of the last, or (C' H W) its appearance.
        audio: (F+2m W D) features of the frames and the margins around them.
        in_clip: (F+2m,) bool, whether they lie in the clip.
        labels: Labels of the sample's frames.
        spec: What kind of sample.

    Returns:
        The tensors of a `Batch` by name, without B.
    """
    latents, device = latents.float(), latents.device
    motion, rows = latents[: -spec.num_frames], latents[-spec.num_frames :]
    if not len(motion):
        motion = latents.new_zeros(spec.motion_frames, *latents.shape[1:])
    known = {name: value.to(device) for name, value in vars(labels).items() if name != "face_box"}
    return known | {
        "latents": rows,
        "reference": reference.float(),
        "motion": motion,
        "audio": audio.float() * in_clip.to(device)[:, None, None],
        "face_region": draw_face_region(labels.face_box, latents.shape[-1]).to(device),
    }


def draw_face_region(face_box: tuple[float, float, float, float], size: int) -> Tensor:
    """Draw a box as a mask.

    Args:
        face_box: Box (x0, y0, x1, y1) in the unit square.
        size: Side of the mask, pixels.

    Returns:
        (1 size size) mask, 0 .. 1.
    """
    return torch.from_numpy(locator_mask(face_box, Region((0.5, 0.5), 1.0), size))[None]


def stack_samples(samples: list[dict[str, Tensor]], names: list[str]) -> Batch:
    """Stack samples to a batch.

    Args:
        samples: B samples of `assemble_sample`.
        names: Names of their clips.

    Returns:
        The batch.
    """
    return Batch(**{name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}, names=names)


@torch.no_grad()
def encode_frames(vae: torch.nn.Module, frames: np.ndarray, device: torch.device) -> Tensor:
    """Encode frames as latents, FRAMES_PER_CHUNK at a time.

    Args:
        vae: The image autoencoder.
        frames: (N H W 3) uint8 RGB.
        device: Device of the autoencoder.

    Returns:
        (N C h w) latents.
    """
    starts = range(0, len(frames), FRAMES_PER_CHUNK)
    chunks = [images_to_tensor(frames[start : start + FRAMES_PER_CHUNK], device) for start in starts]
    return torch.cat([encode_images(vae, chunk) for chunk in chunks])


@torch.no_grad()
def encode_frames_with_reference(
    codec: VideoAutoencoder, frames: np.ndarray, reference: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Encode frames as motion from a portrait.

    Args:
        codec: A motion autoencoder.
        frames: (N H W 3) uint8.
        reference: (H W 3) uint8, the portrait.
        device: Of the autoencoder.

    Returns:
        Latents (N C h w) and the portrait's appearance (C' h w).
    """
    portrait = images_to_tensor(reference[None], device)
    starts = range(0, len(frames), FRAMES_PER_CHUNK)
    chunks = [images_to_tensor(frames[start : start + FRAMES_PER_CHUNK], device) for start in starts]
    return torch.cat([codec.encode(chunk, portrait) for chunk in chunks]), codec.encode_reference(portrait)[0]
