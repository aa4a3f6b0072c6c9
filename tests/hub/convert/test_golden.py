"""Converted, small networks of Hallo say what its own code said. They are too large for the repository: EMO_GOLDEN is
their folder (see benchmarks/golden.py). Without it test_hallo.py shows the same on Hallo's code written out plainly."""

import importlib.util
import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("EMO_GOLDEN")


@pytest.mark.skipif(not FOLDER, reason="EMO_GOLDEN names no folder of golden cases")
def test_every_golden_case_is_within_the_tolerance():
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).parents[3] / "benchmarks" / "golden.py")
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    found = golden.differences(Path(FOLDER))
    assert set(found) == {"audio_tokens", "identity_tokens", "located", "step_output", "run_frames"}
    assert all(difference < golden.BAR for difference in found.values()), found
