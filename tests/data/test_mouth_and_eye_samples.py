"""Samples of mouths and eyes say what they show, and what hides it."""

import cv2
import numpy as np
import pytest

from emo.core.config import DataConfig
from emo.data import part_samples as module
from emo.data.labeled_faces import Face, load_faces
from emo.data.part_samples import (
    OCCLUDED_RATIO,
    OCCLUDERS,
    draw_part_batch,
    load_part_faces,
    occlude_with_object,
    occluded_ratio,
)
from emo.face.landmarks import MEDIAPIPE_TO_IBUG
from emo.face.refinement import EYE, MOUTH, PART_PIXELS
from emo.synthetic.drawn_footage import draw_videos, list_video_specs, make_head
from emo.synthetic.drawn_head import Pose


@pytest.fixture(scope="module")
def dotted() -> Face:
    """A black picture with a white disc on each lip point, a red one on each lid point and a green one on each iris."""
    head = make_head(3, 256)
    pose = Pose(mouth_opening=0.7, gaze=(0.2, 0.0), rotation=(0.1, 0.0, 0.1))
    points, irises = (
        head.compute_landmarks(pose)[MEDIAPIPE_TO_IBUG, :2].astype(float),
        head.compute_irises(pose).astype(float),
    )
    image = np.zeros((256, 256, 3), np.uint8)
    for where, color in [*((p, (255,) * 3) for p in points[48:]), *((p, (255, 0, 0)) for p in points[36:48])]:
        cv2.circle(image, where.round().astype(int).tolist(), 2, color, -1)
    for where in irises:
        cv2.circle(image, where.round().astype(int).tolist(), 2, (0, 255, 0), -1)
    return Face(image, points, irises)


def test_points_of_a_crop_lie_on_what_they_name(dotted, monkeypatch):
    monkeypatch.setattr(module, "augment_picture", lambda image, rng: image)
    monkeypatch.setattr(module, "OCCLUDED_RATE", 0.0)
    rng = np.random.default_rng(0)
    for part, channels in [(MOUTH, [1] * 20), (EYE, [0] * 6 + [1])]:
        batch = draw_part_batch([dotted], part, 24, rng)
        assert batch.valid.all() and not batch.occluded.any()
        for crop, points in zip(batch.crops, batch.points, strict=True):
            x, y = np.floor(points * PART_PIXELS).astype(int).T
            assert np.median(crop[y, x, channels]) > 128 and (crop[y, x, channels] > 60).all()
        first, second = {20: (0, 6), 7: (0, 3)}[len(channels)]
        assert (
            batch.points[:, first, 0] < batch.points[:, second, 0]
        ).all()  # mirrored or not, the left corner is first


def test_an_unlabeled_iris_is_not_valid(dotted):
    batch = draw_part_batch([Face(dotted.image, dotted.landmarks)], EYE, 8, np.random.default_rng(0))
    assert not batch.valid[:, 6].any() and batch.valid[:, :6].all() and np.isfinite(batch.points).all()


def test_the_same_rng_gives_the_same_batch(dotted):
    one, two = (draw_part_batch([dotted], MOUTH, 6, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))


@pytest.mark.parametrize("draw", range(len(OCCLUDERS)))
def test_a_cover_hides_what_its_mask_says_and_nothing_far_from_it(monkeypatch, draw):
    monkeypatch.setattr("emo.data.part_samples.OCCLUDERS", [OCCLUDERS[draw]])
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
        covered, mask = occlude_with_object(image, rng)
        assert covered.shape == image.shape and covered.dtype == np.uint8 and mask.any()
        deep = cv2.erode(np.uint8(mask >= 1), np.ones((9, 9))) > 0
        far = cv2.dilate(np.uint8(mask > 0), np.ones((61, 61))) == 0
        assert (covered[far] == image[far]).all()
        if deep.sum() > 50:  # nothing of the noise shines through
            correlation = np.corrcoef(covered[deep].ravel(), image[deep].ravel())[0, 1]
            assert abs(correlation) < 0.5


def test_covered_is_what_is_hidden_by_a_third():
    points = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75], [np.nan, np.nan]])
    mask = np.zeros((64, 64), np.float32)
    assert occluded_ratio(points, mask) == 0
    mask[:, :28] = 1  # up to 0.4375 of the width
    assert occluded_ratio(points, mask) == pytest.approx(0.375, abs=0.03)
    assert occluded_ratio(points, mask) > OCCLUDED_RATIO > occluded_ratio(points, mask * 0.5)


def test_faces_of_clips_and_drawn_heads_are_loaded(clips_folder, tmp_path):
    faces = load_part_faces(DataConfig(clips={str(clips_folder): 1.0}, labels=str(tmp_path)))
    assert len(faces) == module.FRAMES_PER_CLIP and np.isnan(faces[0].irises).all()
    drawn = tmp_path / "drawn"
    draw_videos(drawn, list_video_specs(["Hello."], [], 1, 5), 64, 0.4)
    faces = load_faces([str(drawn)], str(tmp_path / "labels"), None, 2)
    assert len(faces) == 2 and np.isfinite(faces[0].irises).all()
