"""What is cut from the pixels that are kept is bit for bit what the whole frames give."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.face.crop import Region, crop_region
from emo.preparation.face_patches import ArrayStore, FacePatches


@pytest.fixture(scope="module")
def scene():
    """40 frames of noise, and in each a face that swings, turns and leaves the frame at the left."""
    rng, time = np.random.default_rng(0), np.arange(40)
    frames = rng.integers(0, 255, (40, 120, 160, 3), np.uint8)
    centers = np.stack([60 + 50 * np.cos(time / 6), 60 + 20 * np.sin(time / 4)], -1)
    return frames, [Region(tuple(c), 36 + t / 4, 0.3 * np.sin(t)) for t, c in enumerate(centers.tolist())]


@pytest.mark.parametrize("memory_bytes", [10**9, 50_000, 0])
def test_crops_are_those_of_the_whole_frames(scene, memory_bytes):
    frames, regions = scene
    patches = FacePatches(memory_bytes=memory_bytes)
    for number, (frame, region) in enumerate(zip(frames, regions, strict=True)):
        patches.add(7 + number, frame, {"face": region})
    patches.finish()
    for number in range(40):
        near = [regions[min(39, max(0, number + shift))] for shift in (-2, 0, 2)]
        mean = Region(tuple(np.mean([r.center for r in near], axis=0)), near[1].side, near[1].angle_radians)
        for region in (regions[number], mean):
            for size in (16, 128):
                made = crop_region(patches.get_square(7 + number, region.matrix(1)), region, size)
                assert np.array_equal(made, crop_region(frames[number], region, size))
    assert (patches.store.file is None) == (memory_bytes == 10**9)
    patches.close()


def test_what_is_kept_is_a_part_of_the_frame(scene):
    frames, _ = scene
    patches = FacePatches()
    for number, frame in enumerate(frames):
        patches.add(number, frame, {"face": Region((80.0, 60.0), 30.0)} if number < 30 else {})
    patches.finish()
    x0, y0, x1, y1 = patches.patches[10][0][0]
    assert 30 < x1 - x0 < 60 and 30 < y1 - y0 < 60 and not patches.patches[35]


def test_a_place_that_is_not_kept_is_refused(scene):
    frames, _ = scene
    patches = FacePatches()
    patches.add(0, frames[0], {"face": Region((40.0, 60.0), 20.0)})
    patches.finish()
    for number, center in ((0, (120.0, 60.0)), (1, (40.0, 60.0))):
        with pytest.raises(InputError, match="moves too fast"):
            patches.get_square(number, Region(center, 20.0).matrix(1))


def test_arrays_beyond_the_bound_go_to_a_file_and_come_back():
    rng, store = np.random.default_rng(0), ArrayStore(memory_bytes=100)
    arrays = [rng.integers(0, 255, shape, np.uint8) for shape in [(5, 4, 3), (9, 9), (3, 3, 3), (0, 2, 3), (40,)]]
    numbers = [store.add(array) for array in arrays]
    for number in [3, 1, 4, 0, 2]:
        assert np.array_equal(store.get(numbers[number]), arrays[number])
    assert store.file is not None
    store.close()
    assert store.file.closed
