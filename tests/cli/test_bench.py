"""emo-bench: its settings, and that its counts are those of the pipeline."""

import time

import pytest
import torch

from emo.cli.bench import generate_measured, list_settings, main, make_parser, measure_run, repeat_sound
from emo.metrics.speed import STAGES, BenchmarkSetting, StageMeter, make_flop_counter


def test_settings_are_the_grid_and_then_what_it_is_held_against():
    args = make_parser().parse_args(["p.png", "s.wav", "--size", "128", "256", "--steps", "4", "8", "--vs", "steps=2"])
    found = [(setting.size, setting.steps) for setting in list_settings(args)]
    assert found == [(128, 4), (128, 8), (256, 4), (256, 8), (128, 2)]


def counted(pipeline, paths, folder, **options) -> dict[str, float]:
    with make_flop_counter() as counter:
        meter = StageMeter(counter.get_total_flops)
        frames, _ = generate_measured(
            pipeline, BenchmarkSetting(face="full", **options), *paths, folder / "out.mp4", meter
        )
    assert frames == 10 and sum(meter.totals.values()) == counter.get_total_flops()
    return meter.totals


@pytest.fixture
def paths(portrait_path, sound_path, tmp_path):
    """A portrait, and a sound of 0.4 s."""
    return portrait_path, repeat_sound(sound_path, 0.4, tmp_path / "sound.wav")


def test_denoising_grows_with_steps_and_guidance_and_nothing_else_does(tiny_pipeline, paths, tmp_path):
    two, four = (counted(tiny_pipeline, paths, tmp_path, steps=steps) for steps in (2, 4))
    guided = counted(tiny_pipeline, paths, tmp_path, steps=2, guidance=2.0)
    assert set(two) <= set(STAGES) and two["denoise"] > 0 and two["decode"] > 0 and two["reference"] > 0
    assert four["denoise"] == guided["denoise"] == 2 * two["denoise"]
    for name in ("face", "reference", "decode", "paste", "encode"):
        assert four[name] == guided[name] == two[name]
    assert two["paste"] == two["encode"] == 0 and four["audio"] == two["audio"] < guided["audio"]


def test_a_run_says_what_it_took(tiny_model_folder, paths):
    setting = BenchmarkSetting(str(tiny_model_folder), seconds=0.6, device="cpu", face="full")  # longer than the sound
    run = measure_run(setting, *paths, time.time(), True)
    assert run.frames == 15 and set(run.stages) == set(STAGES) == set(run.flops)
    assert run.seconds == pytest.approx(sum(run.stages.values())) and 0 < run.first_frame_seconds < run.seconds
    assert run.peak_gb > 0.05 and run.flops_per_second > 1e8 and run.start_up_seconds > 0


def test_convolutions_and_attention_are_counted_by_their_shapes():
    x = torch.randn(1, 2, 16, 8)
    with make_flop_counter() as counter, torch.no_grad():
        torch.nn.functional.scaled_dot_product_attention(x, x, x)
    assert counter.get_total_flops() == 2 * 2 * (2 * 16 * 16 * 8)


def test_what_is_wrong_is_one_line_before_anything_runs(run_main, paths, tmp_path):
    code, _, err = run_main(main, "emo-bench", *paths, "-o", tmp_path / "none" / "bench.json")
    assert code == 2 and err == f"emo-bench: there is no folder {tmp_path / 'none'}: choose another -o\n"
    code, _, err = run_main(main, "emo-bench", *paths, "--vs", "stepz=4")
    assert code == 2 and err.startswith("emo-bench: argument --vs: 'stepz=4' ") and err.count("\n") == 1
