"""A plan survives being written, edited and read; new voices go to those who speak at the same times."""

import json

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.dubbing.plan import (
    DubbingPlan,
    PlannedSpeaker,
    describe_face,
    faces_folder,
    load_face,
    match_by_time,
    read_plan,
    save_face,
)
from emo.dubbing.tracks import FaceTrack, bracket, bridge_gaps, choose_portrait, choose_references
from emo.face.landmarks import MEDIAPIPE_TO_IBUG


@pytest.fixture
def track(mesh_of) -> FaceTrack:
    """50 frames; the mouth is open but every tenth frame."""
    openings = np.where(np.arange(50) % 10 == 5, 0.0, 1.0)
    meshes = np.stack([mesh_of(opening)[MEDIAPIPE_TO_IBUG] for opening in openings]) * 192
    return FaceTrack(100, meshes.astype(np.float32), np.zeros(50), np.zeros((96, 96, 3), np.uint8))


@pytest.fixture
def plan(track) -> DubbingPlan:
    speakers = [PlannedSpeaker("ANNA", "anna.wav", [(0.0, 1.0)], [(0.5, 2.0)]), PlannedSpeaker("<b>BERT")]
    face = describe_face(0, track, (4.0, 6.0))
    face.speaker, face.votes = "ANNA", {"ANNA": 1.5}
    return DubbingPlan("film.mp4", ["anna.wav"], 10.0, speakers, [face])


def test_a_plan_is_read_as_it_was_written(plan, track, tmp_path):
    path = tmp_path / "plan.json"
    plan.write(path)
    faces_folder(path).mkdir()
    save_face(faces_folder(path), 0, track)
    again = read_plan(path)
    assert again.speakers == plan.speakers and again.faces[0].votes == {"ANNA": 1.5}
    assert again.faces[0].box == list(plan.faces[0].box) and again.speaker("ANNA").sound == "anna.wav"
    page = path.with_suffix(".html").read_text()
    assert "face 0: ANNA" in page and "data:image/jpeg" in page and "<b>BERT" not in page
    np.testing.assert_array_equal(load_face(faces_folder(path), 0).landmarks, track.landmarks)
    with pytest.raises(InputError, match="00007.npz is missing"):
        load_face(faces_folder(path), 7)


def test_an_edit_that_can_not_be_followed(plan, tmp_path):
    path = tmp_path / "plan.json"
    plan.write(path)
    values = json.loads(path.read_text())
    values["faces"][0]["speaker"] = "CARL"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="face 0 has speaker 'CARL', but the speakers are"):
        read_plan(path)
    path.write_text("{")
    with pytest.raises(InputError, match="is not a plan of emo-dub"):
        read_plan(path)


def test_voices_that_speak_at_the_same_times_belong_together():
    speakers = [PlannedSpeaker("A", film_turns=[(0, 2), (5, 6)]), PlannedSpeaker("B", film_turns=[(2, 5)])]
    found = {"x": [(2.1, 4.0)], "y": [(0.2, 2.2)], "z": [(9, 10)]}
    matched = match_by_time(found, speakers)
    assert matched["x"].name == "B" and matched["y"].name == "A" and "z" not in matched


def test_references_have_a_closed_mouth(track):
    references = choose_references(track, fps=25)
    assert set(references % 10) == {5} and len(references) >= 2
    assert 0 <= choose_portrait(track, references) < len(references)
    before, after, share = bracket(references, int(references[0]) + 3)
    assert (before, after) == (0, 1) and 0 < share < 1
    assert bracket(references, 0) == (0, 0, 0.0) and bracket(references, 49)[0] == len(references) - 1
    track.mouth_occlusion = np.where(np.arange(50) < 30, 1.0, 0.0)
    assert choose_references(track, fps=25).min() >= 30


def test_gaps_are_bridged():
    values = np.array([[0.0, 1], [np.nan, np.nan], [2, 3], [np.nan, np.nan]])
    assert bridge_gaps(values).tolist() == [[0, 1], [1, 2], [2, 3], [2, 3]]
