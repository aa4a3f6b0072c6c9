"""Stream training samples from shards: worker processes read them ahead, then the frozen parts encode them.

What sample n is depends on the seed, n and the index alone, so a run continues from a number. torch's DataLoader reads
the numbers that follow; where other numbers are wanted, reading starts again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.audio_augmentation import augment_voice
from emo.data.batch import (
    Batch,
    SampleLabels,
    assemble_sample,
    encode_frames,
    encode_frames_with_reference,
    label_frames,
    select_labels,
    stack_samples,
)
from emo.data.clip import Clip
from emo.data.sampling import SampleOrder, SampleSpec, choose_frames, widen_rows
from emo.data.shards import ShardEntry, fetch_shard, read_shard_clip
from emo.media.video import read_frames_by_number, read_frames_with_decord
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import as_video_autoencoder

MAX_BROKEN_CLIPS = 32  # in a row
FETCH_AHEAD_CLIPS = 64  # of a row of `SampleOrder`: so long before it is needed a shard is fetched
FrameReader = Callable[[bytes, str, Sequence[int], float], np.ndarray]  # see read_frames_by_number
FRAME_READERS: dict[str, FrameReader] = {"pyav": read_frames_by_number, "decord": read_frames_with_decord}


@dataclass
class RawSample:
    """A sample before it is encoded.

    Attributes:
        name: Name of the clip.
        frames: (M+F+1 H W 3) uint8: the motion frames, if there are any, the sample's and the reference.
        wave: (S,) float32 of the whole clip, perhaps augmented.
        fps: Frame rate in the time of the wave.
        num_frames: T, of the clip.
        audio_rows: (F+2m,) frames of the audio features.
        in_clip: (F+2m,) bool, whether they lie in the clip.
        labels: Labels of the sample's frames.
    """

    name: str
    frames: Tensor
    wave: Tensor
    fps: float
    num_frames: int
    audio_rows: Tensor
    in_clip: Tensor
    labels: SampleLabels


@dataclass
class SampleResult:
    """Result of reading one sample; an exception in a worker would arrive as a page of text.

    Attributes:
        sample: The sample; None where the run must end.
        error: Why it must end.
        broken: Broken clips that were skipped, with the reason.
    """

    sample: RawSample | None = None
    error: str = ""
    broken: dict[str, str] = field(default_factory=dict)


def find_frame_reader(name: str) -> FrameReader:
    """Return the function that reads frames by number. Raises InputError for an unknown name or a missing package."""
    if name not in FRAME_READERS:
        raise InputError(f"data.video_reader={name}: choose {' or '.join(FRAME_READERS)}")
    if name == "decord" and find_spec("decord") is None:
        fix = "pip install 'emo-portrait[train]', or choose pyav"
        raise InputError(f"data.video_reader=decord: decord is missing: {fix}")
    return FRAME_READERS[name]


class ShardDataset(Dataset):
    """Number of a sample -> SampleResult. A broken clip is replaced by the next of its row, alike in every process."""

    def __init__(
        self,
        entries: list[ShardEntry],
        spec: SampleSpec,
        size: int,
        variants: int,
        seed: int,
        open_shards: int,
        cache: Path,
        read_frames: FrameReader = read_frames_by_number,
    ):
        """Describe a data set.

        Args:
            entries: Clips of at least `spec.num_frames` frames.
            spec: What kind of samples.
            size: Side of the frames in pixels.
            variants: 1: the clips' own sound; V: augmented in all but one of V samples.
            seed: Seed of the run.
            open_shards: Shards that are open at a time, see `SampleOrder`.
            cache: Folder for shards that are fetched from elsewhere.
            read_frames: One of FRAME_READERS.
        """
        self.entries, self.spec, self.size, self.variants = entries, spec, size, variants
        self.seed, self.cache, self.read_frames = seed, cache, read_frames
        _, shards = np.unique([entry.shard for entry in entries], return_inverse=True)
        self.order, self.ahead = (SampleOrder(shards, seed, open_shards) for _ in range(2))
        self.requested, self.fetcher = set(), None

    def __getitem__(self, number: int) -> SampleResult:
        self.fetch_ahead(number)
        broken = {}
        for skipped in range(MAX_BROKEN_CLIPS):
            entry = self.entries[self.order.clip(number, skipped)]
            try:
                shard = fetch_shard(entry.shard, self.cache)
            except InputError as error:  # not the clip's fault, and another process may succeed
                return SampleResult(error=str(error), broken=broken)
            try:
                sample = self.read(entry, shard, np.random.default_rng([self.seed, number, 1]))
                return SampleResult(sample, broken=broken)
            except (ValueError, LookupError, TypeError) as error:
                broken[entry.name] = str(error)
        error = f"{MAX_BROKEN_CLIPS} clips in a row are broken, the last: {broken[entry.name]}"
        return SampleResult(error=error, broken=broken)

    def fetch_ahead(self, number: int) -> None:
        """Start to fetch the shard that the row of sample `number` needs soon."""
        shard = self.entries[self.ahead.clip(number, FETCH_AHEAD_CLIPS)].shard
        if shard not in self.requested:
            self.requested.add(shard)
            self.fetcher = self.fetcher or ThreadPoolExecutor(1)  # not before this process is forked
            self.fetcher.submit(fetch_shard, shard, self.cache)  # an error is raised again when the shard is needed

    def read(self, entry: ShardEntry, shard: Path, rng: np.random.Generator) -> RawSample:
        """Read a sample of a clip.

        Args:
            entry: Row of the shard index.
            shard: The tar file.
            rng: Source of the random choices.

        Returns:
            The sample, not encoded yet.

        Raises:
            InputError: The clip is broken, or of another size than `data.size`.
            ValueError: Arrays of the clip have wrong shapes; numpy raises it, or IndexError.
        """
        clip, video = read_shard_clip(shard, entry.name)
        name = f"{entry.name} in {shard}"
        if not entry.num_frames == len(clip.landmarks) == len(clip.head_speed):
            raise InputError(f"{name}: num_frames in index.parquet differs from the clip's: make the shards again")
        labels = label_frames(clip)
        selection = choose_frames(labels.mouth_opening, self.spec, self.variants, rng)
        frames = self.read_frames(video, name, selection.numbers, FPS)
        if frames.shape[1:3] != (self.size, self.size):
            size = f"{frames.shape[2]} x {frames.shape[1]} pixels"
            raise InputError(f"{name} is of {size}, data.size={self.size}")
        wave, speed = choose_voice(clip, selection.variant, rng)
        audio_rows, in_clip = widen_rows(selection.rows, self.spec.audio_margin, entry.num_frames)
        return RawSample(
            name=entry.name,
            frames=torch.from_numpy(frames),
            wave=torch.from_numpy(wave),
            fps=FPS * speed,
            num_frames=entry.num_frames,
            audio_rows=torch.from_numpy(audio_rows),
            in_clip=in_clip,
            labels=select_labels(labels, selection, self.spec),
        )


def choose_voice(clip: Clip, variant: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Choose the voice of a sample.

    Args:
        clip: The clip.
        variant: 0: the clip's own voice; else an augmented one.
        rng: Source of the augmentation.

    Returns:
        The wave (S,), and how much faster it is than the clip.
    """
    return augment_voice(clip.voice, rng) if variant else (clip.voice, 1.0)


