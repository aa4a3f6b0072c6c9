"""What a sample of a clip is: which frames, and what is known of them beside picture and sound.

Shapes: T frames of a clip, F of a sample, M motion frames.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emo.data.clip import LIPS, Clip
from emo.face.region import Region, locator_mask


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
