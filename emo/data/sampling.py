"""Which clips, frames and labels make a training sample; all of it deterministic by seed and index.

The order in which clips are seen: each once an epoch, fixed for ever by a seed and the index alone.

Sample 0, 1, 2, ... of a run has its clip here, whichever process reads it: where a run stands is one number, and
stopping, or going on with more processes or fewer, neither repeats nor skips a clip. An epoch's shards are put in a
random row, the clips of each shuffled, the row cut into `lanes` of one length, and the lanes read in turn, one clip of
each. So each clip lies among those of as many shards as there are lanes: a shuffle buffer of that size that holds
nothing in memory. Only these shards are needed at a time, and P processes, workers included, each of which reads every
P-th sample, have shards of their own where P divides `lanes` (but one that a lane shares with the next).

N clips.

Which clips are drawn, and how often.

Still pictures for training: which there are, and random crops of them.

What a sample of a clip is: which frames, and what is known of them beside picture and sound.

Shapes: T frames of a clip, F of a sample, M motion frames.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from emo.core.errors import InputError
from emo.data.clip import LIPS, Clip, list_clips, load_info, read_hold_out
from emo.face.crop import Region, locator_mask


def epoch_order(shards: np.ndarray, rng: np.random.Generator, lanes: int) -> np.ndarray:
    """shards (N,): the number of each clip's shard -> (N,) the clips in an epoch's order."""
    rank, clips = rng.permutation(shards.max() + 1), rng.permutation(len(shards))
    rows = np.array_split(clips[np.argsort(rank[shards[clips]], kind="stable")], lanes)
    table = np.full((len(rows[0]), lanes), -1)  # the first lanes may have one clip more
    for lane, row in enumerate(rows):
        table[: len(row), lane] = row
    return table[table >= 0]


class Order:
    """Sample number -> clip."""

    def __init__(self, shards: np.ndarray, seed: int, lanes: int):
        """shards (N,): the number of each clip's shard."""
        self.shards, self.seed, self.lanes = shards, seed, lanes
        self.epoch, self.clips = -1, shards

    def clip(self, number: int, passed: int = 0) -> int:
        """The clip of sample `number`; when `passed` clips were broken, the one so many further in its lane."""
        epoch, place = divmod(number, len(self.shards))
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.epoch, self.clips = epoch, epoch_order(self.shards, rng, self.lanes)
        return int(self.clips[(place + passed * self.lanes) % len(self.clips)])


def person_weights(people: list[str]) -> np.ndarray:
    """(N,) chances of N clips by person, summing to 1: n clips of one person weigh as sqrt(n) of n people."""
    counts = {p: people.count(p) for p in set(people)}
    weights = np.array([counts[p] ** -0.5 for p in people])
    return weights / weights.sum()


def choose_clips(shares: dict[str, float], hold_out: str | None, num_frames: int) -> tuple[list[Path], np.ndarray]:
    """The JSON paths of all clips of at least `num_frames`, and the chance of each: its folder's share (folder ->
    share), spread by person. Raises InputError when no clip is that long.
    """
    chosen, chances = [], np.zeros(0)
    for folder, share in shares.items():
        infos = {path: load_info(path) for path in list_clips([folder], hold_out)}
        paths = [path for path, info in infos.items() if info.num_frames >= num_frames]
        chosen += paths
        chances = np.concatenate([chances, share * person_weights([infos[path].person for path in paths])])
    if not chosen:
        given = ", ".join(shares) or "no folder"
        raise InputError(f"data.num_frames={num_frames}: no clip in {given} (data.clips) is that long")
    return chosen, chances / chances.sum()


def held_out_clips(folders: list[str], hold_out: str | None, num_frames: int) -> list[Path]:
    """The JSON paths of all clips of at least `num_frames` whose person stands in the file `hold_out`."""
    people = read_hold_out(hold_out)
    infos = {path: load_info(path) for path in list_clips(folders)} if people else {}
    return [path for path, info in infos.items() if info.person in people and info.num_frames >= num_frames]


SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def list_pictures(folders: list[str], hold_out: str | None = None) -> list[Path]:
    """All pictures of the folders but those held out, sorted. Raises InputError for a folder without any."""
    paths, people = [], read_hold_out(hold_out)
    for folder in folders:
        found = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{folder} holds no pictures")
        paths += [p for p in found if p.stem not in people]
    return paths


