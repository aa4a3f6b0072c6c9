"""What must not be learnt from is found, and speech is not taken for it."""

import numpy as np
import pytest

from emo.core.errors import InputError
from emo.data.clip import ClipInfo
from emo.face.pose import POINTS, SKULL
from emo.preparation.filters import (
    Limits,
    check_picture,
    check_sound,
    check_sync,
    covered_share,
    read_limits,
    turned_degrees,
    unsteadiness,
)


def test_a_moving_mouth_is_steady_and_what_moves_around_it_counts_in_grey_levels(draw):
    talking = [draw(opening, 256) for opening in (0.0, 0.5, 1.0, 0.3)]
    assert unsteadiness(talking) < 0.3
    flicker = [np.full((256, 256, 3), 100 + 7 * (-1) ** i, np.uint8) for i in range(6)]
    assert unsteadiness(flicker) == pytest.approx(7, abs=0.01)


def turned(degrees: float) -> np.ndarray:
    """(1 68 2): the skull's points turned so far to one side; the others lie where the first does."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points = np.zeros((1, 68, 2))
    points[0, POINTS] = 100 * (SKULL @ rotation.T)[:, :2]
    return points


@pytest.mark.parametrize("degrees", [0, 20, -45, 70])
def test_how_far_a_head_is_turned_is_known(degrees):
    assert turned_degrees(turned(degrees))[0] == pytest.approx(abs(degrees), abs=0.5)


def test_each_limit_has_its_reason(wave):
    info = ClipInfo("a", "anna", "drawn", "", 150, 0, 0.2, 150.0, 20.0, 0.4, 9.0, 0.01, 2.0, 0.6)
    info.covered, info.outside = 0.1, 0.15

    def reason(info=info, **limits: float) -> str:
        with pytest.raises(InputError) as error:
            check_picture(info, Limits(**limits))
            check_sound(info, wave, Limits(**limits))
        return str(error.value)

    check_picture(info, Limits())
    check_sound(info, wave, Limits())
    assert reason(shortest_seconds=6.1) == "a: the shot is shorter than 6.1 s"
    assert reason(smallest_face_pixels=151) == "a: the face is smaller than 151 pixels"
    assert reason(most_turned_degrees=19) == "a: the head is turned by more than 19 degrees"
    assert reason(most_outside=0.14) == "a: the face is cut off by the edge of the picture"
    assert reason(most_bars=0.009) == "a: the picture has black bars"
    assert reason(least_sharpness=0.41) == "a: the picture is blurred"
    assert reason(least_change=9.1) == "a: the picture stands still"
    assert reason(most_letters=1.9) == "a: there is writing over the mouth"
    assert reason(most_covered=0.09) == "a: something covers the mouth"
    assert reason(least_loud_db=0) == "a: there is no sound"
    assert reason(least_voice=0.7) == "a: there is no voice"


DOUBTS = {
    "ear": "the ear can't tell whether the lips say what is heard",
    "syncnet": "the lips do not say what is heard",
}


@pytest.mark.parametrize(("by", "least", "most"), [("ear", 0.22, 4), ("syncnet", 3.0, 6)])
def test_lips_are_judged_by_the_limits_of_who_measured_them(by, least, most):
    def info(confidence: float, offset: int) -> ClipInfo:
        return ClipInfo("a", "anna", "drawn", "", 50, offset, confidence, sync_by=by)

    for kept in (info(least, most), info(least, -most), info(9.0, 0), ClipInfo("a", "anna", "drawn", "", 50)):
        check_sync(kept, Limits())
    with pytest.raises(InputError, match=f"^a: {DOUBTS[by]}$"):
        check_sync(info(0.99 * least, 0), Limits())
    for offset in (most + 1, -most - 1):
        with pytest.raises(InputError, match="^a: the sound is early or late$"):
            check_sync(info(9.0, offset), Limits())


def test_the_mouth_is_covered_in_a_share_of_the_frames_in_which_it_is_seen():
    assert covered_share(np.array([1.0, 0.1, np.nan, 0.2, 0.3])) == 0.25
    assert covered_share(np.full(3, np.nan)) is None and covered_share(np.zeros(0)) is None


def test_limits_are_given_by_name():
    assert read_limits({"shortest_seconds": 2.0}, ["least_voice=0.5", "shortest_seconds=3"]) == Limits(
        least_voice=0.5, shortest_seconds=3.0
    )
    for wrong in ("least_voise=0.5", "least_voice=much"):
        with pytest.raises(InputError, match=f"{wrong}: give name=number of shortest_seconds, "):
            read_limits({}, [wrong])
