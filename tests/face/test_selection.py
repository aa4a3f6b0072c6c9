"""The face that is animated is found in a turned picture too, and doubtful faces are not counted."""

import cv2
import numpy as np
import pytest

from emo.core.errors import InputError
from emo.face import selection
from emo.face.detector import Face
from emo.face.selection import is_mouth_occluded, select_face, select_upright_face


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_picture_is_turned_upright(portrait, degrees):
    lying = np.ascontiguousarray(np.rot90(portrait, degrees // 90))  # counterclockwise
    upright, face, turned = select_upright_face(lying, None, "lying.png")
    assert turned == degrees and np.array_equal(upright, portrait)
    assert face.landmarks[8, 1] > face.landmarks[27, 1]  # the chin is below the nose
    if degrees:
        with pytest.raises(
            InputError, match=f"lying.png shows its face turned: turn it by {degrees} degrees clockwise"
        ):
            select_face(lying, None, "lying.png")


def test_without_a_face_all_turns_are_tried_and_one_line_says_so():
    for select in (select_face, select_upright_face):
        with pytest.raises(InputError, match="no face found in gray.png: give face=x0,y0,x1,y1"):
            select(np.full((128, 160, 3), 90, np.uint8), None, "gray.png")


def test_a_picture_whose_face_is_given_is_not_turned(portrait):
    lying = np.ascontiguousarray(np.rot90(portrait))
    image, face, turned = select_upright_face(lying, "full", "lying.png")
    assert image is lying and turned == 0 and face.landmarks is None


def test_only_faces_without_doubt_are_counted(portrait, monkeypatch):
    def face(distance: float) -> Face:
        return Face((0.0, 0.0, 100.0, 100.0), 50 + np.random.default_rng(0).random((68, 2)) * 50, 0.99, distance)

    class Detector:
        def detect(self, image):
            return [face(0.02), face(0.021), face(0.008), face(0.0191), face(0.014)]

    monkeypatch.setattr(selection, "load_face_detector", Detector)
    assert select_face(portrait, None).other_faces == 2


def test_a_covered_mouth_is_noticed(portrait):
    face = select_face(portrait, None)
    assert not is_mouth_occluded(portrait, face)
    masked = portrait.copy()
    lips = face.landmarks[48:]
    (x0, y0), (x1, y1) = lips.min(0) - 25, lips.max(0) + 25
    cv2.rectangle(masked, (int(x0), int(y0)), (int(x1), int(y1)), (205, 220, 235), -1)
    assert is_mouth_occluded(masked, face)
    assert not is_mouth_occluded(masked, select_face(masked, "full"))
