"""Each measure tells its own fault, and stays as it is under the others'."""

import numpy as np
import pytest

from emo.evaluation.faults import faults
from emo.evaluation.measures import Asked, measure_tracks, measures

WINDOW = 12
FAULTS, NAMES = faults(WINDOW), [measure.name for measure in measures(Asked(WINDOW))]
QUIET = 1 / 3  # of what a measure's own faults move it by, another's may at most


@pytest.fixture(scope="module")
def moved(footage, tracks, track) -> dict[str, dict[str, float]]:
    """By how much each fault moves each figure; a figure that can't be taken any more does not count."""
    clean = measure_tracks(tracks, measures(Asked(WINDOW)))
    faulty = {n: measure_tracks(track(fault.plant(footage)), measures(Asked(WINDOW))) for n, fault in FAULTS.items()}
    return {n: {m: np.nan_to_num(figures[m] - clean[m]) for m in NAMES} for n, figures in faulty.items()}


def test_every_measure_has_a_fault_of_its_own():
    assert {name for fault in FAULTS.values() for name, way in fault.told_by.items() if way} == {*NAMES} - {"face_seen"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_its_measures_and_by_no_others(moved, name):
    own = {m: max(abs(moved[n][m]) for n, f in FAULTS.items() if f.told_by.get(m)) for m in NAMES if m != "face_seen"}
    for measure, way in FAULTS[name].told_by.items():
        assert way == 0 or moved[name][measure] * way > QUIET * own[measure], measure
    others = [m for m in own if m not in FAULTS[name].told_by]
    assert [m for m in others if abs(moved[name][m]) > QUIET * own[m]] == []
