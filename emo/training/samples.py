"""Where the samples of a diffusion run come from: clips that fit into memory, or shards that are streamed."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from emo.core.config import Config
from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.batch import Batch, stack_samples
from emo.data.clip import load_clip, read_clip_frames
from emo.data.dataset import EncodingCache, draw_batch, draw_sample, load_encoded_clip
from emo.data.sampling import SampleSpec, choose_clips, list_held_out_clips
from emo.data.shards import ShardEntry, fetch_shard, read_index, read_shard_clip
from emo.data.streaming import RawSample, SampleStream, ShardDataset, encode_batch, find_frame_reader
from emo.models.audio import AudioEncoder
from emo.training.distributed import uses_bf16

NUM_EXAMPLES, EXAMPLE_FRAMES = 3, 50  # clips that preview videos are made of
Example = tuple[str, list[np.ndarray], np.ndarray]  # a clip's name, its first frames (H W 3) uint8 and its voice (S,)


def open_samples(
    config: Config, spec: SampleSpec, vae: nn.Module, audio_encoder: AudioEncoder
) -> "CachedSamples | StreamedSamples":
    """Open the data of a run.

    Args:
        config: The run's settings.
        spec: The frames that a sample consists of.
        vae: Encodes frames.
        audio_encoder: Encodes audio.

    Returns:
        Samples of prepared clips or of shards.

    Raises:
        InputError: The settings name both clips and shards, there are none, or the video reader can't be used.
    """
    find_frame_reader(config.data.video_reader)
    if config.data.clips and config.data.shards:
        raise InputError("data.clips and data.shards: give one of them")
    return (StreamedSamples if config.data.shards else CachedSamples)(config, spec, vae, audio_encoder)


class CachedSamples:
    """All clips in memory, encoded once and cached in files; samples are drawn from them at random."""

    def __init__(self, config: Config, spec: SampleSpec, vae: nn.Module, audio_encoder: AudioEncoder):
        """Encode the clips that are not in the cache.

        Args:
            config: The run's settings.
            spec: The frames that a sample consists of.
            vae: Encodes frames.
            audio_encoder: Encodes audio.

        Raises:
            InputError: No clip is long enough.
        """
        data, self.seed, self.spec = config.data, config.seed, spec
        device = next(vae.parameters()).device
        folder, portraits = get_cache_folder(config), data.portraits_per_clip
        self.cache = EncodingCache(folder, vae, audio_encoder, data.audio_variants, device, portraits)
        self.paths, self.chances = choose_clips(data.clips, data.hold_out, data.num_frames)
        first = len(self.paths) * PartialState().process_index // PartialState().num_processes
        order = self.paths[first:] + self.paths[:first]  # each process starts with other clips, so they share the work
        encoded = {path: load_encoded_clip(path, self.cache) for path in order}
        self.clips = [encoded[path] for path in self.paths]
        self.held_out = list_held_out_clips([*data.clips], data.hold_out, data.num_frames)

    def make_batch(self, numbers: range, device: torch.device) -> Batch:
        """Return the run's samples of these numbers.

        Args:
            numbers: Sample numbers of the run.
            device: Where the tensors go.

        Returns:
            The samples of these numbers, the same at every call.
        """
        return draw_batch(self.clips, self.chances, self.seed, numbers, self.spec).to(device)

    def make_validation_batches(self, count: int, device: torch.device) -> list[Batch]:
        """Make batches of one sample of held-out clips, with the original audio, each clip in turn.

        Args:
            count: Number of batches.
            device: Where the tensors go.

        Returns:
            `count` batches of one sample each (B = 1); [] if nobody is held out.
        """
        cache, batches = replace(self.cache, variants=1), []
        for number, path in enumerate(pick_evenly(self.held_out, count)):
            clip = load_encoded_clip(path, cache)
            sample = draw_sample(clip, np.random.default_rng(number), self.spec)
            batches.append(stack_samples([sample], [clip.name]).to(device))
        return batches

    def read_examples(self) -> Iterator[Example]:
        """Read clips for preview videos: held-out ones if there are any.

        Yields:
            (name, frames, voice): the clip's name, its first EXAMPLE_FRAMES frames, each (H W 3) uint8 RGB, and its
            sound (S,) float32 at SAMPLE_RATE.
        """
        paths = self.held_out or self.paths
        for path in pick_evenly(paths, min(NUM_EXAMPLES, len(paths))):
            yield path.stem, list(islice(read_clip_frames(path), EXAMPLE_FRAMES)), load_clip(path).voice


class StreamedSamples:
    """Clips from shards, each once an epoch, encoded as they come; validation and previews use held-out people."""

    def __init__(self, config: Config, spec: SampleSpec, vae: nn.Module, audio_encoder: AudioEncoder):
        """Read the index of the shards.

        Args:
            config: The run's settings.
            spec: The frames that a sample consists of.
            vae: Encodes frames.
            audio_encoder: Encodes audio.

        Raises:
            InputError: No clip is long enough.
        """
        data, self.spec, self.vae, self.audio_encoder = config.data, spec, vae, audio_encoder
        self.read_frames = find_frame_reader(data.video_reader)
        self.bf16 = uses_bf16(config, next(vae.parameters()).device)
        self.cache = get_cache_folder(config)
        entries = list_shard_entries(config, "train")
        self.held_out = list_shard_entries(config, "validation")
        if not entries:
            shards = ", ".join(data.shards)
            raise InputError(f"data.num_frames={data.num_frames}: no clip in {shards} (data.shards) is that long")
        shown = self.held_out or entries
        self.examples = pick_evenly(shown, min(NUM_EXAMPLES, len(shown)))
        shuffled = data.size, data.audio_variants, config.seed, data.open_shards
        samples = ShardDataset(entries, spec, *shuffled, self.cache, self.read_frames)
        self.stream = SampleStream(samples, data.workers, Path(config.output) / "broken.jsonl")

    def make_batch(self, numbers: range, device: torch.device) -> Batch:
        """Return the run's samples of these numbers.

        Args:
            numbers: Sample numbers of the run.
            device: Where the tensors go.

        Returns:
            The samples of these numbers, the same at every call.
        """
        return self.encode(self.stream.take(numbers), device)

    def make_validation_batches(self, count: int, device: torch.device) -> list[Batch]:
        """Make batches of one sample of held-out clips, with the original audio; another clip replaces a broken one.

        Args:
            count: Number of batches.
            device: Where the tensors go.

        Returns:
            `count` batches of one sample each (B = 1); [] if nobody is held out.

        Raises:
            InputError: A shard can't be fetched, or all clips in a row are broken.
        """
        entries = pick_evenly(self.held_out, count)
        if not entries:
            return []
        samples = ShardDataset(entries, self.spec, self.stream.samples.size, 1, 0, 1, self.cache, self.read_frames)
        stream = SampleStream(samples, 0, self.stream.log)
        return [self.encode([sample], device) for sample in stream.take(range(count))]

    def encode(self, samples: list[RawSample], device: torch.device) -> Batch:
        """Encode frames and audio of samples.

        Args:
            samples: Frames and audio, read from shards.
            device: Where the networks run.

        Returns:
            The batch, on the device.
        """
        return encode_batch(samples, self.spec, self.vae, self.audio_encoder, device, self.bf16)

    def read_examples(self) -> Iterator[Example]:
        """Read clips for preview videos from the shards; broken ones are left out.

        Yields:
            (name, frames, voice): as of `CachedSamples.read_examples`.
        """
        for entry in self.examples:
            with suppress(InputError):  # a missing preview must not end the run
                clip, video = read_shard_clip(fetch_shard(entry.shard, self.cache), entry.name)
                numbers = range(min(EXAMPLE_FRAMES, entry.num_frames))
                yield entry.name, list(self.read_frames(video, entry.name, numbers, FPS)), clip.voice


def list_shard_entries(config: Config, split: str) -> list[ShardEntry]:
    """List the clips of a split that are long enough, of all shards.

    Args:
        config: Names the shards, the people to hold out and the frames of a sample.
        split: "train" or "validation".

    Returns:
        Index entries of the clips.
    """
    data = config.data
    entries = [entry for folder in data.shards for entry in read_index(folder, split, data.hold_out)]
    return [entry for entry in entries if entry.num_frames >= data.num_frames]


def pick_evenly(items: list, count: int) -> list:
    """Pick `count` items evenly from start to end, some repeatedly if there are fewer.

    Args:
        items: The items.
        count: How many are picked.

    Returns:
        The picked items; [] if there are none.
    """
    return [items[i * len(items) // count] for i in range(count)] if items else []


def get_cache_folder(config: Config) -> Path:
    """Return the folder for encoded clips and downloaded shards.

    Args:
        config: The run's settings.

    Returns:
        `data.cache`, or the folder `cache` beside the run.
    """
    return Path(config.data.cache or Path(config.output).parent / "cache")
