"""Encode clips once by the frozen parts, for runs that hold them in memory, and draw samples of them.

Shapes: as in `emo.data.batch`; T frames of a clip, V variants of its sound, P portraits.
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
from emo.data.batch import (
    Batch,
    FrameLabels,
    ReferenceLabels,
    assemble_sample,
    encode_frames,
    encode_frames_with_reference,
    label_frames,
    label_portrait,
    select_labels,
    select_reference_labels,
    stack_samples,
)
from emo.data.clip import Clip, load_clip, read_clip_frames
from emo.data.clip_truth import decode_portrait, load_clip_truth
from emo.data.sampling import SampleSpec, choose_frames, widen_rows
from emo.media.image import images_to_tensor
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import as_video_autoencoder
from emo.models.motion_autoencoder import MotionAutoencoder


def hash_weights(*models: torch.nn.Module) -> str:
    """Return a hash that changes with any weight.

    Args:
        models: Modules.

    Returns:
        Twelve hexadecimal digits.
    """
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
        reference_labels: With motion latents those of the P portraits.
    """

    latents: Tensor
    audio: Tensor
    labels: FrameLabels
    name: str = ""
    references: Tensor | None = None
    reference_labels: list[ReferenceLabels] = field(default_factory=list)


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
        """Encode the frames of a clip.

        Args:
            path: JSON of the clip.

        Returns:
            (T C H W) float16 latents.
        """
        return encode_frames(self.vae, np.stack(list(read_clip_frames(path))), self.device).half().cpu()

    def encode_motion(self, path: Path, clip: Clip) -> dict[str, Tensor]:
        """Encode motion from the clip's portraits; motion that is known, from the first of them, is fitted.

        Args:
            path: JSON of the clip.
            clip: The clip.

        Returns:
            "latents" (P T C H W) float16, "references" (P C' H W) float16, and of the portraits "sizes" (P,), "poses"
            (P 3) and "gazes" (P 2), see `ReferenceLabels`.
        """
        codec, truth = as_video_autoencoder(self.vae), load_clip_truth(path)
        known = bool(truth) and isinstance(codec, MotionAutoencoder)
        frames = None if known and self.portraits == 1 else np.stack(list(read_clip_frames(path)))
        size = self.vae.config.size if frames is None else len(frames[0])
        latents, references, labels = [], [], []
        for number, (portrait, label) in enumerate(choose_portraits(clip, frames, self.portraits, truth, size)):
            if known and number == 0:
                moved = codec.fit_latents(torch.from_numpy(truth["flow"]).to(self.device))
                reference = codec.encode_reference(images_to_tensor(portrait[None], self.device))[0]
            else:
                moved, reference = encode_frames_with_reference(codec, frames, portrait, self.device)
            latents.append(moved.half().cpu())
            references.append(reference.half().cpu())
            labels.append(label)
        return {
            "latents": torch.stack(latents),
            "references": torch.stack(references),
            "sizes": torch.tensor([label.face_size for label in labels]),
            "poses": torch.stack([label.head_pose for label in labels]),
            "gazes": torch.stack([label.gaze for label in labels]),
        }

    @torch.no_grad()
    def encode_audio(self, clip: Clip) -> Tensor:
        """Encode V versions of a clip's sound; they depend on the clip's name alone.

        Args:
            clip: The clip.

        Returns:
            (V T W D) float16 features.
        """
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
    """Load tensors by name from a file; where there is none, compute them and write the file.

    Args:
        file: The safetensors file.
        encode: Computes the tensors.

    Returns:
        Name -> tensor.

    Raises:
        OutputError: The file can't be written.
    """
    if not file.exists():
        with atomic_file(file) as partial:
            save_file({name: value.contiguous() for name, value in encode().items()}, partial)
    return load_file(file)


def choose_portraits(
    clip: Clip, frames: np.ndarray | None, count: int, truth: dict[str, np.ndarray], size: int
) -> list[tuple[np.ndarray, ReferenceLabels]]:
    """Choose the portraits that motion is encoded from: the picture that a synthetic clip was made of, or else the
    frame with the most closed mouth; then any frames, of which the clip's name decides.

    Args:
        clip: The clip.
        frames: (T H W 3) uint8; None where none of them is a portrait.
        count: Number of portraits.
        truth: Of `load_clip_truth`.
        size: Side of the portraits, pixels.

    Returns:
        `count` or fewer portraits (H W 3) uint8 with their labels.
    """
    labels = label_frames(clip)
    others = np.random.default_rng(list(clip.info.name.encode())).permutation(clip.info.num_frames).tolist()
    if truth:
        portrait = decode_portrait(truth, size)
        chosen, rows = [(portrait, label_portrait(truth["portrait_landmarks"]))], others[: count - 1]
    else:
        chosen, rows = [], list(dict.fromkeys([int(clip.mouth_opening.argmin()), *others]))[:count]
    if frames is not None:
        chosen += [(frames[row], select_reference_labels(labels, row)) for row in rows]
    return chosen


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
    """Load a clip with its motion latents and audio features.

    Args:
        path: JSON of the clip.
        clip: The clip.
        cache: Folders and encoders of the cache.

    Returns:
        The encoded clip, with latents (P T C H W).

    Raises:
        OutputError: The cache can't be written.
    """
    file = cache.latents / cache_file_name(path, ".mp4")
    encoded = load_or_encode_all(file, lambda: cache.encode_motion(path, clip))
    audio = load_or_encode(cache.audio / cache_file_name(path, ".safetensors"), lambda: cache.encode_audio(clip))
    portraits = zip(encoded["sizes"].tolist(), encoded["poses"], encoded["gazes"], strict=True)
    references = [ReferenceLabels(*portrait) for portrait in portraits]
    return EncodedClip(encoded["latents"], audio, label_frames(clip), str(path), encoded["references"], references)


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
        latents, reference = clip.latents[numbers], clip.latents[portrait]
        portrayed = select_reference_labels(clip.labels, portrait)
    else:  # of the clip's portraits, the first as often as the spec says
        first = rng.random() < spec.closed_mouth_reference_rate
        portrait = 0 if first else int(rng.integers(len(clip.references)))
        latents, reference = clip.latents[portrait][numbers], clip.references[portrait]
        portrayed = clip.reference_labels[portrait]
    labels = select_labels(clip.labels, selection, spec, portrayed)
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
