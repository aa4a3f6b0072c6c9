"""Where a diffusion run's samples come from: clips held in memory, or shards that are streamed."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from emo.core.config import Config
from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.clip import load_clip, read_clip_frames
from emo.data.dataset import Batch, Cache, draw_batch, draw_sample, encoded, stacked
from emo.data.sampling import Window, choose_clips, held_out_clips
from emo.data.shards import Entry, local_shard, read_clip, read_index
from emo.data.streaming import RawSample, Samples, Stream, encode_batch
from emo.media.video import pick_frames
from emo.models.audio import AudioEncoder
from emo.training.distributed import in_bf16

EXAMPLES, EXAMPLE_FRAMES = 3, 50
Example = tuple[str, list[np.ndarray], np.ndarray]  # a clip's name, first frames and voice


class Held:
    """Every clip is encoded once by the frozen parts, kept in files and held in memory; samples are drawn by chance."""

    def __init__(self, config: Config, window: Window, vae: torch.nn.Module, audio_encoder: AudioEncoder):
        data, self.seed, self.window = config.data, config.seed, window
        device = next(vae.parameters()).device
        self.cache = Cache(cache_folder(config), vae, audio_encoder, data.sound_variants, device)
        self.paths, self.chances = choose_clips(data.clips, data.hold_out, data.num_frames)
        first = len(self.paths) * PartialState().process_index // PartialState().num_processes
        order = self.paths[first:] + self.paths[:first]  # each process has another part to encode
        found = {path: encoded(path, self.cache) for path in order}
        self.clips = [found[path] for path in self.paths]
        self.aside = held_out_clips([*data.clips], data.hold_out, data.num_frames)

    def batch(self, numbers: range, device: torch.device) -> Batch:
        return draw_batch(self.clips, self.chances, self.seed, numbers, self.window).to(device)

    def held_out(self, count: int, device: torch.device) -> list[Batch]:
        """One of each clip, as far as there are so many, with its own sound."""
        cache, batches = replace(self.cache, variants=1), []
        for number, path in enumerate(spread(self.aside, count)):
            clip = encoded(path, cache)
            sample = draw_sample(clip, np.random.default_rng(number), self.window)
            batches.append(stacked([sample], [clip.name]).to(device))
        return batches

    def examples(self) -> Iterator[Example]:
        shown = self.aside or self.paths
        for path in spread(shown, min(EXAMPLES, len(shown))):
            yield path.stem, list(islice(read_clip_frames(path), EXAMPLE_FRAMES)), load_clip(path).voice


class Streamed:
    """The train side of the shards' people, each clip once an epoch, encoded as it comes; the other side is for
    looks and validation."""

    def __init__(self, config: Config, window: Window, vae: torch.nn.Module, audio_encoder: AudioEncoder):
        data, self.window, self.vae, self.audio_encoder = config.data, window, vae, audio_encoder
        self.bf16 = in_bf16(config, next(vae.parameters()).device)
        self.cache = cache_folder(config)
        entries = entries_of(config, "train")
        self.aside = entries_of(config, "validation")
        shown = self.aside or entries
        self.shown = spread(shown, min(EXAMPLES, len(shown)))
        if not entries:
            given = ", ".join(data.shards)
            raise InputError(f"data.num_frames={data.num_frames}: no clip in {given} (data.shards) is that long")
        samples = Samples(entries, window, data.size, data.sound_variants, config.seed, data.lanes, self.cache)
        self.stream = Stream(samples, data.workers, Path(config.output) / "broken.jsonl")

    def batch(self, numbers: range, device: torch.device) -> Batch:
        return self.encode(self.stream.take(numbers), device)

    def held_out(self, count: int, device: torch.device) -> list[Batch]:
        """One of each clip, as far as there are so many, with its own sound. In place of a broken one comes another."""
        few, known = spread(self.aside, count), self.stream.samples
        if not few:
            return []
        stream = Stream(Samples(few, self.window, known.size, 1, 0, 1, self.cache), 0, self.stream.log)
        return [self.encode([sample], device) for sample in stream.take(range(count))]

    def encode(self, samples: list[RawSample], device: torch.device) -> Batch:
        return encode_batch(samples, self.window, self.vae, self.audio_encoder, device, self.bf16)

    def examples(self) -> Iterator[Example]:
        for entry in self.shown:
            with suppress(InputError):  # a look is not worth the run
                clip, video = read_clip(local_shard(entry.shard, self.cache), entry.name)
                numbers = range(min(EXAMPLE_FRAMES, entry.num_frames))
                yield entry.name, list(pick_frames(video, entry.name, numbers, FPS)), clip.voice


def open_samples(config: Config, window: Window, vae: torch.nn.Module, audio_encoder: AudioEncoder) -> Held | Streamed:
    """Raises InputError unless the settings name either clips or shards, with something in them."""
    if config.data.clips and config.data.shards:
        raise InputError("data.clips and data.shards: give one of them")
    kind = Streamed if config.data.shards else Held
    return kind(config, window, vae, audio_encoder)


def entries_of(config: Config, split: str) -> list[Entry]:
    """The clips of a split of all folders that are long enough."""
    data = config.data
    found = [entry for folder in data.shards for entry in read_index(folder, split, data.hold_out)]
    return [entry for entry in found if entry.num_frames >= data.num_frames]


def spread(items: list, count: int) -> list:
    """So many, evenly from begin to end; some more than once where there are fewer, none where there are none."""
    return [items[i * len(items) // count] for i in range(count)] if items else []


def cache_folder(config: Config) -> Path:
    return Path(config.data.cache or Path(config.output).parent / "cache")
