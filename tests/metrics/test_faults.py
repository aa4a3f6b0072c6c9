"""Each measure tells its own fault, and stays as it is under the others'."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo.face.landmarks import align_face, five_points
from emo.metrics.faults import Footage, list_faults
from emo.metrics.portrait import measure_portrait
from emo.metrics.registry import EvaluationOptions, list_measures, measure_tracks

WINDOW = 12
ASKED = EvaluationOptions(WINDOW, networks={"arcface": Path("weights")}, portraits=Path("portraits"))
FAULTS, NAMES = list_faults(WINDOW), [measure.name for measure in list_measures(ASKED)]
QUIET = 1 / 3  # of what a measure's own faults move it by, another's may at most


def shading(footage: Footage) -> np.ndarray:
    """(T 48) of length 1, a stand-in for ArcFace: identity is the brightness pattern above the mouth."""
    shown = zip(footage.frames, five_points(footage.landmarks), strict=True)
    faces = np.stack([align_face(frame.transpose(2, 0, 1), points) for frame, points in shown])
    cells = faces.reshape(len(faces), 3, 8, 14, 8, 14).mean((1, 3, 5))[:, :6].reshape(len(faces), -1)
    apart = cells - cells.mean(1, keepdims=True)
    return apart / np.linalg.norm(apart, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def moved(footage, track) -> dict[str, dict[str, float]]:
    """By how much each fault moves each figure; a figure that can't be taken any more does not count."""

    portrait = measure_portrait(footage.frames[0], footage.landmarks[0])

    def measured(shown: Footage) -> dict[str, float]:
        pairs = zip(shown.frames, shown.landmarks, strict=True)
        compared = np.stack([portrait.compare(frame, points, 1.0) for frame, points in pairs])
        tracks = replace(track(shown), face_embeddings=shading(shown), portrait=compared)
        return measure_tracks(tracks, list_measures(ASKED))

    clean, faulty = measured(footage), {name: measured(fault.apply(footage)) for name, fault in FAULTS.items()}
    return {n: {m: np.nan_to_num(figures[m] - clean[m]) for m in NAMES} for n, figures in faulty.items()}


def test_every_measure_has_a_fault_of_its_own():
    assert {name for fault in FAULTS.values() for name, way in fault.expected_changes.items() if way} == {*NAMES} - {
        "face_visible"
    }


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_moves_its_measures_and_no_others(moved, name):
    own = {
        m: max(abs(moved[n][m]) for n, f in FAULTS.items() if f.expected_changes.get(m))
        for m in NAMES
        if m != "face_visible"
    }
    for measure, way in FAULTS[name].expected_changes.items():
        assert way == 0 or moved[name][measure] * way > QUIET * own[measure], measure
    others = [m for m in own if m not in FAULTS[name].expected_changes]
    assert [m for m in others if abs(moved[name][m]) > QUIET * own[m]] == []
