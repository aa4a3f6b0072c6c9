"""Pairs of frames of one person, with the motion between them where the footage has it written down.

Of every clip a few frames are decoded once, resized, and written to a cache file, from which training reads single
frames. A clip with ground truth (see `emo.data.clip_truth`) also has its portrait there, and each frame's motion
from it; any frame may be the portrait of a pair, since the motion between two frames follows from both motions.

Shapes: K frames of a clip, N pairs, S pixels and M cells along a side. Positions are in sides of the square.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emo.core.errors import InputError
from emo.core.files import save_arrays
from emo.data.clip import load_clip, read_clip_frames
from emo.data.clip_truth import decode_portrait, load_clip_truth
from emo.data.dataset import cache_file_name
from emo.face.landmarks import BROW_POINTS, EYE_POINTS, INNER_LIP_POINTS, LIP_POINTS, eye_opening
from emo.media.image import resize_image
from emo.models.motion_autoencoder import EYE_CENTER, MOUTH_CENTER
from emo.models.warping import cell_positions, sample

FRAMES_PER_CLIP = 20
NUM_CLOSED_EYES = 4  # of these the frames with the most closed eyes: a blink lasts but a few frames
FIRST_PORTRAIT_RATE = 0.5  # share of pairs whose portrait is the clip's first picture: the footage's own portrait
WIDE_OPENING = 0.05  # gap between the lips, sides, from which on a frame is drawn most often
CLOSED_CHANCE = 0.25  # chance of a frame with closed lips, beside 1.25 of such a one
TEMPLATE_RATE = 0.5  # share of those whose windows lie where the aligned square has them, as when a model is used
CENTER_JITTER = 0.02  # deviation of the windows' centers of the others, sides
GAIN_RANGE, SHIFT_RANGE = (0.6, 1.2), 0.12  # of the colors of both frames
MOTION_CELLS = 64  # M


@dataclass
class MotionBatch:
    """N pairs of a portrait and a frame."""

    portraits: Tensor  # (N 3 S S) in [-1, 1]
    frames: Tensor  # (N 3 S S)
    portrait_flow: Tensor  # (N 2 M M) backward motion from the clip's portrait to this portrait; zeros where unknown
    frame_flow: Tensor  # (N 2 M M) the same to the frame
    portrait_unsourced: Tensor  # (N 1 M M) share of each cell that the clip's portrait does not show
    frame_unsourced: Tensor  # (N 1 M M)
    centers: Tensor  # (N 2 2) of eyes and mouth in the portrait
    inner_lips: Tensor  # (N 1 S S) share of each pixel that lies between the frame's lips
    weight: Tensor  # (N 1 S S) of each pixel of the frame; 0 beside the face where the motion is not known
    known: Tensor  # (N 1 1 1) 1 where motion and unsourced shares are known, else 0
    progress: float = 0.0  # share of the run that is done

    def to(self, device: torch.device) -> "MotionBatch":
        """Return the batch on a device."""
        tensors = [getattr(self, field.name).to(device) for field in fields(self) if field.name != "progress"]
        return MotionBatch(*tensors, progress=self.progress)


@dataclass(frozen=True)
class ClipFrames:
    """Frames of a clip in a cache file: frames (K S S 3) uint8, flow (K 2 M M) float16, unsourced (K M M) uint8,
    landmarks (K 68 2) float32."""

    path: Path
    num_frames: int  # K
    known: bool  # whether flow and unsourced are

    def read_landmarks(self) -> np.ndarray:
        """Return the landmarks (K 68 2) of all frames."""
        with safe_open(self.path, "np") as file:
            return file.get_tensor("landmarks")

    def read(self, index: int) -> dict[str, np.ndarray]:
        """Return the arrays of one frame, without K."""
        with safe_open(self.path, "np") as file:
            return {name: file.get_slice(name)[index] for name in file.keys()}


def cache_clip_frames(path: Path, folder: Path, size: int) -> ClipFrames:
    """Decode frames of a clip evenly over its time into a cache file, unless it is there.

    Args:
        path: The clip's JSON.
        folder: Folder of the cache.
        size: S.

    Returns:
        The frames; those of a clip with a known portrait begin with it.

    Raises:
        InputError: The clip or the cache file is broken.
    """
    file = folder / f"pairs_{size}_{FRAMES_PER_CLIP}" / cache_file_name(path, ".mp4")
    truth = path.with_suffix(".truth.npz").exists()
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(file, choose_clip_frames(path, size))
    try:
        with safe_open(file, "np") as content:
            return ClipFrames(file, content.get_slice("frames").get_shape()[0], truth)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} is broken ({error}): delete it; it will be recreated") from error


def choose_clip_frames(path: Path, size: int) -> dict[str, np.ndarray]:
    """Read the frames of a clip that pairs are drawn from, with their motion.

    Args:
        path: JSON of the clip.
        size: Side of the frames, pixels.

    Returns:
        The arrays of `ClipFrames` by name.

    Raises:
        InputError: The clip is broken.
    """
    clip, truth = load_clip(path), load_clip_truth(path)
    evenly = np.linspace(0, clip.info.num_frames - 1, FRAMES_PER_CLIP - NUM_CLOSED_EYES).round().astype(int)
    closed = eye_opening(clip.landmarks).argsort()[:NUM_CLOSED_EYES]
    chosen = np.unique(np.concatenate([evenly, closed])).tolist()
    frames = np.stack([resize_image(frame, size) for k, frame in enumerate(read_clip_frames(path)) if k in chosen])
    landmarks = clip.landmarks[chosen].astype(np.float32)
    if not truth:
        flow = np.zeros((len(chosen), 2, MOTION_CELLS, MOTION_CELLS), np.float16)
        unsourced = np.zeros((len(chosen), MOTION_CELLS, MOTION_CELLS), np.uint8)
    else:
        frames = np.concatenate([decode_portrait(truth, size)[None], frames])
        flow, unsourced = (truth[name][chosen] for name in ("flow", "unsourced"))
        flow, unsourced = (np.concatenate([np.zeros_like(x[:1]), x]) for x in (flow, unsourced))
        landmarks = np.concatenate([truth["portrait_landmarks"][None].astype(np.float32), landmarks])
    return {"frames": frames, "flow": flow, "unsourced": unsourced, "landmarks": landmarks}


def draw_pairs(clips: list[ClipFrames], chances: np.ndarray, seed: int, numbers: range) -> MotionBatch:
    """Draw pairs; each depends on the seed and its number alone.

    Args:
        clips: Clips to draw from.
        chances: (clips,) probabilities.
        seed: Seed of the run.
        numbers: Numbers of the pairs.

    Returns:
        The pairs, with progress 0.
    """
    pairs = [draw_pair(clips, chances, np.random.default_rng([seed, number])) for number in numbers]
    return MotionBatch(*(torch.stack(values) for values in zip(*pairs, strict=True)))


def draw_pair(clips: list[ClipFrames], chances: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """Draw one pair of a portrait and a frame.

    Args:
        clips: N clips.
        chances: (N,) probabilities.
        rng: Source of the random choices.

    Returns:
        The pair's tensors in the order of MotionBatch's fields, without N.
    """
    clip = clips[rng.choice(len(clips), p=chances)]
    first = 0 if rng.random() < FIRST_PORTRAIT_RATE else int(rng.integers(clip.num_frames))
    second = draw_frame(clip, rng)
    mirrored = rng.random() < 0.5
    portrait, frame = (mirror(clip.read(k)) if mirrored else clip.read(k) for k in (first, second))
    centers = find_window_centers(portrait["landmarks"]) + rng.normal(0, CENTER_JITTER, (2, 2))
    if first == 0 and rng.random() < TEMPLATE_RATE:
        centers = np.array([EYE_CENTER, MOUTH_CENTER])
    gain, shift = rng.uniform(*GAIN_RANGE), rng.uniform(-SHIFT_RANGE, SHIFT_RANGE, (3, 1, 1))

    def image(pixels: np.ndarray) -> Tensor:
        colors = (pixels.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1) * gain + shift
        return torch.from_numpy(colors.clip(-1, 1).astype(np.float32))

    flows = (torch.from_numpy(one["flow"].astype(np.float32)) for one in (portrait, frame))
    unsourced = (torch.from_numpy(one["unsourced"][None].astype(np.float32) / 255) for one in (portrait, frame))
    lips = torch.from_numpy(draw_inner_lips(frame["landmarks"], len(frame["frames"]))[None])
    size, known = len(frame["frames"]), torch.full((1, 1, 1), float(clip.known))
    weight = np.ones((size, size), np.float32) if clip.known else draw_face(frame["landmarks"], size)
    masks = lips, torch.from_numpy(weight[None])
    centers = torch.from_numpy(centers.astype(np.float32))
    return image(portrait["frames"]), image(frame["frames"]), *flows, *unsourced, centers, *masks, known


def draw_frame(clip: ClipFrames, rng: np.random.Generator) -> int:
    """Draw the number of a frame of a clip, open mouths more often: those are what a painter learns from."""
    gaps = np.ptp(clip.read_landmarks()[:, INNER_LIP_POINTS, 1], axis=1)
    chances = CLOSED_CHANCE + (gaps / WIDE_OPENING).clip(0, 1)
    return int(rng.choice(clip.num_frames, p=chances / chances.sum()))


def mirror(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Exchange left and right in one frame's arrays of `ClipFrames.read`; the landmarks' order stays."""
    return {
        "frames": arrays["frames"][:, ::-1],
        "flow": arrays["flow"][..., ::-1] * np.array([-1, 1], np.float16)[:, None, None],
        "unsourced": np.ascontiguousarray(arrays["unsourced"][:, ::-1]),
        "landmarks": arrays["landmarks"] * np.float32([-1, 1]) + np.float32([1, 0]),
    }


