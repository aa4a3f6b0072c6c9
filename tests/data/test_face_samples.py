"""Samples of the face networks say what they show."""

import numpy as np
import torch

from emo.data import face_samples as module
from emo.data.face_samples import (
    CANVAS,
    draw_face_batch,
    draw_landmarker_samples,
    draw_square_around,
    draw_square_beside,
    find_next_square,
    is_near,
    make_finder_maps,
    paste_face,
)
from emo.data.image_augmentation import augment_picture, draw_background
from emo.data.labeled_faces import Face, load_faces
from emo.face.crop import RIGID_TEMPLATE, Region, transform_points
from emo.face.detector import heatmap_peaks
from emo.face.landmarks import NUM_LANDMARKS, RIGID_POINTS
from emo.face.networks import CELL_PIXELS, CROP_MARGIN, CROP_PIXELS


def dotted_face() -> Face:
    """A black picture with white discs where the landmarks are: eyes, nose and jaw at distinct places."""
    region = Region((120, 100), 140, 0.1)
    unit = np.random.default_rng(0).uniform(0.3, 0.7, (NUM_LANDMARKS, 2))
    unit[RIGID_POINTS] = RIGID_TEMPLATE
    landmarks = transform_points(region.matrix(1), unit)
    y, x = np.mgrid[:220, :240] + 0.5
    image = np.zeros((220, 240, 3), np.uint8)
    for point in landmarks[RIGID_POINTS]:
        image[np.hypot(x - point[0], y - point[1]) < 4] = 255
    return Face(image, landmarks)


def stay(crops: np.ndarray) -> np.ndarray:
    """A look that finds the template in the middle of every crop."""
    points = np.full((NUM_LANDMARKS, 2), 0.5)
    points[RIGID_POINTS] = (RIGID_TEMPLATE - 0.5) / CROP_MARGIN + 0.5
    return np.repeat(points[None], len(crops), 0)


def test_the_same_rng_gives_the_same_batch():
    one, two = (draw_face_batch([dotted_face()], 6, np.random.default_rng(3), stay) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))
    assert one.canvases.shape == (6, CANVAS, CANVAS, 3) and one.crops.shape == (6, CROP_PIXELS, CROP_PIXELS, 3)


def test_landmarks_of_a_crop_lie_on_what_they_name(monkeypatch):
    monkeypatch.setattr(module, "augment_picture", lambda image, rng, occlude=False: image)
    crops, points, is_face = draw_landmarker_samples([dotted_face()], 40, np.random.default_rng(0), stay)
    assert 12 < is_face.sum() < 32
    for crop, where in zip(crops[is_face], points[is_face], strict=True):
        x, y = np.floor(where[RIGID_POINTS] * CROP_PIXELS).astype(int).T
        inside = (x >= 0) & (x < CROP_PIXELS) & (y >= 0) & (y < CROP_PIXELS)
        assert (crop[y[inside], x[inside]] > 128).all() and inside.sum() >= 5


def test_beside_misses_the_face_and_around_does_not():
    face, rng = dotted_face(), np.random.default_rng(0)
    assert not any(is_near(draw_square_beside(face, rng), face.region) for _ in range(50))
    assert all(is_near(draw_square_around(face.region, rng), face.region) for _ in range(50))


def test_the_next_square_is_that_of_the_landmarks():
    face = dotted_face()
    square = find_next_square(face.landmarks, np.eye(2, 3), face.image)
    assert np.allclose(transform_points(square, np.array([0.5, 0.5])), face.region.center, atol=1e-6)
    assert is_near(square, face.region)
    assert find_next_square(face.landmarks * 1e-3, square, face.image) is square


def test_pasted_faces_lie_in_their_region():
    face, region = dotted_face(), Region((60, 70), 50, -0.4)
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    covered = paste_face(canvas, face, region)
    x, y = np.floor(transform_points(region.matrix(1), RIGID_TEMPLATE)).astype(int).T
    assert (canvas[y, x] > 100).all() and covered[y, x].all() and (canvas[~covered] == 0).all()


def test_the_maps_are_what_the_detector_reads():
    regions = [Region((30.0, 41.0), 20.0), Region((90.5, 77.0), 64.0)]
    heat, geometry, near = make_finder_maps(regions)
    found = heatmap_peaks(torch.from_numpy(heat), torch.from_numpy(geometry), CELL_PIXELS)
    found = sorted((region for _, region in found), key=lambda r: r.side)
    for region, other in zip(regions, found, strict=True):
        assert np.allclose([*region.center, region.side], [*other.center, other.side], atol=1e-3)
    assert near[5, 3] and near[9, 11] and not near[0, 0]


def test_around_holds_the_face():
    rng, region = np.random.default_rng(0), Region((50, 60), 40, 0.2)
    for _ in range(50):
        matrix = draw_square_around(region, rng)
        side = np.linalg.norm(matrix[:, 1])
        assert 0.6 < side / (1.2 * region.side) < 1.8
        assert np.abs(transform_points(matrix, np.array([0.5, 0.5])) - region.center).max() < 0.25 * region.side


def test_styles_and_backgrounds_keep_shape_and_type():
    rng = np.random.default_rng(0)
    for _ in range(60):
        image = augment_picture(draw_background(64, rng), rng, occlude=True)
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8


def test_loading_leaves_out_who_is_held_out(tmp_path):
    from PIL import Image
    from safetensors.numpy import save_file

    for name in ("anna", "bert"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "labels" / "pictures").mkdir(parents=True, exist_ok=True)
        Image.fromarray(dotted_face().image).save(tmp_path / "pictures" / f"{name}.png")
        mesh = np.random.default_rng(0).uniform(50, 150, (1, 468, 3)).astype(np.float32)
        save_file({"landmarks": mesh}, tmp_path / "labels" / "pictures" / f"{name}.safetensors")
    (tmp_path / "hold_out.txt").write_text("bert\n")
    folders, labels = [str(tmp_path / "pictures")], str(tmp_path / "labels")
    assert len(load_faces(folders, labels)) == 2
    assert len(load_faces(folders, labels, str(tmp_path / "hold_out.txt"))) == 1