class SampleStream:
    """Samples of a ShardDataset by their numbers, read two batches ahead.

    Attributes:
        broken: Broken clips that this process has met, with the reason.
    """

    def __init__(self, samples: ShardDataset, workers: int, log: Path):
        """Open a stream.

        Args:
            samples: The data set.
            workers: Processes that read; 0: this one, when samples are taken.
            log: A file that gets a JSON line for each broken clip.
        """
        self.samples, self.workers, self.log = samples, workers, log
        self.next_numbers, self.reader = None, iter(())
        self.broken = {}

    def take(self, numbers: range) -> list[RawSample]:
        """Return the samples of these numbers, and read ahead those that follow at the same distance.

        Each broken clip is printed and logged once.

        Raises:
            InputError: A shard can't be fetched, or all clips in a row are broken.
        """
        if self.next_numbers != (numbers.start, numbers.step):
            self.reader = self.read_from(numbers)
        self.next_numbers = numbers.start + len(numbers) * numbers.step, numbers.step
        return [self._unwrap(result) for _, result in zip(numbers, self.reader, strict=False)]

    def read_from(self, numbers: range) -> Iterator[SampleResult]:
        """Start reading at the first of the numbers, at their distance."""
        ahead = {"prefetch_factor": max(2, ceil(2 * len(numbers) / self.workers))} if self.workers else {}
        order = count(numbers.start, numbers.step)
        own = torch.Generator()  # the workers' seed would be drawn from the training's generator
        return iter(DataLoader(self.samples, None, sampler=order, num_workers=self.workers, generator=own, **ahead))

    def _unwrap(self, result: SampleResult) -> RawSample:
        """Log broken clips and return the sample. Raises InputError where there is none."""
        for name, reason in result.broken.items():
            if name not in self.broken:
                self.broken[name] = reason
                self.log.parent.mkdir(parents=True, exist_ok=True)
                with self.log.open("a") as file:
                    file.write(json.dumps({"clip": name, "reason": reason}) + "\n")
                print(f"left out: {name}: {reason} ({len(self.broken)} broken clips up to now)", flush=True)
        if result.sample is None:
            raise InputError(result.error)
        return result.sample


