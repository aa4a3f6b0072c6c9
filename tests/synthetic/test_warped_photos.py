"""Animated photos: the mouth opens as that of the driving clip, and the face keeps its own shape."""

import numpy as np
import pytest

from emo.synthetic.warped_photos import (
    INNER_LIPS,
    LOWER_INNER_LIP,
    OUTER_LIPS,
    UPPER_INNER_LIP,
    WARP_HANDLES,
    animate_photo,
    close_mouth,
    make_driving_clip,
    make_warp_map,
    measure_lip_gap,
    recolor_lips,
    remove_pose,
    separate_lips,
    warp_image,
)

SIZE = 192


@pytest.fixture
def drive(draw, mesh_of):
    """drive(openings, move) -> the driving clip of the drawn face, its meshes changed by `move`."""

    def make(openings, move=lambda mesh: mesh):
        return make_driving_clip(np.stack([move(mesh_of(o)) for o in openings]), [draw(o, SIZE) for o in openings])

    return make


def test_motionless_driving_clip_returns_the_photo(draw, mesh_of, drive):
    still = draw(0, SIZE)
    for picture, mesh in animate_photo(still, mesh_of(0), drive([0.0] * 5)):
        assert np.abs(picture.astype(int) - still).mean() < 1
        assert np.abs(mesh - mesh_of(0)).max() < 0.005


def test_open_mouth_of_the_photo_is_closed_first(draw, mesh_of, drive):
    pairs = list(animate_photo(draw(0.8, SIZE), mesh_of(0.8), drive([0.0] * 4)))
    assert all(measure_lip_gap(mesh) < 0.1 * measure_lip_gap(mesh_of(0.8)) for _, mesh in pairs)
    shut = np.abs(pairs[0][0].astype(int) - draw(0, SIZE)).mean()
    assert shut < 0.4 * np.abs(draw(0.8, SIZE).astype(int) - draw(0, SIZE)).mean()


