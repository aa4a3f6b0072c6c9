"""Faults of clips are found, and speech is not taken for one."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.data.clip import ClipInfo
from emo.face.pose import POSE_POINTS, POSE_TEMPLATE
from emo.preparation.filters import (
    ClipLimits,
    check_picture,
    check_sound,
    check_sync,
    head_rotation_degrees,
    measure_unsteadiness,
    occluded_ratio,
    read_limits,
)


def test_a_moving_mouth_is_steady_and_what_moves_around_it_counts_in_grey_levels(draw):
    talking = [draw(opening, 256) for opening in (0.0, 0.5, 1.0, 0.3)]
    assert measure_unsteadiness(talking) < 0.3
    flicker = [np.full((256, 256, 3), 100 + 7 * (-1) ** i, np.uint8) for i in range(6)]
    assert measure_unsteadiness(flicker) == pytest.approx(7, abs=0.01)


def turned(degrees: float) -> np.ndarray:
    """(1 68 2): the skull's points turned so far to one side; the others lie where the first does."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = np.zeros((1, 68, 2))
    points[0, POSE_POINTS] = 100 * (POSE_TEMPLATE @ rotation.T)[:, :2]
    return points


@pytest.mark.parametrize("degrees", [0, 20, -45, 70])
def test_how_far_a_head_is_turned_is_known(degrees):
    assert head_rotation_degrees(turned(degrees))[0] == pytest.approx(abs(degrees), abs=0.5)


def test_each_limit_has_its_reason(wave):
    info = ClipInfo("a", "anna", "drawn", "", 150, 0, 0.2, 150.0, 20.0, 0.4, 9.0, 0.01, 2.0, 0.6)
    info.occluded_ratio, info.offscreen_ratio = 0.1, 0.15

    def reason(info=info, **limits: float) -> str:
        with pytest.raises(InputError) as error:
            check_picture(info, ClipLimits(**limits))
            check_sound(info, wave, ClipLimits(**limits))
        return str(error.value)

    check_picture(info, ClipLimits())
    check_sound(info, wave, ClipLimits())
    assert reason(min_seconds=6.1) == "a: the shot is shorter than min_seconds=6.1"
    assert reason(min_face_pixels=151) == "a: the face is smaller than min_face_pixels=151"
    assert reason(max_rotation_degrees=19) == "a: the head is turned by more than max_rotation_degrees=19"
    assert "a: more of the face lies outside of the picture than max_offscreen_ratio=0.14" == reason(
        max_offscreen_ratio=0.14
    )
    assert reason(max_bars_ratio=0.009) == "a: black bars hide more of the face than max_bars_ratio=0.009"
    assert reason(min_sharpness=0.41) == "a: the face is less sharp than min_sharpness=0.41"
    assert reason(min_motion=9.1) == "a: the face moves less than min_motion=9.1; is it a photograph?"
    assert reason(max_letter_strokes=1.9) == "a: text over the mouth has more strokes than max_letter_strokes=1.9"
    assert reason(max_occluded_ratio=0.09) == "a: the mouth is occluded in more frames than max_occluded_ratio=0.09"
    assert reason(min_peak_db=0) == "a: the sound is quieter than min_peak_db=0"
    assert reason(min_speech_ratio=0.7) == "a: the sound has less speech than min_speech_ratio=0.7"


SCALES = {"lip_sync": "lip_sync", "syncnet": "syncnet"}


@pytest.mark.parametrize(("scorer", "lowest", "highest"), [("lip_sync", 0.22, 4), ("syncnet", 3.0, 6)])
def test_lips_are_judged_by_the_limits_of_who_measured_them(scorer, lowest, highest):
    def info(confidence: float, offset: int) -> ClipInfo:
        return ClipInfo("a", "anna", "drawn", "", 50, offset, confidence, sync_scorer=scorer)

    for passing in (
        info(lowest, highest),
        info(lowest, -highest),
        info(9.0, 0),
        ClipInfo("a", "anna", "drawn", "", 50),
    ):
        check_sync(passing, ClipLimits())
    with pytest.raises(
        InputError, match=f"^a: the lip-sync confidence is below min_{SCALES[scorer]}_confidence={lowest:g}$"
    ):
        check_sync(info(0.99 * lowest, 0), ClipLimits())
    for offset in (highest + 1, -highest - 1):
        with pytest.raises(
            InputError,
            match=f"^a: the sound is early or late by more than max_{SCALES[scorer]}_offset_frames={highest}$",
        ):
            check_sync(info(9.0, offset), ClipLimits())


def test_the_mouth_is_covered_in_a_share_of_the_frames_in_which_it_is_seen():
    assert occluded_ratio(np.array([1.0, 0.1, np.nan, 0.2, 0.3])) == 0.25
    assert occluded_ratio(np.full(3, np.nan)) is None and occluded_ratio(np.zeros(0)) is None


def test_limits_are_given_by_name():
    limits = read_limits({"min_seconds": 2.0}, ["min_speech_ratio=0.5", "min_seconds=3"])
    assert limits == ClipLimits(min_speech_ratio=0.5, min_seconds=3.0)
    for wrong in ("min_voise=0.5", "min_speech_ratio=much"):
        with pytest.raises(InputError, match=f"{wrong}: give name=number of min_seconds, "):
            read_limits({}, [wrong])


def test_an_old_name_of_a_limit_is_answered_with_the_new_one():
    with pytest.raises(InputError, match="^least_voice=0: least_voice was renamed: write min_speech_ratio$"):
        read_limits({}, ["least_voice=0"])