@torch.no_grad()
def encode_batch(
    samples: list[RawSample],
    spec: SampleSpec,
    vae: torch.nn.Module,
    audio_encoder: AudioEncoder,
    device: torch.device,
    bf16: bool = False,
) -> Batch:
    """Encode samples by the frozen networks: only the frames of the samples, but the sound of the whole clips.

    Args:
        samples: B samples.
        spec: What kind of samples.
        vae: Encodes frames.
        audio_encoder: Encodes sound.
        device: Device of both networks.
        bf16: Encode frames in bfloat16.

    Returns:
        The batch.
    """
    frames, codec = [sample.frames.numpy() for sample in samples], as_video_autoencoder(vae)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        if codec is vae:
            encoded = [encode_frames_with_reference(codec, one[:-1], one[-1], device) for one in frames]
        else:
            latents = encode_frames(vae, np.concatenate(frames), device).float()
            encoded = [(part[:-1], part[-1]) for part in latents.split([len(one) for one in frames])]
    rows = [encode_sample(sample, *parts, spec, audio_encoder) for sample, parts in zip(samples, encoded, strict=True)]
    return stack_samples(rows, [sample.name for sample in samples])


def encode_sample(
    sample: RawSample, latents: Tensor, reference: Tensor, spec: SampleSpec, audio_encoder: AudioEncoder
) -> dict[str, Tensor]:
    """Encode the sound of a sample and assemble it.

    Args:
        sample: The sample.
        latents: (M+F C H W), or (F C H W), latents of its frames but the reference.
        reference: (C H W) latents of the reference, or (C' H W) its appearance.
        spec: What kind of sample.
        audio_encoder: Encodes sound.

    Returns:
        Tensors by name, see `assemble_sample`.
    """
    wave = sample.wave[None].to(latents.device)
    features = audio_encoder(wave, 0, sample.num_frames, sample.fps)[0].float()  # (T W D)
    audio = features[sample.audio_rows.to(latents.device)]
    return assemble_sample(latents, reference, audio, sample.in_clip, sample.labels, spec)
