"""Choose the clips and frames of training samples, deterministically by a seed and the number of the sample.

Shapes: N clips, T frames of a clip, F frames of a sample, M motion frames before it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emo.core.errors import InputError
from emo.data.clip import list_clips, load_clip_info, read_hold_out
from emo.media.image import IMAGE_SUFFIXES


@dataclass(frozen=True)
class SampleSpec:
    """What kind of samples a task needs.

    Attributes:
        num_frames: F.
        contiguous: Consecutive frames; else any frames, which have neither motion frames nor margins.
        motion_frames: M.
        audio_margin: Frames of audio features on each side of the sample.
        speed_margin: Frames of head speed on each side of the sample.
        closed_mouth_reference_rate: Share of the samples whose reference frame has a closed mouth.
    """

    num_frames: int
    contiguous: bool
    motion_frames: int
    audio_margin: int
    speed_margin: int
    closed_mouth_reference_rate: float = 0.0


@dataclass
class FrameSelection:
    """The frames of a clip that make a sample, by number.

    Attributes:
        rows: (F,) frame numbers of the sample.
        motion: (M,) numbers of the motion frames before it; (0,) where the clip has fewer.
        variant: Version of the sound: 0 is the clip's own.
        reference: Number of the frame that stands for the portrait.
    """

    rows: np.ndarray
    motion: np.ndarray
    variant: int
    reference: int

    @property
    def numbers(self) -> list[int]:
        """All frames whose pictures are needed: motion frames, sample, reference."""
        return [int(number) for number in (*self.motion, *self.rows, self.reference)]


def choose_frames(
    mouth_opening: Tensor, spec: SampleSpec, num_variants: int, rng: np.random.Generator
) -> FrameSelection:
    """Choose the frames of a sample.

    Args:
        mouth_opening: (T,) mouth opening of the clip's frames.
        spec: What kind of sample.
        num_variants: Number of versions of the clip's sound.
        rng: The same state chooses the same frames.

    Returns:
        Numbers of the chosen frames.
    """
    first = 0
    if spec.contiguous:
        first = int(rng.integers(len(mouth_opening) - spec.num_frames + 1))
        rows = np.arange(first, first + spec.num_frames)
    else:
        rows = rng.choice(len(mouth_opening), spec.num_frames, replace=False)
    motion = np.arange(0)
    if spec.contiguous and first >= spec.motion_frames:
        motion = np.arange(first - spec.motion_frames, first)
    variant = int(rng.integers(num_variants))
    return FrameSelection(rows, motion, variant, choose_reference(mouth_opening, rng, spec.closed_mouth_reference_rate))


def choose_reference(mouth_opening: Tensor, rng: np.random.Generator, closed_rate: float) -> int:
    """Choose the frame that stands for the portrait.

    Args:
        mouth_opening: (T,) mouth opening of the clip's frames.
        rng: Source of the choice.
        closed_rate: Share of the choices that are among the quarter of the frames with the most closed mouths, as
            mouths are in most portraits; otherwise any frame is chosen.

    Returns:
        Number of the frame.
    """
    order = mouth_opening.argsort()
    choice = len(order) // 4 if rng.random() < closed_rate else len(order)
    return int(order[int(rng.integers(max(1, choice)))])


def widen_rows(rows: np.ndarray, margin: int, num_frames: int) -> tuple[np.ndarray, Tensor]:
    """Add `margin` frames on each side of the rows (F,).

    Args:
        rows: (F,) frame numbers.
        margin: Number of frames to add on each side.
        num_frames: Number of frames of the clip.

    Returns:
        (F+2 margin,) the frames, clamped to the clip's `num_frames`; and (F+2 margin,) bool, which lay within.
    """
    before, after = rows[0] - np.arange(margin, 0, -1), rows[-1] + np.arange(1, margin + 1)
    wide = np.concatenate([before, rows, after])
    return wide.clip(0, num_frames - 1), torch.from_numpy((wide >= 0) & (wide < num_frames))


def order_epoch(shards: np.ndarray, rng: np.random.Generator, open_shards: int) -> np.ndarray:
    """Order the clips of an epoch, see `SampleOrder`.

    Args:
        shards: (N,) number of each clip's shard.
        rng: Source of the random order.
        open_shards: Number of shards that are open at a time.

    Returns:
        (N,) numbers of the clips, in reading order.
    """
    rank, clips = rng.permutation(shards.max() + 1), rng.permutation(len(shards))
    rows = np.array_split(clips[np.argsort(rank[shards[clips]], kind="stable")], open_shards)
    table = np.full((len(rows[0]), open_shards), -1)  # the first rows may have one clip more
    for column, row in enumerate(rows):
        table[: len(row), column] = row
    return table[table >= 0]


class SampleOrder:
    """The order in which streamed clips are read: each once an epoch, fixed by the seed and the sample's number alone.

    Where a run stands is one number: stopping, or continuing with more or fewer processes, neither repeats nor skips a
    clip. The shards of an epoch are put in random order and the clips of each are shuffled. The resulting list is cut
    into `open_shards` rows of equal length, and the rows are read in turn, a clip of each. So each clip lies among
    those of as many shards as there are rows, as in a shuffle buffer of that size, but without its memory. Only these
    shards are open at a time; of P processes, workers included, each reads every P-th sample, and has shards of its own
    where P divides the number of rows.
    """

    def __init__(self, shards: np.ndarray, seed: int, open_shards: int):
        """Order clips.

        Args:
            shards: (N,) the number of each clip's shard.
            seed: Seed of all epochs.
            open_shards: How many shards are open at a time.
        """
        self.shards, self.seed, self.open_shards = shards, seed, open_shards
        self.epoch, self.clips = -1, shards

    def clip(self, number: int, skipped: int = 0) -> int:
        """Return the clip of a sample.

        Args:
            number: Number of the sample in the run.
            skipped: How many broken clips were skipped; the clip so many places further in the row is returned.

        Returns:
            Number of the clip.
        """
        epoch, place = divmod(number, len(self.shards))
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.epoch, self.clips = epoch, order_epoch(self.shards, rng, self.open_shards)
        return int(self.clips[(place + skipped * self.open_shards) % len(self.clips)])


def person_weights(people: list[str]) -> np.ndarray:
    """Weigh N clips by person, summing to 1: n clips of one person weigh as much as sqrt(n) of n people.

    Args:
        people: The person of each clip.

    Returns:
        (N,) probabilities.
    """
    counts = {p: people.count(p) for p in set(people)}
    weights = np.array([counts[p] ** -0.5 for p in people])
    return weights / weights.sum()


def choose_clips(shares: dict[str, float], hold_out: str | None, num_frames: int) -> tuple[list[Path], np.ndarray]:
    """List the clips to train on, and how likely each is drawn.

    Args:
        shares: Folder of clips -> share of the samples, whatever the folder's size.
        hold_out: File of people to leave out, see `read_hold_out`.
        num_frames: Shorter clips are left out.

    Returns:
        The JSON paths of N clips, and (N,) probabilities, within a folder by `person_weights`.

    Raises:
        InputError: No clip is that long.
    """
    chosen, chances = [], np.zeros(0)
    for folder, share in shares.items():
        infos = {path: load_clip_info(path) for path in list_clips([folder], hold_out)}
        paths = [path for path, info in infos.items() if info.num_frames >= num_frames]
        chosen += paths
        chances = np.concatenate([chances, share * person_weights([infos[path].person for path in paths])])
    if not chosen:
        given = ", ".join(shares) or "no folder"
        raise InputError(f"data.num_frames={num_frames}: no clip in {given} (data.clips) is that long")
    return chosen, chances / chances.sum()


def list_held_out_clips(folders: list[str], hold_out: str | None, num_frames: int) -> list[Path]:
    """List the clips of the people who are held out.

    Args:
        folders: Folders of clips.
        hold_out: File of people, see `read_hold_out`.
        num_frames: Smallest length of a clip, frames.

    Returns:
        Paths of the clips' JSON files.
    """
    people = read_hold_out(hold_out)
    infos = {path: load_clip_info(path) for path in list_clips(folders)} if people else {}
    return [path for path, info in infos.items() if info.person in people and info.num_frames >= num_frames]


def list_pictures(folders: list[str], hold_out: str | None = None) -> list[Path]:
    """List the pictures of folders, sorted, without those whose name stands in the file `hold_out`.

    Args:
        folders: Folders of pictures.
        hold_out: File of names of pictures that are left out.

    Returns:
        Paths of the pictures.

    Raises:
        InputError: A folder has no pictures.
    """
    paths, names = [], read_hold_out(hold_out)
    for folder in folders:
        found = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"{folder} holds no pictures")
        paths += [p for p in found if p.stem not in names]
    return paths
