"""Faces are followed where they move, told apart, and let go where they leave."""

import cv2
import numpy as np
import pytest

from emo.face.detector import DETECTION_THRESHOLDS, Face, FaceDetector, FaceThresholds
from emo.face.refinement import FaceDetails, LandmarkRefiner
from emo.face.tracking import DETECT_EVERY_FRAMES, track_faces
from emo.synthetic.sample_portrait import paint_portrait

NOSE = np.array([257, 300]) / 512  # about, in the portrait
SIDE = 160


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return cv2.resize(paint_portrait(), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def scene(face: np.ndarray, *corners: tuple[int, int]) -> np.ndarray:
    """The face, at each of these corners (x, y), in front of grey."""
    picture = np.full((220, 420, 3), 128, np.uint8)
    for x, y in corners:
        picture[y : y + SIDE, x : x + SIDE] = face
    return picture


def test_a_moving_face_is_one_track_that_goes_with_it(face):
    corners = [(20 + 5 * t, 20 + t) for t in range(30)]
    (track,) = track_faces((scene(face, corner) for corner in corners), FaceDetector(), LandmarkRefiner())
    assert (track.first_frame, track.end) == (0, 30)
    off = track.landmarks[:, 27:36].mean(1) - (np.array(corners) + SIDE * NOSE)
    assert np.abs(off - off.mean(0)).max() < 2.5  # pixels, of a path of 145
    assert track.gaze.shape == (30, 2) and track.gaze.std(0).max() < 0.1  # radians: the same picture all the time
    assert track.mouth_occlusion.shape == (30,) and track.mouth_occlusion.max() < 0.5
    part = track.slice_frames(10, 14)
    assert (part.first_frame, part.end) == (10, 14) and np.array_equal(part.gaze, track.gaze[10:14])


def test_two_faces_are_two_tracks_and_a_face_that_leaves_ends_its_track(face):
    both, one = scene(face, (10, 30), (240, 30)), scene(face, (240, 30))
    frames = [one] * 5 + [both] * DETECT_EVERY_FRAMES + [one] * 10
    stays, comes = track_faces(frames, FaceDetector(), LandmarkRefiner())
    assert (stays.first_frame, stays.end) == (0, len(frames)) and np.isfinite(stays.landmarks).all()
    assert (comes.first_frame, comes.end) == (DETECT_EVERY_FRAMES, DETECT_EVERY_FRAMES + 5)
    assert stays.landmarks[..., 0].min() > 210 > comes.landmarks[..., 0].max()


def test_a_face_hidden_for_a_moment_is_the_same_one(face):
    hidden = face.copy()
    hidden[40:] = 0
    frames = [scene(face, (100, 20))] * 8 + [scene(hidden, (100, 20))] * 3 + [scene(face, (100, 20))] * 8
    (track,) = track_faces(frames, FaceDetector(), LandmarkRefiner())
    assert np.isnan(track.gaze[8:11]).all() and np.isnan(track.mouth_occlusion[8:11]).all()
    assert track.end == 19 and np.isnan(track.landmarks[8:11]).all() and np.isfinite(track.landmarks[11:]).all()


class Wavering:
    """A detector of one face at one place; a frame (2,) is the score and the entropy of each look at it."""

    points = 100 + 50 * np.random.default_rng(0).random((68, 2))

    def detect(self, frame: np.ndarray, known: list) -> list[Face]:
        return [Face((0, 0, 1, 1), self.points, 1.0)] if self.passes(frame, DETECTION_THRESHOLDS) and not known else []

    def locate_landmarks(self, frame: np.ndarray, regions: list, looks: int, bar: FaceThresholds) -> tuple:
        count = len(regions)
        return np.array([self.points] * count), np.ones(count), np.array([self.passes(frame, bar)] * count, bool)

    def passes(self, frame: np.ndarray, bar: FaceThresholds) -> bool:
        return frame[0] >= bar.min_score and frame[1] <= bar.max_entropy


class Plain:
    """Takes a face as it was found."""

    def refine(self, frame: np.ndarray, landmarks: np.ndarray) -> list[FaceDetails]:
        return [FaceDetails(points, np.zeros(2), 0.0) for points in landmarks]


def test_a_face_that_turns_away_is_tracked_though_it_would_not_be_detected():
    ahead, turned, hand = (
        np.array(look) for look in [(1.0, 2.9), (0.99, DETECTION_THRESHOLDS.max_entropy + 0.1), (0.9, 3.0)]
    )
    (track,) = track_faces([ahead] * 2 + [turned] * 20 + [ahead] * 2, Wavering(), Plain())
    assert track.end == 24 and np.isfinite(track.landmarks).all()
    assert track_faces([turned] * 24, Wavering(), Plain()) == []
    (track,) = track_faces([ahead] * 2 + [hand] * 22, Wavering(), Plain())
    assert track.end == 2


def test_without_a_face_there_is_no_track():
    assert track_faces([np.full((220, 420, 3), 128, np.uint8)] * 15, FaceDetector(), LandmarkRefiner()) == []
