"""Controls files, head pose relative to the portrait, the still head, and values that cannot be."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from emo.core.errors import InputError
from emo.face.crop import Region
from emo.face.pose import head_angles, head_rotations
from emo.face.selection import SelectedFace, select_face
from emo.media.image import read_image
from emo.models.conditions import CONDITIONS
from emo.pipelines.control_files import read_controls
from emo.pipelines.controls import make_curves, portrait_pose

FACE = SelectedFace(Region((96.0, 100.0), 80.0), (60.0, 60.0, 130.0, 150.0))  # spares the detector
DEGREE = np.pi / 180
IMAGE = np.zeros((200, 200, 3), np.uint8)
EVERY = [CONDITIONS[name] for name in ("head_speed", "gaze", "head_pose", "distance", "emotion")]


@pytest.fixture
def write(tmp_path):
    """write(text, name) -> path of a controls file."""

    def make(text: str, name: str = "curves.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_rows_are_frames_and_columns_are_controls(write):
    text = "gaze_yaw,pose_pitch,emotion_happy,distance,speed\n10,5,0.5,1.1,0.3\n20,-5,1,0.9,0.4\n"
    controls = read_controls(write(text), 25)
    np.testing.assert_allclose(controls["gaze"][:, 0], np.array([10, 20]) * DEGREE, atol=1e-6)
    assert np.isnan(controls["gaze"][:, 1]).all()  # the model chooses the pitch
    np.testing.assert_allclose(controls["head_pose_offset"][:, 1], np.array([-5, 5]) * DEGREE, atol=1e-6)  # up is up
    np.testing.assert_allclose(controls["emotion"], [[0, 0.5, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(controls["distance"], [[1.1], [0.9]])
    np.testing.assert_allclose(controls["head_speed"], [[0.3], [0.4]])


def test_times_are_interpolated_at_the_rate_of_the_video(write):
    seconds = write("seconds;distance\n0.1;1\n0.2;2\n0.3;1\n")
    expected = [1, 1, 1, 1.5, 2, 1.5, 1]
    np.testing.assert_allclose(read_controls(seconds, 20)["distance"][:, 0], expected, atol=1e-6)
    frames = write("frame,distance\n0,1\n4,2\n")
    assert read_controls(frames, 25)["distance"].shape == (5, 1)
    np.testing.assert_allclose(read_controls(frames, 25)["distance"], read_controls(frames, 50)["distance"])
    with_json = write(json.dumps({"seconds": [0.1, 0.2, 0.3], "distance": [1, 2, 1], "speed": 0.5}), "curves.json")
    controls = read_controls(with_json, 20)
    np.testing.assert_allclose(controls["distance"][:, 0], expected, atol=1e-6)
    assert (controls["head_speed"] == 0.5).all()


def test_empty_cells_are_interpolated_and_free_ones_left_to_the_model(write):
    controls = read_controls(write("frame,distance,speed\n0,1,0.2\n2,,free\n4,2,0.4\n6,,0.4"), 25)
    np.testing.assert_allclose(controls["distance"][:, 0], [1, 1.25, 1.5, 1.75, 2, 2, 2])
    np.testing.assert_allclose(controls["head_speed"][:, 0], [0.2, *[np.nan] * 3, 0.4, 0.4, 0.4])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no controls: give rows of gaze_yaw"),
        ("gaze_yaw\n", "holds no controls"),
        ("seconds\n1\n", "holds no controls"),
        ("gaze\n1\n", "'gaze' is no column: give seconds, frame, gaze_yaw"),
        ("gaze_yaw\n10\nleft\n", "row 2: gaze_yaw 'left' is not a number"),
        ("gaze_yaw\nnan\n", "row 1: gaze_yaw 'nan' is not a number"),
        ("gaze_yaw\n95\n", "gaze_yaw 95 is not between -90 and 90"),
        ("emotion_sad\n1.5\n", "emotion_sad 1.5 is not between 0 and 1"),
        ("seconds,gaze_yaw\n1,0\n1,5\n", "the times must be numbers that rise"),
        ("seconds,gaze_yaw\n0,0\n1e9,5\n", "the times must be numbers that rise"),
        ("seconds,gaze_yaw\n,0\n1,5\n", "the times must be numbers that rise"),
        ("seconds,frame,gaze_yaw\n0,0,0\n", "give seconds or frame, not both"),
        ("gaze_yaw,gaze_pitch\n1\n", "row 1: 1 cells for 2 columns"),
        ("gaze_yaw,gaze_yaw\n1,2\n", "a column is named twice"),
    ],
)
def test_files_that_are_none(write, text, words):
    with pytest.raises(InputError) as caught:
        read_controls(write(text), 25)
    assert words in str(caught.value) and "curves.csv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "give an object of columns"),
        ('{"gaze_yaw": [1, 2], "distance": [1]}', "different lengths"),
        ('{"gaze_yaw": [true]}', "row 1: gaze_yaw True is not a number"),
        ('{"gaze_yaw": [[1]]}', "is not a number"),
    ],
)
def test_json_that_is_none(write, text, words):
    with pytest.raises(InputError, match=words):
        read_controls(write(text, "curves.json"), 25)


def test_offsets_are_added_to_the_pose_of_the_portrait(samples):
    face = select_face(read_image(samples / "portrait.png"), None)
    pose = portrait_pose(face)
    measured = head_angles(head_rotations(np.asarray(face.landmarks)[None]))[0]
    np.testing.assert_allclose(pose[:2], measured[:2], atol=1e-6)
    assert abs(pose[2]) < 0.1  # the square is rotated with the head
    turned = replace(face, region=replace(face.region, angle_radians=face.region.angle_radians + 0.3))
    assert portrait_pose(turned)[2] == pytest.approx(pose[2] - 0.3, abs=1e-6)
    curve = np.array([[0.1, 0.0, 0.0], [0.2, -0.1, 0.0]])
    made = make_curves(EVERY, {"head_pose_offset": curve}, None, False, 25, IMAGE, face)
    np.testing.assert_allclose(made["head_pose"], curve, atol=1e-6)  # models read it relative to the portrait
    asked = make_curves(EVERY, {"head_pose": (0.1, 0, 0.2)}, None, False, 25, IMAGE, face)["head_pose"]
    np.testing.assert_allclose(asked + pose, [0.1, 0, 0.2], atol=1e-6)
    assert set(made) == {"head_pose", "distance"}


def test_a_still_head_keeps_its_pose_as_far_as_the_model_can(samples):
    made = make_curves(EVERY, {"gaze": (0.1, 0)}, None, True, 25, IMAGE, FACE)
    assert made["head_pose"].tolist() == [0, 0, 0] and made["distance"].tolist() == [1] and "gaze" in made
    assert list(make_curves(EVERY[:1], None, None, True, 25, IMAGE, FACE)) == ["head_speed"]
    with pytest.raises(InputError, match="still=True needs a model with head_pose"):
        make_curves(EVERY[1:2], None, None, True, 25, IMAGE, FACE)
    with pytest.raises(InputError, match="still=True holds the head: leave head_pose= out"):
        make_curves(EVERY, {"head_pose": (0, 0, 0)}, None, True, 25, IMAGE, FACE)


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        ({"gaze": (20, 0)}, "gaze=20 is not between -1.571 and 1.571"),  # degrees
        ({"head_pose_offset": (0, 0, 20)}, "head_pose_offset=20 is not between"),
        ({"head_pose_offset": (0, 0)}, "head_pose_offset has shape"),
        ({"emotion": {"happy": -1}}, "emotion=-1 is not between 0 and 1"),
        ({"emotion": "bored"}, "emotion: 'bored' is unknown, choose among neutral, happy"),
        ({"distance": 0}, "distance=0 is not between 0.25 and 4"),
        ({"head_pose": (0, 0, 0), "head_pose_offset": (0, 0, 0)}, "give head_pose or head_pose_offset, not both"),
        ({"audio": 1.0}, "'audio' is not a control"),
    ],
)
def test_values_that_cannot_be(controls, words):
    with pytest.raises(InputError, match=words):
        make_curves(EVERY, controls, None, False, 25, IMAGE, FACE)


def test_head_speed_may_not_be_given_twice():
    with pytest.raises(InputError, match="head_speed= is given twice"):
        make_curves(EVERY, {"head_speed": 0.2}, 0.3, False, 25, IMAGE, FACE)


def test_the_pipeline_reads_a_file_and_holds_still(make_pipeline, portrait, wave, write):
    pipeline = make_pipeline(controls=["gaze", "head_pose"])
    options = {"face": FACE, "crop_only": True}

    def call(**given):
        return pipeline(portrait, wave[: 8 * 640], generator=torch.manual_seed(0), **options, **given).frames

    file = write("frame,gaze_yaw,gaze_pitch\n0,10,0\n7,-10,5\n")
    curve = np.stack([np.linspace(10, -10, 8), np.linspace(0, 5, 8)], -1) * DEGREE
    frames = call(controls=file)
    np.testing.assert_array_equal(frames, call(controls={"gaze": curve}))
    plain = call()
    assert (frames != plain).any()
    held = call(controls={"head_pose_offset": (0, 0, 0)}, head_speed=0.0)
    np.testing.assert_array_equal(call(still=True), held)
    assert (held != plain).any()


def test_the_head_stays_as_near_as_in_the_portrait_unless_asked():
    assert make_curves(EVERY, None, None, False, 25, IMAGE, FACE)["distance"].tolist() == [1.0]
    assert make_curves(EVERY, {"distance": 1.2}, None, False, 25, IMAGE, FACE)["distance"].tolist() == pytest.approx(
        [1.2]
    )
    assert "distance" not in make_curves(EVERY, {"distance": None}, None, False, 25, IMAGE, FACE)  # the model chooses
    assert make_curves(EVERY[:2], None, None, False, 25, IMAGE, FACE) == {}
