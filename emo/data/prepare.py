"""A video and its face mesh -> a prepared clip: the head is held still, only the face moves.

Every frame is brought to the square of its own face by a similarity over rigid points, smoothed in time, so
that a small network need not spend itself on head motion. Runs on labels of `emo.data.label`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from emo.data.clip import FPS, SAMPLE_RATE, Clip, ClipInfo
from emo.errors import InputError
from emo.face.mouth import opening
from emo.face.region import Region, crop, region_of_landmarks
from emo.face.speed import head_speed
from emo.media.audio import read_audio
from emo.media.loudness import loudness
from emo.media.video import probe_video

# MediaPipe's mesh -> the 68 iBUG points: jaw, brows, nose, eyes, outer and inner lips
IBUG = (
    [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
    + [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 6, 195, 4, 98, 97, 2, 326, 327]
    + [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    + [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)
SMOOTH_FRAMES = 2.0  # sigma of the head's path
SMALLEST_SIDE_PIXELS = 90
SHORTEST_SECONDS = 1.0
LOWEST_SYNC = 0.2  # mouth opening against loudness; below it the sound is not this face's


def read_mesh(path: Path) -> np.ndarray:
    """(T 468 3) landmarks in pixels, NaN where no face was seen. Raises InputError for a missing file."""
    if not path.exists():
        raise InputError(f"{path} is missing: make it with python -m emo.data.label")
    return load_file(path)["landmarks"]


def without_gaps(mesh: np.ndarray, name: str) -> np.ndarray:
    """mesh (T 468 3) with gaps of up to 5 frames filled. Raises InputError on longer ones."""
    seen = np.flatnonzero(np.isfinite(mesh[:, 0, 0]))
    if len(seen) == 0 or np.diff(seen, prepend=-1, append=len(mesh)).max() > 5:
        raise InputError(f"{name}: the face is out of sight; cut the video where it is seen")
    flat = mesh.reshape(len(mesh), -1)
    rows = np.arange(len(mesh))
    filled = np.stack([np.interp(rows, seen, column[seen]) for column in flat.T], axis=-1)
    return filled.reshape(mesh.shape).astype(np.float32)


def load_mesh(path: Path) -> np.ndarray:
    """(T 468 3) landmarks in pixels without gaps. Raises InputError for a missing file or a face out of sight."""
    return without_gaps(read_mesh(path), path.stem)


def smooth(values: np.ndarray, sigma_frames: float) -> np.ndarray:
    """Gaussian smoothing of (T D) over T, the ends repeated."""
    reach = int(4 * sigma_frames)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    padded = np.pad(values, [(reach, reach), (0, 0)], mode="edge")
    columns = [np.convolve(c, weights / weights.sum(), mode="valid") for c in padded.T]
    return np.stack(columns, axis=-1)


def steady_regions(landmarks: np.ndarray) -> list[Region]:
    """landmarks (T 68 2) pixels -> the square of each frame, its path smoothed."""
    regions = [region_of_landmarks(points) for points in landmarks]
    path = np.array([(*r.center, np.log(r.side), r.angle_radians) for r in regions])
    return [Region((x, y), float(np.exp(s)), a) for x, y, s, a in smooth(path, SMOOTH_FRAMES)]


def into_square(points: np.ndarray, region: Region) -> np.ndarray:
    """Points (N 2) in pixels of the picture -> unit square of the region."""
    matrix = region.matrix(1)
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def sync_score(gaps: np.ndarray, wave: np.ndarray, reach_frames: int = 3) -> float:
    """The best correlation of an opening (T,) and the loudness over small shifts; 0 where one does not change."""
    level = loudness(wave, SAMPLE_RATE, len(gaps), FPS)
    if gaps.std() == 0 or level.std() == 0:
        return 0.0
    shifted = [np.roll(level, shift) for shift in range(-reach_frames, reach_frames + 1)]
    return max(float(np.corrcoef(gaps, s)[0, 1]) for s in shifted)


def prepare_shot(
    video: Path,
    shot: tuple[int, int],
    mesh: np.ndarray,
    numbered: Iterator[tuple[int, np.ndarray]],
    info: ClipInfo,
    size: int,
) -> tuple[Clip, Iterator[np.ndarray]]:
    """A shot (first frame, end) of a video at any rate -> a clip at FPS and its frames (size size 3).

    mesh: of the whole video, (T 468 3) pixels; numbered: its frames, enumerated, from the shot's first or before.
    Raises InputError, with the reason, for a shot that must not be learnt from.
    """
    (first, end), rate = shot, probe_video(video).fps
    if end - first < SHORTEST_SECONDS * rate:
        raise InputError(f"{info.name}: the shot is shorter than {SHORTEST_SECONDS:g} s")
    mesh = without_gaps(mesh[first:end], info.name)
    info.num_frames = int(len(mesh) / rate * FPS)
    index = np.minimum(((np.arange(info.num_frames) + 0.5) / FPS * rate).astype(int), len(mesh) - 1)
    landmarks = mesh[index][:, IBUG, :2]
    regions = steady_regions(landmarks)
    if min(r.side for r in regions) < SMALLEST_SIDE_PIXELS:
        raise InputError(f"{info.name}: the face is smaller than {SMALLEST_SIDE_PIXELS} pixels")
    wave = read_audio(video, SAMPLE_RATE, first / rate, info.num_frames / FPS)
    points = [into_square(p, r) for p, r in zip(mesh[index][..., :2], regions, strict=True)]
    square = np.stack(points).astype(np.float32)
    clip = Clip(info, wave, square[:, IBUG], head_speed(landmarks, FPS), square)
    if sync_score(opening(landmarks), wave) < LOWEST_SYNC:
        raise InputError(f"{info.name}: the mouth does not follow the sound")
    return clip, (crop(f, r, size) for f, r in zip(pick(numbered, first + index), regions, strict=True))


def pick(numbered: Iterator[tuple[int, np.ndarray]], index: np.ndarray) -> Iterator[np.ndarray]:
    """The frames whose numbers stand in `index` (T,), ascending, repeats allowed; takes none beyond the last."""
    number, frame = -1, None
    for want in index:
        while number < want:
            number, frame = next(numbered)
        yield frame
