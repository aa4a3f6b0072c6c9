"""A still talks like its driver: it opens when the driver opens, and keeps its own face."""

import numpy as np
import pytest

from emo.synthetic.warped_photos import (
    HANDLES,
    INNER_LIPS,
    LOWER,
    OUTER_LIPS,
    UPPER,
    animate,
    close_mouth,
    gap,
    make_driver,
    make_up,
    sample,
    uncrossed,
    warp_map,
    without_pose,
)

SIZE = 192


@pytest.fixture
def drive(draw, mesh_of):
    """drive(openings, move) -> the Driver of the drawn face, its meshes moved by `move`."""

    def make(openings, move=lambda mesh: mesh):
        return make_driver(np.stack([move(mesh_of(o)) for o in openings]), [draw(o, SIZE) for o in openings])

    return make


def test_a_driver_that_does_not_move_gives_back_the_still(draw, mesh_of, drive):
    still = draw(0, SIZE)
    for picture, mesh in animate(still, mesh_of(0), drive([0.0] * 5)):
        assert np.abs(picture.astype(int) - still).mean() < 1
        assert np.abs(mesh - mesh_of(0)).max() < 0.005


def test_an_open_mouth_is_closed_before_it_talks(draw, mesh_of, drive):
    pairs = list(animate(draw(0.8, SIZE), mesh_of(0.8), drive([0.0] * 4)))
    assert all(gap(mesh) < 0.1 * gap(mesh_of(0.8)) for _, mesh in pairs)
    shut = np.abs(pairs[0][0].astype(int) - draw(0, SIZE)).mean()
    assert shut < 0.4 * np.abs(draw(0.8, SIZE).astype(int) - draw(0, SIZE)).mean()


