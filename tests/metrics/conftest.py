"""What measures are tested on: a drawn head that talks in step with a wave, turns a little, blinks, and stands before
a wall with a pattern; and made-up weights and pictures, the same with every torch, of which the tests hold what
published code gives."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch

from emo.core.timing import SAMPLE_RATE
from emo.face.crop import transform_points
from emo.face.refinement import FaceDetails
from emo.metrics.faults import Footage
from emo.metrics.tracks import VideoTracks, track_frames

COUNT, SIDE = 126, 160  # frames, and pixels of the picture
BLINKS = (20, 60)  # frames in which the eyes shut, for four


def syllables() -> np.ndarray:
    """(T,) 0..1 in tenths: how loud it is and how far the mouth is open; silence for a second in the middle."""
    steps = np.repeat(np.random.default_rng(1).uniform(0.2, 1.0, COUNT // 4 + 1), 4)[:COUNT]
    steps[50:75] = 0.0
    return np.convolve(steps, [0.25, 0.5, 0.25], "same").clip(0, 1).round(1)


def placed(index: int) -> np.ndarray:
    """(2 3) the drawn face of 192 pixels -> its place in frame `index`."""
    t = index / 25
    matrix = cv2.getRotationMatrix2D((96, 96), 4 * np.sin(2 * t), 0.6)
    return matrix + np.array([[0, 0, -16 + 4 * np.sin(1.5 * t)], [0, 0, -8 + 2 * np.cos(2 * t)]])


def points_at(points: np.ndarray, index: int) -> np.ndarray:
    """points (68 2) of the drawn face, with brows that rise and fall and eyes that blink, in frame `index`."""
    moved = points.copy()
    moved[17:27, 1] += 1.5 * np.sin(index / 4)
    if any(start <= index < start + 4 for start in BLINKS):
        moved[[41, 40, 47, 46]] = moved[[37, 38, 43, 44]]
    return transform_points(placed(index), moved)


@pytest.fixture(scope="session")
def footage(draw, mesh_of) -> Footage:
    from emo.face.landmarks import MEDIAPIPE_TO_IBUG

    random = np.random.default_rng(0)
    wall = cv2.GaussianBlur(random.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8), (0, 0), 2)
    skin = cv2.GaussianBlur(random.normal(0, 40, (192, 192, 1)), (0, 0), 1.2)[..., None]

    @cache
    def drawn(opening: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        face = draw(opening)
        inside = (face != (120, 140, 160)).any(-1).astype(np.float32)
        return np.clip(face + skin, 0, 255).astype(np.uint8), inside, mesh_of(opening)[MEDIAPIPE_TO_IBUG] * 192

    frames, landmarks, loud = [], [], syllables()
    for index, opening in enumerate(loud.tolist()):
        face, inside, points = drawn(opening)
        face, inside = (cv2.warpAffine(picture, placed(index), (SIDE, SIDE)) for picture in (face, inside))
        frames.append((wall + (face.astype(np.float32) - wall) * inside[..., None]).astype(np.uint8))
        landmarks.append(points_at(points, index))
    samples = SAMPLE_RATE // 25
    wave = (random.normal(0, 0.2, COUNT * samples) * np.repeat(loud, samples)).astype(np.float32)
    return Footage(frames, wave, np.float32(landmarks))


def tracks_of(footage: Footage) -> VideoTracks:
    points = iter(footage.landmarks)
    return track_frames(footage.frames, footage.wave, lambda frame: FaceDetails(next(points), np.zeros(2), 0.0))


@pytest.fixture(scope="session")
def track():
    """track(footage) -> Tracks, by the given landmarks, without detection."""
    return tracks_of


@pytest.fixture(scope="session")
def tracks(footage) -> VideoTracks:
    return tracks_of(footage)


def weights_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A state dict of networks with norms, in which activations keep their size."""
    rng, state = np.random.RandomState(0), {}
    for name, shape in sorted(shapes.items()):
        new = rng.standard_normal(shape)
        if name.endswith("running_var"):
            new = 1 + np.abs(new)
        elif len(shape) < 2:
            new = 0.1 * new + name.endswith("weight")
        else:
            new *= np.sqrt(2 / np.prod(shape[1:]))
        state[name] = torch.from_numpy(np.asarray(new, np.float32))
    return state


def shapes_of(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    state = net.state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="session")
def made_up():
    """made_up(net) -> a state dict for it; see `weights_of`."""
    return lambda net: weights_of(shapes_of(net))


@pytest.fixture(scope="session", name="shapes_of")
def shapes_of_fixture():
    """shapes_of(net) -> name -> shape of what its published weights hold."""
    return shapes_of


@pytest.fixture(scope="session")
def weights():
    """weights(shapes) -> a state dict of these names and shapes; see `weights_of`."""
    return weights_of


def coarse_pictures(count: int, size: int, cell: int = 8) -> np.ndarray:
    cells = np.random.RandomState(1).randint(0, 256, (count, 3, size // cell, size // cell), np.uint8)
    return cells.repeat(cell, 2).repeat(cell, 3)


@pytest.fixture(scope="session")
def pictures():
    """pictures(count, size) -> (count 3 size size) uint8 of coloured squares."""
    return coarse_pictures
