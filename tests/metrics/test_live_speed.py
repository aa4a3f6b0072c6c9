"""emo-bench live: sessions run side by side in real time, and what is measured is written."""

import json

import pytest

from emo.cli import bench
from emo.metrics.live_speed import measure_sessions


def test_sessions_side_by_side(tiny_pipeline, portrait, wave):
    result = measure_sessions(tiny_pipeline, portrait, wave, 2.0, 2, face="full", block_frames=4)
    # the blocks of 4 frames at both ends may lie outside of the 2 s
    assert result.sessions == 2 and 0 < result.frames_per_second <= 25 + 2 * 4 / 2.0 and 0 <= result.repeated_ratio < 1
    assert result.latency_floor == pytest.approx(3 / 25 + tiny_pipeline.audio_encoder.future_seconds, abs=1e-3)
    assert result.latency_median <= result.latency_p95 <= result.latency_worst
    assert result.latency_worst > tiny_pipeline.audio_encoder.future_seconds and result.first_frame_seconds > 0


def test_command(tmp_path, run_main, tiny_model_folder, portrait_path, sound_path):
    output = tmp_path / "live.json"
    words = ["live", portrait_path, sound_path, "--seconds", "1.5", "--model", tiny_model_folder, "--device", "cpu"]
    code, out, _ = run_main(bench.main, "emo-bench", *words, "--face", "full", "-o", output)
    assert code == 0 and out.startswith("1 session, 1.5 s: ") and "latency median" in out
    assert json.loads(output.read_text())[0]["seconds"] == 1.5
    assert run_main(bench.main, "emo-bench", "live", "-o", tmp_path / "none" / "a.json")[0] == 2
    assert "--sessions" in run_main(bench.main, "emo-bench", "live", "--help")[1]
