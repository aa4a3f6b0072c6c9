"""Stream training samples from shards with worker processes and encode them.

Samples of clips in shards, by their numbers, read ahead by worker processes.

What sample n is comes from the seed, n and the index alone: nothing must be remembered to go on. torch's DataLoader
reads the numbers that follow; who asks for others has the reading begun again there.

Raw samples through the frozen parts: pictures become latents, sound features; what a Batch of held clips holds.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.data.augmentation import vary
from emo.data.clip import Clip
from emo.data.dataset import Batch, encode_frames, stacked
from emo.data.sampling import Order, Window, marks, pick, region_mask, speeds, widened
from emo.data.shards import Entry, local_shard, read_clip
from emo.media.video import pick_frames
from emo.models.audio import AudioEncoder

TRIES = 32  # clips in a row that may be broken
AHEAD = 64  # clips of a lane: so long before it is needed a shard is fetched


@dataclass
class RawSample:
    """A sample before the frozen parts have seen it. Shapes: F frames, M motion frames, m n margins, T of the clip."""

    name: str  # of the clip
    frames: Tensor  # (M+F+1 H W 3) uint8: the motion frames, if there are any, the sample's and the reference
    wave: Tensor  # (S,) float32 of the whole clip, perhaps another voice
    fps: float  # of the frames in the wave's time
    num_frames: int  # T
    heard: Tensor  # (F+2m,) frames
    inside: Tensor  # (F+2m,) bool, whether they lie in the clip
    lips: Tensor  # (F 3)
    face_box: tuple[float, float, float, float]  # in the unit square
    head_speed: Tensor  # (F+2n,) rad/s


@dataclass
class Found:
    """What became of a number; an error that is raised in a worker would come as a page of text."""

    sample: RawSample | None = None
    error: str = ""  # the run's end
    broken: dict[str, str] = field(default_factory=dict)  # clip -> what is wrong with it


class Samples(Dataset):
    """Number -> Found. A broken clip's place takes the next clip of its lane, on every process alike."""

    def __init__(
        self, entries: list[Entry], window: Window, size: int, variants: int, seed: int, lanes: int, cache: Path
    ):
        """entries: all of at least `window.num_frames` frames; size: pixels of their squares; variants: 1 for the
        clips' own sound, V for another voice in all but one of V samples; cache: where shards from elsewhere go."""
        self.entries, self.window, self.size, self.variants = entries, window, size, variants
        self.seed, self.cache = seed, cache
        _, shards = np.unique([entry.shard for entry in entries], return_inverse=True)
        self.order, self.ahead = (Order(shards, seed, lanes) for _ in range(2))
        self.asked, self.fetcher = set(), None

    def __getitem__(self, number: int) -> Found:
        self.fetch_ahead(number)
        broken = {}
        for passed in range(TRIES):
            entry = self.entries[self.order.clip(number, passed)]
            try:
                shard = local_shard(entry.shard, self.cache)
            except InputError as error:  # no clip's fault, and another process may see it otherwise
                return Found(error=str(error), broken=broken)
            try:
                return Found(self.read(entry, shard, np.random.default_rng([self.seed, number, 1])), broken=broken)
            except (ValueError, LookupError, TypeError) as error:
                broken[entry.name] = str(error)
        return Found(error=f"{TRIES} clips in a row are broken, the last: {broken[entry.name]}", broken=broken)

    def fetch_ahead(self, number: int) -> None:
        shard = self.entries[self.ahead.clip(number, AHEAD)].shard
        if shard not in self.asked:
            self.asked.add(shard)
            self.fetcher = self.fetcher or ThreadPoolExecutor(1)  # not before this process is forked
            self.fetcher.submit(local_shard, shard, self.cache)  # what goes wrong is said when the shard is needed

    def read(self, entry: Entry, shard: Path, rng: np.random.Generator) -> RawSample:
        """Raises InputError, or what numpy makes of wrong shapes."""
        clip, video = read_clip(shard, entry.name)
        if not entry.num_frames == len(clip.landmarks) == len(clip.head_speed):
            raise InputError(f"{entry.name} in {shard}: the index and the clip are not of one length")
        known = marks(clip)
        picked = pick(known.opening, self.window, self.variants, rng)
        numbers = [*picked.motion, *picked.rows, picked.reference]
        frames = pick_frames(video, f"{entry.name} in {shard}", [int(number) for number in numbers], FPS)
        if frames.shape[1:3] != (self.size, self.size):
            held = f"{frames.shape[2]} x {frames.shape[1]} pixels"
            raise InputError(f"{entry.name} in {shard} is of {held}, data.size={self.size}")
        wave, speed = sound(clip, picked.variant, rng)
        heard, inside = widened(picked.rows, self.window.audio_margin, entry.num_frames)
        return RawSample(
            name=entry.name,
            frames=torch.from_numpy(frames),
            wave=torch.from_numpy(wave),
            fps=FPS * speed,
            num_frames=entry.num_frames,
            heard=torch.from_numpy(heard),
            inside=inside,
            lips=known.lips[picked.rows],
            face_box=known.face_box,
            head_speed=speeds(known.head_speed, picked.rows, self.window.speed_margin),
        )


