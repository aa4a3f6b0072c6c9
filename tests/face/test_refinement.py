"""A close look sees lips part, eyes turn and hands come before the mouth, and leaves the face's square as it is."""

import cv2
import numpy as np
import pytest

from emo.face.crop import region_of_landmarks, transform_points, warp_square
from emo.face.landmarks import MEDIAPIPE_TO_IBUG, eye_opening, mouth_opening
from emo.face.refinement import EYE, FACE_PARTS, MOUTH, PART_PIXELS, LandmarkRefiner
from emo.synthetic.drawn_footage import make_head
from emo.synthetic.drawn_head import Pose

OPENINGS = np.linspace(0, 1, 5)


@pytest.fixture(scope="module")
def head():
    return make_head(3, 256)


@pytest.fixture(scope="module")
def reader():
    return LandmarkRefiner()


@pytest.fixture(scope="module")
def look(head, reader):
    """look(pose, shown): what the reader makes of a pose of the head, of which it knows where eyes, nose and the mouth
    at rest are."""

    def make(pose: Pose, change=lambda picture, points: picture):
        points = head.compute_landmarks(Pose(rotation=pose.rotation))[MEDIAPIPE_TO_IBUG, :2].astype(float)
        (seen,) = reader.refine(change(head.draw(pose), points), points[None])
        return seen

    return make


def test_both_eyes_are_seen_as_the_left_one(head):
    points = head.compute_landmarks(Pose())[MEDIAPIPE_TO_IBUG, :2].astype(float)
    for part, places in [(MOUTH, 1), (EYE, 2)]:
        squares = part.squares(points)
        assert len(squares) == places
        for square, chosen in zip(squares, part.points, strict=True):
            inside = transform_points(cv2.invertAffineTransform(square), points[list(chosen)])
            assert np.abs(inside.mean(0) - 0.5).max() < 1e-6 and inside.min() > 0.1 and inside.max() < 0.9
            assert inside[0, 0] < inside[3, 0]  # the outer corner, or that of the mouth's left, comes first
    left, right = (warp_square(head.draw(Pose()), square, PART_PIXELS).astype(int) for square in EYE.squares(points))
    assert np.abs(left - right).mean() < 0.7 * np.abs(left - right[:, ::-1]).mean()


def test_networks_are_small():
    for part in FACE_PARTS.values():
        assert 2 * sum(p.numel() for p in part.build_network().parameters()) < 500_000  # bytes on disk


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.25, -0.05, 0.1)])
def test_the_gap_of_the_lips_is_measured(head, look, rotation):
    poses = [Pose(rotation=rotation, mouth_opening=float(share)) for share in OPENINGS]
    found = mouth_opening(np.stack([look(pose).landmarks for pose in poses]))
    true = mouth_opening(np.stack([head.compute_landmarks(pose)[MEDIAPIPE_TO_IBUG, :2] for pose in poses]))
    assert np.corrcoef(found, true)[0, 1] > 0.95 and 0.6 < np.ptp(found) / np.ptp(true) < 1.4


def test_lids_follow_a_blink(look):
    found = eye_opening(np.stack([look(Pose(eye_closure=closed)).landmarks for closed in (0.0, 0.5, 1.0)]))
    assert found[0] > 1.2 * found[1] > 1.2 * found[2]


@pytest.mark.parametrize("gaze", [(0.3, 0.0), (-0.3, 0.0), (0.0, 0.12)])
def test_eyes_are_seen_to_turn(look, gaze):
    turned = look(Pose(gaze=gaze)).gaze - look(Pose()).gaze
    assert np.abs(turned + gaze).max() < np.radians(8)  # a gaze to the picture's right is a negative yaw


def test_the_square_of_the_face_does_not_move(head, look):
    pose = Pose(mouth_opening=0.8, eye_closure=0.7)
    points = head.compute_landmarks(Pose())[MEDIAPIPE_TO_IBUG, :2].astype(float)
    seen = look(pose)
    assert region_of_landmarks(seen.landmarks) == region_of_landmarks(points)
    assert not np.allclose(seen.landmarks, points)


def test_an_object_over_the_mouth_occludes_it_and_one_beside_does_not(look):
    def board(shift: float):
        def paste(picture, points):
            (x0, y0), (x1, y1) = points[48:68].min(0) - 8, points[48:68].max(0) + 8
            down = round(shift * (y1 - y0))
            picture = picture.copy()
            picture[int(y0) + down : int(y1) + down, int(x0) : int(x1)] = [40, 90, 60]
            return picture

        return paste

    assert look(Pose()).mouth_occlusion < 0.3 and look(Pose(mouth_opening=0.9)).mouth_occlusion < 0.3
    assert look(Pose(), board(0.0)).mouth_occlusion > 0.7
    assert look(Pose(), board(3.0)).mouth_occlusion < 0.5


def test_no_face_gives_no_details(reader):
    assert reader.refine(np.zeros((64, 64, 3), np.uint8), np.zeros((0, 68, 2))) == []
