"""Each measure tells its own fault, and stays as it is under the others'."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo.face.landmarks import aligned, five_points
from emo.metrics.faults import Footage, faults
from emo.metrics.registry import Asked, measure_tracks, measures

WINDOW = 12
ASKED = Asked(WINDOW, networks={"arcface": Path("weights")})
FAULTS, NAMES = faults(WINDOW), [measure.name for measure in measures(ASKED)]
QUIET = 1 / 3  # of what a measure's own faults move it by, another's may at most


def shading(footage: Footage) -> np.ndarray:
    """(T 48) of length 1, what stands for ArcFace: where it is dark and light above the mouth says who it is."""
    shown = zip(footage.frames, five_points(footage.landmarks), strict=True)
    faces = np.stack([aligned(frame.transpose(2, 0, 1), points) for frame, points in shown])
    cells = faces.reshape(len(faces), 3, 8, 14, 8, 14).mean((1, 3, 5))[:, :6].reshape(len(faces), -1)
    apart = cells - cells.mean(1, keepdims=True)
    return apart / np.linalg.norm(apart, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def moved(footage, track) -> dict[str, dict[str, float]]:
    """By how much each fault moves each figure; a figure that can't be taken any more does not count."""

    def measured(shown: Footage) -> dict[str, float]:
        return measure_tracks(replace(track(shown), faces=shading(shown)), measures(ASKED))

    clean, faulty = measured(footage), {name: measured(fault.plant(footage)) for name, fault in FAULTS.items()}
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