def find_window_centers(landmarks: np.ndarray) -> np.ndarray:
    """Find the middle of the eyes and of the mouth: landmarks (68 2) -> (2 2)."""
    return np.stack([landmarks[EYE_POINTS].mean(0), landmarks[LIP_POINTS].mean(0)])


def draw_inner_lips(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Draw the share of each pixel that lies between the lips, with a soft rim.

    Args:
        landmarks: (68 2) points in the unit square.
        size: Side of the mask, pixels.

    Returns:
        (size size) float32, 0 .. 1.
    """
    inside = np.zeros((size, size), np.float32)
    polygon = np.round(landmarks[INNER_LIP_POINTS] * size * 16).astype(np.int32)
    cv2.fillPoly(inside, [polygon], 1.0, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(inside, (0, 0), size / 213)


def draw_face(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Draw where a real clip teaches: the face up to the hair, with a soft rim, without what moves behind it.

    Args:
        landmarks: (68 2) points in the unit square.
        size: Side of the mask, pixels.

    Returns:
        (size size) float32, 0 .. 1.
    """
    height = np.ptp(landmarks[:, 1])  # from the brows to the chin
    forehead = landmarks[BROW_POINTS] - [0, 0.4 * height]
    outline = cv2.convexHull(np.concatenate([landmarks, forehead]).astype(np.float32))[:, 0]
    outline = outline.mean(0) + (outline - outline.mean(0)) * 1.06
    inside = np.zeros((size, size), np.float32)
    cv2.fillPoly(inside, [np.round(outline * size).astype(np.int32)], 1.0, cv2.LINE_AA)
    return cv2.GaussianBlur(inside, (0, 0), size / 60)


def compute_pair_motion(batch: MotionBatch) -> tuple[Tensor, Tensor]:
    """Return the motion from portrait to frame, where both are known from a third picture.

    A cell x of the frame shows the point q = x + f(x) of the third picture; the portrait shows q at the p with
    p + g(p) = q, found by fixed-point iteration.

    Args:
        batch: Pairs of portrait and frame.

    Returns:
        Flow (N 2 M M), p - x, and the share (N 1 M M) of what the portrait does not show.
    """
    height, width = batch.frame_flow.shape[-2:]
    cells = cell_positions(height, width, batch.frame_flow.device)
    target = cells + batch.frame_flow.permute(0, 2, 3, 1)
    place = target
    for _ in range(6):
        place = target - sample(batch.portrait_flow, place).permute(0, 2, 3, 1)
    outside = ((place < 0) | (place > 1)).any(-1)[:, None].float()
    unsourced = torch.maximum(batch.frame_unsourced, sample(batch.portrait_unsourced, place))
    return (place - cells).permute(0, 3, 1, 2), torch.maximum(unsourced, outside)
