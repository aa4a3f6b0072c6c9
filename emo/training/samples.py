"""Where a diffusion run's samples come from: clips held in memory, or shards that are streamed."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from emo.config import Config
from emo.data.clip import FPS, load_clip, read_clip_frames
from emo.data.dataset import Batch, Cache, draw_batch, encoded
from emo.data.encode import encode_batch
from emo.data.sample import Window
from emo.data.shelf import Entry, local_shard, read_clip, read_index
from emo.data.stream import Samples, Stream
from emo.data.weights import choose_clips
from emo.errors import InputError
from emo.media.seek import pick_frames
from emo.models.audio import AudioEncoder
from emo.training.devices import in_bf16

EXAMPLES, EXAMPLE_FRAMES = 3, 50
Example = tuple[str, list[np.ndarray], np.ndarray]  # a clip's name, first frames and voice


class Held:
    """Every clip is encoded once by the frozen parts, kept in files and held in memory; samples are drawn by chance."""

    def __init__(self, config: Config, window: Window, vae: torch.nn.Module, audio_encoder: AudioEncoder):
        data, self.seed, self.window = config.data, config.seed, window
        device = next(vae.parameters()).device
        cache = Cache(cache_folder(config), vae, audio_encoder, data.sound_variants, device)
        self.paths, self.chances = choose_clips(data.clips, data.hold_out, data.num_frames)
        self.clips = [encoded(path, cache) for path in self.paths]

    def batch(self, numbers: range, device: torch.device) -> Batch:
        return draw_batch(self.clips, self.chances, self.seed, numbers, self.window).to(device)

    def examples(self) -> Iterator[Example]:
        for path in spread(self.paths):
            yield path.stem, list(islice(read_clip_frames(path), EXAMPLE_FRAMES)), load_clip(path).voice


class Streamed:
    """The train side of the shards' people, each clip once an epoch, encoded as it comes; the other side is for
    looks."""

    def __init__(self, config: Config, window: Window, vae: torch.nn.Module, audio_encoder: AudioEncoder):
        data, self.window, self.vae, self.audio_encoder = config.data, window, vae, audio_encoder
        self.bf16 = in_bf16(config, next(vae.parameters()).device)
        self.cache = cache_folder(config)
        entries = entries_of(config, "train")
        self.shown = spread(entries_of(config, "validation") or entries)
        if not entries:
            given = ", ".join(data.shards)
            raise InputError(f"data.num_frames={data.num_frames}: no clip in {given} (data.shards) is that long")
        samples = Samples(entries, window, data.size, data.sound_variants, config.seed, data.lanes, self.cache)
        self.stream = Stream(samples, data.workers, Path(config.output) / "broken.jsonl")

    def batch(self, numbers: range, device: torch.device) -> Batch:
        samples = self.stream.take(numbers)
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


def spread(items: list) -> list:
    """A few, from begin to end."""
    return items[:: max(1, len(items) // EXAMPLES)][:EXAMPLES]


def cache_folder(config: Config) -> Path:
    return Path(config.data.cache or Path(config.output).parent / "cache")
