"""What a video was asked to show is compared with what it shows; each planted fault is told."""

import json
from dataclasses import replace

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.core.timing import FPS
from emo.face.pose import head_angles, head_rotations, head_speed
from emo.metrics.controls import control_error, make_asked, match_controls, measure_responses
from emo.metrics.faults import drift_head, freeze_picture, freeze_tracks
from emo.metrics.portrait import measure_portrait
from emo.metrics.tracks import VideoTracks
from emo.pipelines.control_files import read_controls

NAMES = ("speed", "gaze", "pose", "distance")


@pytest.fixture(scope="module")
def obedient(footage, tracks) -> VideoTracks:
    """A video that was asked for exactly what it shows."""
    portrait = measure_portrait(footage.frames[0], footage.landmarks[0])
    pairs = zip(footage.frames, footage.landmarks, strict=True)
    compared = np.stack([portrait.compare(frame, points, 1.0) for frame, points in pairs])
    compared[:, 2] = 1 + 0.2 * np.sin(np.arange(126) / 11)  # the drawn head comes no nearer
    gaze = 0.2 * np.stack([np.sin(np.arange(126) / 9), np.cos(np.arange(126) / 7)], -1)
    shown = replace(tracks, gaze=gaze, portrait=compared, portrait_pose=portrait.pose)
    angles = head_angles(head_rotations(footage.landmarks.astype(float))) - [0, 0, portrait.pose[3]]
    controls = {
        "head_speed": head_speed(footage.landmarks.astype(float), FPS),
        "gaze": gaze,
        "head_pose_offset": angles - portrait.pose[:3],
        "distance": compared[:, 2],
    }
    return replace(shown, asked=make_asked(controls, 126, portrait.pose))


def test_what_does_as_asked_has_no_error_and_follows(obedient):
    assert {name: control_error(obedient, name) for name in NAMES} == pytest.approx(dict.fromkeys(NAMES, 0), abs=1e-4)
    found = measure_responses([obedient])
    assert {name: found[f"{name}_response"].mean for name in NAMES} == pytest.approx(dict.fromkeys(NAMES, 1))
    assert {name: found[f"{name}_gain"].mean for name in NAMES} == pytest.approx(dict.fromkeys(NAMES, 1), rel=1e-3)


def test_a_picture_that_does_not_move_follows_nothing(obedient):
    frozen = freeze_tracks(obedient)
    assert control_error(frozen, "speed") == pytest.approx(100)
    assert min(control_error(frozen, name) for name in ("gaze", "pose")) > 2
    assert all(abs(figure.mean) < 1e-3 for figure in measure_responses([frozen]).values())


def test_each_fault_is_told_by_its_own_error(obedient, footage, track):
    away = replace(obedient, gaze=obedient.gaze + np.radians([6, -8]))
    assert control_error(away, "gaze") == pytest.approx(10) and control_error(away, "pose") < 1e-4
    near = replace(obedient, portrait=obedient.portrait * [1, 1, 0.8])
    assert control_error(near, "distance") == pytest.approx(20)
    tilted = replace(obedient, landmarks=track(drift_head(footage, 20)).landmarks)
    assert control_error(tilted, "pose") == pytest.approx(10, rel=0.05)  # 0 to 20 degrees
    still = replace(obedient, landmarks=track(freeze_picture(footage)).landmarks)
    assert control_error(still, "speed") == pytest.approx(100)


def test_constant_values_are_compared_over_whole_videos(obedient):
    wrong = {"head_speed": 0.8}
    asked = [replace(obedient, asked=make_asked(c, 126, obedient.portrait_pose)) for c in (wrong, {"head_speed": 0.1})]
    third = replace(freeze_tracks(obedient), asked=make_asked({"head_speed": 1.2}, 126, obedient.portrait_pose))
    found = measure_responses([*asked, third])
    assert found["speed_response"].clips == 3 and found["speed_response"].mean < 0 and "gaze_gain" not in found
    assert measure_responses(asked) == {}  # two are too few


def test_where_nothing_was_asked_or_measured_there_is_no_figure(obedient, tracks):
    assert all(np.isnan(control_error(tracks, name)) for name in NAMES)
    unknown = replace(obedient, portrait=tracks.portrait)  # asked, but the portrait is not given
    assert np.isnan(control_error(unknown, "distance")) and measure_responses([tracks]) == {}
    free = make_asked({"gaze": np.where(np.arange(126)[:, None] < 60, [[0.1, np.nan]], np.nan)}, 126, np.zeros(4))
    assert np.isfinite(control_error(replace(obedient, asked=free), "gaze"))


def test_files_of_controls_are_found_by_the_videos_names(tmp_path):
    (tmp_path / "a.csv").write_text("gaze_yaw,gaze_pitch\n10,0\n")
    (tmp_path / "b.json").write_text(json.dumps({"speed": 0.4}))
    videos = [tmp_path / f"{name}.mp4" for name in "abc"]
    found = match_controls(tmp_path, videos)
    assert [path.name for path in found.values()] == ["a.csv", "b.json"]
    asked = make_asked(read_controls(found[videos[0]], FPS), 5, np.full(4, np.nan))
    assert asked.shape == (5, 7) and asked[:, 1] == pytest.approx(np.radians(10)) and np.isnan(asked[:, 3:]).all()
    with pytest.raises(InputError, match="name the files like the videos"):
        match_controls(tmp_path, videos[2:])