def sound(clip: Clip, variant: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A wave (S,), and how much faster it is: the clip's own of variant 0, else another voice."""
    return vary(clip.voice, rng) if variant else (clip.voice, 1.0)


class Stream:
    """Samples in the order they are asked for, two batches read ahead."""

    def __init__(self, samples: Samples, workers: int, log: Path):
        """workers: processes that read; 0: this one, when asked. log: a JSON line of each broken clip is added."""
        self.samples, self.workers, self.log = samples, workers, log
        self.coming, self.reader = None, iter(())
        self.broken = {}  # clip -> what is wrong with it, as far as this process has seen

    def take(self, numbers: range) -> list[RawSample]:
        """The samples of these numbers; those that follow them at the same distance are read ahead. Names each broken
        clip once, on the screen and in the log. Raises InputError for a shard that can't be had, or where no clip is
        whole."""
        if self.coming != (numbers.start, numbers.step):
            self.reader = self.read_from(numbers)
        self.coming = numbers.start + len(numbers) * numbers.step, numbers.step
        return [self.judged(found) for _, found in zip(numbers, self.reader, strict=False)]

    def read_from(self, numbers: range):
        ahead = {"prefetch_factor": max(2, ceil(2 * len(numbers) / self.workers))} if self.workers else {}
        order = count(numbers.start, numbers.step)
        own = torch.Generator()  # or the workers' seed is drawn from the training's chance
        return iter(DataLoader(self.samples, None, sampler=order, num_workers=self.workers, generator=own, **ahead))

    def judged(self, found: Found) -> RawSample:
        for name, reason in found.broken.items():
            if name not in self.broken:
                self.broken[name] = reason
                self.log.parent.mkdir(parents=True, exist_ok=True)
                with self.log.open("a") as file:
                    file.write(json.dumps({"clip": name, "reason": reason}) + "\n")
                print(f"left out: {name}: {reason} ({len(self.broken)} broken clips up to now)", flush=True)
        if found.sample is None:
            raise InputError(found.error)
        return found.sample


@torch.no_grad()
def encode_batch(
    samples: list[RawSample],
    window: Window,
    vae: torch.nn.Module,
    audio_encoder: AudioEncoder,
    device: torch.device,
    bf16: bool = False,
) -> Batch:
    """bf16: the pictures in half precision. Only the frames of the samples are encoded; the sound is heard whole, as it
    is in a held clip."""
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        latents = encode_frames(vae, torch.cat([sample.frames for sample in samples]).numpy(), device).float()
    parts = latents.split([len(sample.frames) for sample in samples])
    rows = [fields(sample, part, window, audio_encoder) for sample, part in zip(samples, parts, strict=True)]
    return stacked(rows, [sample.name for sample in samples])


def fields(sample: RawSample, latents: Tensor, window: Window, audio_encoder: AudioEncoder) -> list[Tensor]:
    """latents (M+F+1 C H W) or, without frames before, (F+1 C H W) -> the tensors of a Batch, without B."""
    motion, rows, reference = latents[: -window.num_frames - 1], latents[-window.num_frames - 1 : -1], latents[-1]
    if not len(motion):
        motion = latents.new_zeros(window.motion_frames, *latents.shape[1:])
    wave, device = sample.wave[None].to(latents.device), latents.device
    features = audio_encoder(wave, 0, sample.num_frames, sample.fps)[0].float()  # (T W D)
    audio = features[sample.heard.to(device)] * sample.inside.to(device)[:, None, None]
    region = region_mask(sample.face_box, latents.shape[-1])
    known = [value.to(device) for value in (sample.lips, region, sample.head_speed)]
    return [rows, reference, motion, audio, *known]