def test_mouth_follows_that_of_the_driving_clip(draw, mesh_of, drive):
    openings = [0, 0, 0, 0.2, 0.5, 0.9, 1.0, 0.4, 0.1, 0]
    pairs = list(animate_photo(draw(0, SIZE), mesh_of(0), drive(openings)))
    made, true = (
        measure_lip_gap(np.stack([mesh for _, mesh in pairs])),
        measure_lip_gap(np.stack([mesh_of(o) for o in openings])),
    )
    assert np.corrcoef(made, true)[0, 1] > 0.99 and made.std() == pytest.approx(true.std(), rel=0.1)
    column = [int((np.abs(p[:, SIZE // 2].astype(int) - [150, 60, 60]).sum(1) < 60).sum()) for p, _ in pairs]
    assert np.corrcoef(column, true)[0, 1] > 0.95  # so does the red of the drawn mouth


def test_motion_is_scaled_to_the_size_of_the_face(draw, mesh_of, drive):
    half = (mesh_of(0) - 0.5) * 0.5 + 0.5
    made = [measure_lip_gap(mesh) for _, mesh in animate_photo(draw(0, SIZE), half, drive([0, 0, 0, 1.0]))]
    assert made[-1] - made[0] == pytest.approx(
        0.5 * (measure_lip_gap(mesh_of(1.0)) - measure_lip_gap(mesh_of(0))), rel=0.1
    )


def test_head_motion_of_the_driving_clip_is_removed(draw, mesh_of, drive):
    rng = np.random.default_rng(0)

    def turn(mesh):
        return mesh @ np.array([[1.02, 0.05], [-0.05, 0.98]]) + rng.uniform(-0.05, 0.05, 2)

    expected = [mesh for _, mesh in animate_photo(draw(0, SIZE), mesh_of(0), drive([0, 0, 0, 1.0]))]
    for (_, mesh), still in zip(
        animate_photo(draw(0, SIZE), mesh_of(0), drive([0, 0, 0, 1.0], turn)), expected, strict=True
    ):
        assert np.abs(mesh - still).max() < 0.012


def test_remove_pose_undoes_an_affine_motion(mesh_of):
    moved = mesh_of(0.7) @ np.array([[1.1, 0.1], [-0.2, 0.9]]) + 0.1
    assert np.allclose(remove_pose(moved, mesh_of(0.0)), mesh_of(0.7), atol=1e-6)


def test_close_mouth_moves_only_the_lips(mesh_of):
    closed = close_mouth(mesh_of(1.0))
    assert measure_lip_gap(closed) == pytest.approx(0, abs=1e-9)
    moved = np.flatnonzero(np.abs(closed - mesh_of(1.0)).max(1) > 1e-9)
    assert set(moved) <= {*INNER_LIPS, *OUTER_LIPS}
    height = np.ptp(closed[OUTER_LIPS][:, 1])
    assert height < 0.6 * np.ptp(mesh_of(1.0)[OUTER_LIPS][:, 1])


def test_pressed_lips_do_not_cross(mesh_of):
    pressed = close_mouth(mesh_of(1.0))
    pressed[UPPER_INNER_LIP] += [0, 0.01]
    apart = separate_lips(pressed, 0.5 / SIZE)
    assert (apart[LOWER_INNER_LIP] - apart[UPPER_INNER_LIP])[:, 1].min() > 0.4 / SIZE
    assert np.allclose(
        apart[UPPER_INNER_LIP] + apart[LOWER_INNER_LIP], pressed[UPPER_INNER_LIP] + pressed[LOWER_INNER_LIP]
    )
    assert np.allclose(np.delete(apart, INNER_LIPS, axis=0), np.delete(pressed, INNER_LIPS, axis=0))
    assert np.array_equal(
        separate_lips(mesh_of(1.0), 0.5 / SIZE)[UPPER_INNER_LIP[2:-2]], mesh_of(1.0)[UPPER_INNER_LIP[2:-2]]
    )


def test_closing_an_open_mouth_makes_no_folds(mesh_of):
    still, between = mesh_of(1.0), [72, 12, 268, 180, 16, 404]
    still[between[:3]] = (still[[37, 0, 267]] + still[[82, 13, 312]]) / 2  # on the red of the lips
    still[between[3:]] = (still[[84, 17, 314]] + still[[87, 14, 317]]) / 2
    target = separate_lips(close_mouth(still), 0.5 / SIZE)
    x, y = np.int32(still[INNER_LIPS].mean(0) * SIZE)

    def folds(handles) -> bool:
        rows = make_warp_map(target[handles], still[handles], SIZE)[y - 30 : y + 30, x - 8 : x + 8, 1]
        return np.diff(rows, axis=0).min() < 0

    assert folds([*WARP_HANDLES, *between]) and not folds(WARP_HANDLES)


def test_warp_moves_points_to_their_targets():
    points = np.random.default_rng(0).uniform(0.3, 0.7, (12, 2))
    target = points + [0.03, -0.02]
    image = np.zeros((128, 128, 3), np.uint8)
    x, y = np.int32(np.round(points[0] * 128))
    image[y - 2 : y + 2, x - 2 : x + 2] = 255
    weight = warp_image(image, make_warp_map(target, points, 128))[..., 0].astype(float)
    rows, columns = np.mgrid[:128, :128] + 0.5
    center = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum() / 128
    assert np.abs(center - np.array([x, y]) / 128 - [0.03, -0.02]).max() < 0.008
    still = make_warp_map(points, points, 128)
    assert np.allclose(still[..., 0], np.arange(128)[None], atol=1e-3)


def test_recolor_changes_only_the_lips(draw, mesh_of):
    """In another red each time; the interior of the mouth and the face around the lips stay."""
    image, mesh = draw(0.8, SIZE), mesh_of(0.8)
    made_up = [recolor_lips(image, mesh, np.random.default_rng(seed)).astype(int) for seed in range(4)]
    x, y = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), 0) / SIZE
    low, high = mesh[OUTER_LIPS].min(0) - 0.05, mesh[OUTER_LIPS].max(0) + 0.05
    around = (x < low[0]) | (x > high[0]) | (y < low[1]) | (y > high[1])
    upper, inside = ((mesh[0] + mesh[13]) / 2 * SIZE).astype(int), (mesh[INNER_LIPS].mean(0) * SIZE).astype(int)
    for other in made_up:
        assert np.array_equal(other[around], image[around])
        assert np.abs(other[inside[1], inside[0]] - image[inside[1], inside[0]]).max() <= 1
    reds = np.stack([other[upper[1], upper[0]] for other in made_up])
    assert np.ptp(reds, axis=0).max() > 40 and (reds[:, 0] >= reds.max(1)).all()
