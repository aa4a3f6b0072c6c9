"""Assemble training samples of the diffusion model, and encode clips once for runs that hold them in memory.

Shapes: B samples, F frames of a sample, M motion frames, m n margins of frames for audio and head speed, C H W latents,
W D layers and width of audio features, T frames of a clip, V variants of its sound.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo.core.files import atomic_file
from emo.core.timing import FPS
from emo.data.audio_augmentation import augment_voice
from emo.data.clip import Clip, load_clip, read_clip_frames
from emo.data.clip_truth import decode_portrait, load_clip_truth
from emo.data.sampling import FrameSelection, SampleSpec, choose_frames, widen_rows
from emo.face.crop import RIGID_TEMPLATE, Region, locator_mask
from emo.face.landmarks import LIP_POINTS, RIGID_POINTS
from emo.media.image import images_to_tensor
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import as_video_autoencoder, encode_images
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
        gaze: (B F 2) yaw and pitch of the eyes in the head, radians; NaN: unknown.
        head_pose: (B F 3) yaw, pitch and roll in the crop, radians; NaN: unknown.
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
        """Return the same samples on a device."""
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
        head_pose: (T 3) yaw, pitch and roll in the crop, radians; NaN: unknown.
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
    """Derive the labels of a clip's frames."""
    lips = clip.landmarks[:, LIP_POINTS]
    width = lips[..., 0].max(1) - lips[..., 0].min(1)
    head_pose = fill_unknown(clip.head_angles, len(lips), 3)
    if len(clip.squares):
        head_pose = head_pose - clip.squares[:, 3:] * [0, 0, 1]  # the crop is rotated with the head
    return FrameLabels(
        lips=torch.from_numpy(np.concatenate([lips.mean(1), width[:, None]], 1)).float(),
        mouth_opening=torch.from_numpy(clip.mouth_opening).float(),
        face_box=clip.face_box,
        head_speed=torch.from_numpy(clip.head_speed),
        gaze=torch.from_numpy(fill_unknown(clip.gaze, len(lips), 2)).float(),
        head_pose=torch.from_numpy(head_pose).float(),
        face_size=torch.from_numpy(measure_face_sizes(clip.landmarks)).float(),
        emotion=torch.from_numpy(fill_unknown(clip.emotion, len(lips), len(EMOTIONS))).float(),
    )