def augment(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of the image (H W 3), between half and all of its short side, as (size size 3) uint8:
    turned a little, perhaps mirrored, its colours changed."""
    height, width = image.shape[:2]
    side = min(height, width) * rng.uniform(0.5, 1.0)
    x, y = rng.uniform(0, [width - side, height - side])
    matrix = cv2.getRotationMatrix2D((x + side / 2, y + side / 2), rng.normal(0, 8), size / side)
    matrix[:, 2] += [size / 2 - x - side / 2, size / 2 - y - side / 2]
    flags = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    square = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)
    square = square[:, ::-1] if rng.random() < 0.5 else square
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.85, 1.15, 3)
    return np.clip(square * gain + rng.uniform(-25, 25), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Window:
    """Of which kind samples are."""

    num_frames: int
    contiguous: bool  # frames in a row; else any frames, then without motion frames and margins
    motion_frames: int
    audio_margin: int
    speed_margin: int
    closed_reference: float = 0.0  # share of the samples whose portrait has a closed mouth


@dataclass
class Marks:
    """What a clip's landmarks say of each frame."""

    lips: Tensor  # (T 3) centre x, y and width, in the unit square
    opening: Tensor  # (T,) of the mouth, over the face's height
    face_box: tuple[float, float, float, float]  # union of the clip's face boxes, in the unit square
    head_speed: Tensor  # (T,) rad/s, NaN where unknown


@dataclass
class Pick:
    """Frames of a clip, by their numbers."""

    rows: np.ndarray  # (F,)
    motion: np.ndarray  # (M,) those before; (0,) where the clip has less
    variant: int  # of the sound
    reference: int


def marks(clip: Clip) -> Marks:
    lips = clip.landmarks[:, LIPS]
    width = lips[..., 0].max(1) - lips[..., 0].min(1)
    return Marks(
        lips=torch.from_numpy(np.concatenate([lips.mean(1), width[:, None]], 1)).float(),
        opening=torch.from_numpy(clip.mouth_opening).float(),
        face_box=clip.face_box,
        head_speed=torch.from_numpy(clip.head_speed),
    )


def region_mask(face_box: tuple[float, float, float, float], size: int) -> Tensor:
    """(1 size size) of a box in the unit square."""
    return torch.from_numpy(locator_mask(face_box, Region((0.5, 0.5), 1.0), size))[None]


def pick(mouth: Tensor, window: Window, variants: int, rng: np.random.Generator) -> Pick:
    """mouth (T,): how far it is open in each frame; variants: of the clip's sound."""
    if window.contiguous:
        first = int(rng.integers(len(mouth) - window.num_frames + 1))
        rows = np.arange(first, first + window.num_frames)
    else:
        rows = rng.choice(len(mouth), window.num_frames, replace=False)
    motion = np.arange(0)
    if window.contiguous and first >= window.motion_frames:
        motion = np.arange(first - window.motion_frames, first)
    variant = int(rng.integers(variants))
    return Pick(rows, motion, variant, pick_reference(mouth, rng, window.closed_reference))


def pick_reference(mouth: Tensor, rng: np.random.Generator, closed: float) -> int:
    """The frame that stands for the portrait: any, but in a share `closed` of the samples one of the quarter in which
    the mouth is most closed, as it is in most portraits."""
    order = mouth.argsort()
    choice = len(order) // 4 if rng.random() < closed else len(order)
    return int(order[int(rng.integers(max(1, choice)))])


def widened(rows: np.ndarray, margin: int, total: int) -> tuple[np.ndarray, Tensor]:
    """rows (F,) and `margin` more on each side, held within the clip, and which of them (F+2m,) lie in it."""
    before, after = rows[0] - np.arange(margin, 0, -1), rows[-1] + np.arange(1, margin + 1)
    wide = np.concatenate([before, rows, after])
    return wide.clip(0, total - 1), torch.from_numpy((wide >= 0) & (wide < total))


def speeds(head_speed: Tensor, rows: np.ndarray, margin: int) -> Tensor:
    """(F+2n,) rad/s of the frames and n more on each side, NaN where unknown."""
    turned, inside = widened(rows, margin, len(head_speed))
    return torch.where(inside, head_speed[turned], torch.nan)