def test_the_mouth_follows_the_drivers(draw, mesh_of, drive):
    openings = [0, 0, 0, 0.2, 0.5, 0.9, 1.0, 0.4, 0.1, 0]
    pairs = list(animate(draw(0, SIZE), mesh_of(0), drive(openings)))
    made, true = gap(np.stack([mesh for _, mesh in pairs])), gap(np.stack([mesh_of(o) for o in openings]))
    assert np.corrcoef(made, true)[0, 1] > 0.99 and made.std() == pytest.approx(true.std(), rel=0.1)
    column = [int((np.abs(p[:, SIZE // 2].astype(int) - [150, 60, 60]).sum(1) < 60).sum()) for p, _ in pairs]
    assert np.corrcoef(column, true)[0, 1] > 0.95  # so does the red of the drawn mouth


def test_a_small_still_moves_by_its_own_measure(draw, mesh_of, drive):
    half = (mesh_of(0) - 0.5) * 0.5 + 0.5
    made = [gap(mesh) for _, mesh in animate(draw(0, SIZE), half, drive([0, 0, 0, 1.0]))]
    assert made[-1] - made[0] == pytest.approx(0.5 * (gap(mesh_of(1.0)) - gap(mesh_of(0))), rel=0.1)


def test_the_drivers_head_motion_is_not_taken_over(draw, mesh_of, drive):
    rng = np.random.default_rng(0)

    def turn(mesh):
        return mesh @ np.array([[1.02, 0.05], [-0.05, 0.98]]) + rng.uniform(-0.05, 0.05, 2)

    expected = [mesh for _, mesh in animate(draw(0, SIZE), mesh_of(0), drive([0, 0, 0, 1.0]))]
    for (_, mesh), still in zip(animate(draw(0, SIZE), mesh_of(0), drive([0, 0, 0, 1.0], turn)), expected, strict=True):
        assert np.abs(mesh - still).max() < 0.012


def test_without_pose_undoes_an_affine_motion(mesh_of):
    moved = mesh_of(0.7) @ np.array([[1.1, 0.1], [-0.2, 0.9]]) + 0.1
    assert np.allclose(without_pose(moved, mesh_of(0.0)), mesh_of(0.7), atol=1e-6)


def test_a_closed_mouth_has_its_lips_together_and_the_rest_in_place(mesh_of):
    from emo.synthetic.warped_photos import INNER_LIPS, OUTER_LIPS

    closed = close_mouth(mesh_of(1.0))
    assert gap(closed) == pytest.approx(0, abs=1e-9)
    moved = np.flatnonzero(np.abs(closed - mesh_of(1.0)).max(1) > 1e-9)
    assert set(moved) <= {*INNER_LIPS, *OUTER_LIPS}
    height = np.ptp(closed[OUTER_LIPS][:, 1])
    assert height < 0.6 * np.ptp(mesh_of(1.0)[OUTER_LIPS][:, 1])


def test_pressed_lips_do_not_pass_through_each_other(mesh_of):
    pressed = close_mouth(mesh_of(1.0))
    pressed[UPPER] += [0, 0.01]
    apart = uncrossed(pressed, 0.5 / SIZE)
    assert (apart[LOWER] - apart[UPPER])[:, 1].min() > 0.4 / SIZE
    assert np.allclose(apart[UPPER] + apart[LOWER], pressed[UPPER] + pressed[LOWER])
    assert np.allclose(np.delete(apart, INNER_LIPS, axis=0), np.delete(pressed, INNER_LIPS, axis=0))
    assert np.array_equal(uncrossed(mesh_of(1.0), 0.5 / SIZE)[UPPER[2:-2]], mesh_of(1.0)[UPPER[2:-2]])


def test_closing_an_open_mouth_folds_nothing(mesh_of):
    still, between = mesh_of(1.0), [72, 12, 268, 180, 16, 404]
    still[between[:3]] = (still[[37, 0, 267]] + still[[82, 13, 312]]) / 2  # on the red of the lips
    still[between[3:]] = (still[[84, 17, 314]] + still[[87, 14, 317]]) / 2
    target = uncrossed(close_mouth(still), 0.5 / SIZE)
    x, y = np.int32(still[INNER_LIPS].mean(0) * SIZE)

    def folds(handles) -> bool:
        rows = warp_map(target[handles], still[handles], SIZE)[y - 30 : y + 30, x - 8 : x + 8, 1]
        return np.diff(rows, axis=0).min() < 0

    assert folds([*HANDLES, *between]) and not folds(HANDLES)


def test_the_warp_takes_points_where_they_go():
    points = np.random.default_rng(0).uniform(0.3, 0.7, (12, 2))
    target = points + [0.03, -0.02]
    image = np.zeros((128, 128, 3), np.uint8)
    x, y = np.int32(np.round(points[0] * 128))
    image[y - 2 : y + 2, x - 2 : x + 2] = 255
    weight = sample(image, warp_map(target, points, 128))[..., 0].astype(float)
    rows, columns = np.mgrid[:128, :128] + 0.5
    center = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum() / 128
    assert np.abs(center - np.array([x, y]) / 128 - [0.03, -0.02]).max() < 0.008
    still = warp_map(points, points, 128)
    assert np.allclose(still[..., 0], np.arange(128)[None], atol=1e-3)


def test_make_up_colours_the_lips_alone(draw, mesh_of):
    """In another red each time; what lies in an open mouth and around the lips stays."""
    image, mesh = draw(0.8, SIZE), mesh_of(0.8)
    made_up = [make_up(image, mesh, np.random.default_rng(seed)).astype(int) for seed in range(4)]
    x, y = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), 0) / SIZE
    low, high = mesh[OUTER_LIPS].min(0) - 0.05, mesh[OUTER_LIPS].max(0) + 0.05
    around = (x < low[0]) | (x > high[0]) | (y < low[1]) | (y > high[1])
    upper, inside = ((mesh[0] + mesh[13]) / 2 * SIZE).astype(int), (mesh[INNER_LIPS].mean(0) * SIZE).astype(int)
    for other in made_up:
        assert np.array_equal(other[around], image[around])
        assert np.abs(other[inside[1], inside[0]] - image[inside[1], inside[0]]).max() <= 1
    reds = np.stack([other[upper[1], upper[0]] for other in made_up])
    assert np.ptp(reds, axis=0).max() > 40 and (reds[:, 0] >= reds.max(1)).all()