def measure_face_sizes(landmarks: np.ndarray) -> np.ndarray:
    """Measure the sides of the faces' squares, as `emo.face.crop.region_of_landmarks` fits them: (T 68 2) -> (T,)."""
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
    labels: FrameLabels, selection: FrameSelection, spec: SampleSpec, reference_size: float | None = None
) -> SampleLabels:
    """Select the labels of a sample's frames from those of its clip.

    Args:
        labels: Labels of the clip's T frames.
        selection: Frames of the sample.
        spec: What kind of sample.
        reference_size: Side of the face's square in the reference, in sides of the crop; None: that of its frame.

    Returns:
        Labels of the sample's F frames.
    """
    rows = selection.rows
    size = labels.face_size[selection.reference] if reference_size is None else reference_size
    turned, in_clip = widen_rows(rows, spec.speed_margin, len(labels.head_speed))
    return SampleLabels(
        lips=labels.lips[rows],
        head_speed=torch.where(in_clip, labels.head_speed[turned], torch.nan),
        gaze=labels.gaze[rows],
        head_pose=labels.head_pose[rows],
        distance=(size / labels.face_size[rows])[:, None],
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


def hash_weights(*models: torch.nn.Module) -> str:
    """Twelve hexadecimal digits that change with any weight."""
    digest = hashlib.sha256()
    for model in models:
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


@dataclass
class EncodedClip:
    """A clip in memory.

    Attributes:
        latents: (T C H W) float16; motion latents (P T C H W), from each of P portraits.
        audio: (V T W D) float16 features of the clip's own sound and of augmented versions.
        labels: Labels of the T frames.
        name: Path of the clip's JSON.
        references: With motion latents (P C' H W) float16, the portraits' appearance.
        reference_sizes: With motion latents sides of the P portraits' faces, in sides of the crop.
    """

    latents: Tensor
    audio: Tensor
    labels: FrameLabels
    name: str = ""
    references: Tensor | None = None
    reference_sizes: list[float] = field(default_factory=list)


@dataclass
class EncodingCache:
    """Files of clips that are encoded once by the frozen parts, in a folder for the weights of each part.

    Attributes:
        folder: Where they lie.
        vae: Encodes the frames.
        audio_encoder: Encodes the sound.
        variants: V, of a clip's sound; the first is its own.
        device: Device of both encoders.
        portraits: P, portraits of a clip that motion latents are encoded for.
    """

    folder: Path
    vae: torch.nn.Module
    audio_encoder: AudioEncoder
    variants: int
    device: torch.device
    portraits: int = 2

    def __post_init__(self):
        moves = as_video_autoencoder(self.vae) is self.vae
        self.latents = self.folder / f"latents_{hash_weights(self.vae)}{f'_{self.portraits}' if moves else ''}"
        self.audio = self.folder / f"audio_{hash_weights(self.audio_encoder)}_{self.variants}"
        for folder in (self.latents, self.audio):
            folder.mkdir(parents=True, exist_ok=True)

    def encode_latents(self, path: Path) -> Tensor:
        """Encode the frames of the clip whose JSON is `path` as latents (T C H W) float16."""
        return encode_frames(self.vae, np.stack(list(read_clip_frames(path))), self.device).half().cpu()

    def encode_motion(self, path: Path, clip: Clip) -> dict[str, Tensor]:
        """Encode motion from the clip's portraits: latents (P T C H W), references (P C' H W), float16, sizes (P,)."""
        frames = np.stack(list(read_clip_frames(path)))
        codec = as_video_autoencoder(self.vae)
        chosen = choose_portraits(clip, frames, self.portraits, load_clip_truth(path))
        encoded = [encode_frames_with_reference(codec, frames, portrait, self.device) for portrait, _ in chosen]
        latents, references = (torch.stack(values).half().cpu() for values in zip(*encoded, strict=True))
        return {"latents": latents, "references": references, "sizes": torch.tensor([size for _, size in chosen])}

    @torch.no_grad()
    def encode_audio(self, clip: Clip) -> Tensor:
        """Encode V versions of a clip's sound as features (V T W D) float16; they depend on the clip's name alone."""
        rng = np.random.default_rng(list(clip.info.name.encode()))
        sounds = [(clip.voice, 1.0)] + [augment_voice(clip.voice, rng) for _ in range(self.variants - 1)]
        waves = [(torch.from_numpy(wave)[None].to(self.device), FPS * speed) for wave, speed in sounds]
        features = [self.audio_encoder(wave, 0, clip.info.num_frames, fps)[0] for wave, fps in waves]
        return torch.stack(features).half().cpu()


def load_or_encode(file: Path, encode: Callable[[], Tensor]) -> Tensor:
    """Load a tensor from a file; where there is none, compute it and write the file.

    Args:
        file: The safetensors file.
        encode: Computes the tensor.

    Returns:
        The tensor.

    Raises:
        OutputError: The file can't be written.
    """
    return load_or_encode_all(file, lambda: {"value": encode()})["value"]


def load_or_encode_all(file: Path, encode: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Load tensors by name from a file, as `load_or_encode` does."""
    if not file.exists():
        with atomic_file(file) as partial:
            save_file({name: value.contiguous() for name, value in encode().items()}, partial)
    return load_file(file)


def choose_portraits(
    clip: Clip, frames: np.ndarray, count: int, truth: dict[str, np.ndarray]
) -> list[tuple[np.ndarray, float]]:
    """Choose the portraits that motion is encoded from: the picture that a synthetic clip was made of, or else the
    frame with the most closed mouth; then any frames, of which the clip's name decides.

    Args:
        clip: The clip.
        frames: (T H W 3) uint8.
        count: Number of portraits.
        truth: Of `load_clip_truth`.

    Returns:
        `count` or fewer portraits (H W 3) uint8, and the side of the face's square in each, in sides of the crop.
    """
    others = np.random.default_rng(list(clip.info.name.encode())).permutation(len(frames)).tolist()
    sizes = measure_face_sizes(clip.landmarks)
    if truth:
        portrait, rows = decode_portrait(truth, len(frames[0])), others[: count - 1]
        chosen = [(portrait, float(measure_face_sizes(truth["portrait_landmarks"][None])[0]))]
    else:
        chosen, rows = [], list(dict.fromkeys([int(clip.mouth_opening.argmin()), *others]))[:count]
    return chosen + [(frames[row], float(sizes[row])) for row in rows]


def cache_file_name(path: Path, suffix: str) -> str:
    """Name the cache file of a clip's encoded file; a clip that was prepared again gets another name.

    Args:
        path: JSON of the clip.
        suffix: Suffix of the clip's file that is encoded.

    Returns:
        Name with a checksum of the file's content.
    """
    content = zlib.crc32(path.with_suffix(suffix).read_bytes())
    return f"{path.parent.name}_{path.stem}_{content:08x}.safetensors"


def load_encoded_clip(path: Path, cache: EncodingCache) -> EncodedClip:
    """Load a clip with its latents and audio features.

    Args:
        path: JSON of the clip.
        cache: Folders and encoders of the cache.

    Returns:
        The encoded clip.

    Raises:
        InputError: The clip is broken.
    """
    clip = load_clip(path)
    if as_video_autoencoder(cache.vae) is cache.vae:
        return load_motion_clip(path, clip, cache)
    latents = load_or_encode(cache.latents / cache_file_name(path, ".mp4"), lambda: cache.encode_latents(path))
    audio = load_or_encode(cache.audio / cache_file_name(path, ".safetensors"), lambda: cache.encode_audio(clip))
    return EncodedClip(latents, audio, label_frames(clip), str(path))


def load_motion_clip(path: Path, clip: Clip, cache: EncodingCache) -> EncodedClip:
    """Load a clip with its motion latents and audio features, as `load_encoded_clip` does."""
    file = cache.latents / cache_file_name(path, ".mp4")
    encoded = load_or_encode_all(file, lambda: cache.encode_motion(path, clip))
    audio = load_or_encode(cache.audio / cache_file_name(path, ".safetensors"), lambda: cache.encode_audio(clip))
    labels, sizes = label_frames(clip), encoded["sizes"].tolist()
    return EncodedClip(encoded["latents"], audio, labels, str(path), encoded["references"], sizes)


def draw_sample(clip: EncodedClip, rng: np.random.Generator, spec: SampleSpec) -> dict[str, Tensor]:
    """Draw a sample of a clip.

    Args:
        clip: The encoded clip.
        rng: Source of the random choices.
        spec: What kind of sample.

    Returns:
        Tensors by name, see `assemble_sample`.
    """
    selection = choose_frames(clip.labels.mouth_opening, spec, len(clip.audio), rng)
    audio_rows, in_clip = widen_rows(selection.rows, spec.audio_margin, clip.audio.shape[1])
    audio = clip.audio[selection.variant][audio_rows]
    *numbers, portrait = selection.numbers
    if clip.references is None:
        latents, reference, size = clip.latents[numbers], clip.latents[portrait], None
    else:  # of the clip's portraits, the first as often as the spec says
        first = rng.random() < spec.closed_mouth_reference_rate
        portrait = 0 if first else int(rng.integers(len(clip.references)))
        latents, reference = clip.latents[portrait][numbers], clip.references[portrait]
        size = clip.reference_sizes[portrait]
    labels = select_labels(clip.labels, selection, spec, size)
    return assemble_sample(latents, reference, audio, in_clip, labels, spec)


def draw_batch(
    clips: list[EncodedClip], chances: np.ndarray, seed: int, numbers: Iterable[int], spec: SampleSpec
) -> Batch:
    """Draw samples of clips in memory; a sample depends on the seed and its number alone.

    Args:
        clips: N clips.
        chances: (N,) probabilities.
        seed: Seed of the run.
        numbers: Numbers of the samples.
        spec: What kind of samples.

    Returns:
        The batch.
    """
    samples, names = [], []
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        clip = clips[rng.choice(len(clips), p=chances)]
        samples.append(draw_sample(clip, rng, spec))
        names.append(clip.name)
    return stack_samples(samples, names)
