"""Faces are followed where they move, told apart, and let go where they leave."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from emo.face.detector import FIND, Bar, Face, FaceDetector
from emo.face.refinement import Look, PartReader
from emo.face.tracking import EVERY_FRAMES, follow_faces, look_along
from emo.media.image import read_image

PORTRAIT = Path(__file__).parents[2] / "datasets" / "samples" / "portrait.png"
NOSE = np.array([257, 300]) / 512  # about, in the portrait
SIDE = 160


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return cv2.resize(read_image(PORTRAIT), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def scene(face: np.ndarray, *corners: tuple[int, int]) -> np.ndarray:
    """The face, at each of these corners (x, y), in front of grey."""
    picture = np.full((220, 420, 3), 128, np.uint8)
    for x, y in corners:
        picture[y : y + SIDE, x : x + SIDE] = face
    return picture


def test_a_moving_face_is_one_track_that_goes_with_it(face):
    corners = [(20 + 5 * t, 20 + t) for t in range(30)]
    (track,) = follow_faces((scene(face, corner) for corner in corners), FaceDetector(), PartReader())
    assert (track.first, track.end) == (0, 30)
    off = track.landmarks[:, 27:36].mean(1) - (np.array(corners) + SIDE * NOSE)
    assert np.abs(off - off.mean(0)).max() < 2.5  # pixels, of a path of 145
    assert track.gaze.shape == (30, 2) and track.gaze.std(0).max() < 0.1  # radians: the same picture all the time
    assert track.covered.shape == (30,) and track.covered.max() < 0.5
    part = track.part(10, 14)
    assert (part.first, part.end) == (10, 14) and np.array_equal(part.gaze, track.gaze[10:14])


def test_two_faces_are_two_tracks_and_who_leaves_is_let_go(face):
    both, one = scene(face, (10, 30), (240, 30)), scene(face, (240, 30))
    frames = [one] * 5 + [both] * EVERY_FRAMES + [one] * 10
    stays, comes = follow_faces(frames, FaceDetector(), PartReader())
    assert (stays.first, stays.end) == (0, len(frames)) and np.isfinite(stays.landmarks).all()
    assert (comes.first, comes.end) == (EVERY_FRAMES, EVERY_FRAMES + 5)
    assert stays.landmarks[..., 0].min() > 210 > comes.landmarks[..., 0].max()


def test_a_face_hidden_for_a_moment_is_the_same_one(face):
    hidden = face.copy()
    hidden[40:] = 0
    frames = [scene(face, (100, 20))] * 8 + [scene(hidden, (100, 20))] * 3 + [scene(face, (100, 20))] * 8
    (track,) = follow_faces(frames, FaceDetector(), PartReader())
    assert np.isnan(track.gaze[8:11]).all() and np.isnan(track.covered[8:11]).all()
    assert track.end == 19 and np.isnan(track.landmarks[8:11]).all() and np.isfinite(track.landmarks[11:]).all()


class Wavering:
    """A detector of one face at one place; a frame (2,) is the score and the entropy of each look at it."""

    points = 100 + 50 * np.random.default_rng(0).random((68, 2))

    def detect(self, frame: np.ndarray, known: list) -> list[Face]:
        return [Face((0, 0, 1, 1), self.points, 1.0)] if self.passes(frame, FIND) and not known else []

    def settle(self, frame: np.ndarray, regions: list, looks: int, bar: Bar) -> tuple:
        count = len(regions)
        return np.array([self.points] * count), np.ones(count), np.array([self.passes(frame, bar)] * count, bool)

    def passes(self, frame: np.ndarray, bar: Bar) -> bool:
        return frame[0] >= bar.least_score and frame[1] <= bar.most_entropy


class Plain:
    """Takes a face as it was found."""

    def look(self, frame: np.ndarray, landmarks: np.ndarray) -> list[Look]:
        return [Look(points, np.zeros(2), 0.0) for points in landmarks]


def test_a_face_that_turns_away_is_kept_though_nobody_would_be_found_there():
    ahead, turned, hand = (np.array(look) for look in [(1.0, 2.9), (0.99, FIND.most_entropy + 0.1), (0.9, 3.0)])
    (track,) = follow_faces([ahead] * 2 + [turned] * 20 + [ahead] * 2, Wavering(), Plain())
    assert track.end == 24 and np.isfinite(track.landmarks).all()
    assert follow_faces([turned] * 24, Wavering(), Plain()) == []
    (track,) = follow_faces([ahead] * 2 + [hand] * 22, Wavering(), Plain())
    assert track.end == 2


def test_where_nobody_is_there_is_no_track():
    assert follow_faces([np.full((220, 420, 3), 128, np.uint8)] * 15, FaceDetector(), PartReader()) == []


def test_a_face_whose_place_is_known_is_looked_at_as_a_followed_one(face):
    frames = [scene(face, (20 + 5 * t, 20)) for t in range(6)]
    (track,) = follow_faces(iter(frames), FaceDetector(), PartReader())
    known = track.landmarks.copy()
    known[2] = np.nan
    left = iter([*frames, "the next shot"])
    found = look_along(7, known, left, PartReader())
    assert next(left) == "the next shot" and (found.first, found.end) == (7, 13)
    assert np.array_equal(found.landmarks, known, equal_nan=True)
    assert np.isnan(found.gaze[2]).all() and np.isnan(found.covered[2])
    seen = [0, 1, 3, 4, 5]
    assert np.abs(found.gaze - track.gaze)[seen].max() < 0.1 and np.abs(found.covered - track.covered)[seen].max() < 0.1
