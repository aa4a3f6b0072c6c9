"""The bookkeeping of speed: stages add up to the whole, operations to those of the parts, figures to their runs."""

import re

import pytest

from emo.core.errors import InputError
from emo.metrics.speed import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkSetting,
    StageMeter,
    measure_methods,
    plot_svg,
    time_ratio,
)


class Clock:
    now = 10.0

    def spend(self, seconds: float) -> None:
        self.now += seconds


def made_run(seconds: float, **changes) -> BenchmarkRun:
    stages = {"denoise": 0.75 * seconds, "decode": 0.25 * seconds}
    given = dict(first_frame_seconds=1.0, start_up_seconds=6.0, peak_gb=0.7, flops={}, flops_per_second=0.0)
    return BenchmarkRun(frames=50, seconds=seconds, stages=stages, **given | changes)


def test_a_stage_is_without_the_stages_within_it():
    clock = Clock()
    meter = StageMeter(lambda: clock.now)
    with meter.stage("outer"):
        clock.spend(1)
        for _ in range(2):
            with meter.stage("inner"):
                clock.spend(2)
                with meter.stage("outer"):  # of the same name again
                    clock.spend(10)
        clock.spend(5)
    assert meter.totals == {"inner": 4, "outer": 26}
    assert sum(meter.totals.values()) == clock.now - 10


def test_what_fails_is_counted_and_leaves_no_stage_open():
    clock = Clock()
    meter = StageMeter(lambda: clock.now)
    with pytest.raises(KeyError), meter.stage("outer"), meter.stage("inner"):
        clock.spend(3)
        raise KeyError
    assert meter.totals == {"inner": 3, "outer": 0} and meter._inner == []


def test_watched_methods_are_themselves_again_afterwards():
    clock, meter = Clock(), None
    meter = StageMeter(lambda: clock.now)
    with measure_methods(meter, [(clock, "spend", "work")]):
        clock.spend(4)
    clock.spend(1)
    assert meter.totals == {"work": 4} and "spend" not in vars(clock)


def test_settings_change_by_their_words_and_keep_the_rest():
    base = BenchmarkSetting(model="mini", size=256)
    assert base.changed("steps=4,guidance=1.5,model=runs/a/model") == BenchmarkSetting("runs/a/model", 4.0, 256, 4, 1.5)
    assert str(base.changed("steps=4")) == "mini size=256 steps=4"
    for text, words in [
        ("stepz=4", "'stepz=4' is not NAME"),
        ("steps", "'steps' is not NAME"),
        ("steps=x", "'x' is not a number for steps"),
    ]:
        with pytest.raises(InputError, match=words):
            base.changed(text)


def test_figures_are_those_of_their_runs():
    counted = made_run(10.0, flops={"denoise": 50e9, "decode": 5e9}, flops_per_second=10e9)
    figures = BenchmarkResult(BenchmarkSetting(), [counted, made_run(5.0), made_run(20.0)])
    assert figures.frames_per_second == pytest.approx(5) and figures.real_time_factor == pytest.approx(5)
    assert figures.stage_seconds == pytest.approx({"denoise": 0.15, "decode": 0.05})
    assert figures.limit_seconds == pytest.approx({"denoise": 0.1, "decode": 0.01})
    text = "\n".join(figures.format_lines())
    assert re.search(r"denoise\s+0\.1500\s+75\.0%\s+1\.00\s+66\.7%", text)
    assert "5.00 frames/s (2.50 to 10.00 of 3 runs)" in text
    half = BenchmarkResult(BenchmarkSetting(), [made_run(5.0), made_run(3.0), made_run(8.0)])
    assert time_ratio(half, figures) == pytest.approx((0.5, 0.4, 0.6))
    assert BenchmarkResult(BenchmarkSetting(), [made_run(1.0)]).limit_seconds == {}


def test_bars_are_as_long_as_stages_take():
    counted = made_run(10.0, flops={"denoise": 50e9}, flops_per_second=10e9)
    picture = plot_svg([BenchmarkResult(BenchmarkSetting(), [counted])])
    bars = re.findall(r'x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="[\d.]+" fill="#\w+"><title>(.*?)[:<]', picture)
    starts, widths = ({bar[2]: float(bar[k]) for bar in bars} for k in (0, 1))
    assert (starts["denoise"], starts["decode"]) == pytest.approx((0, 0.75 * 640))
    assert widths["denoise"] == pytest.approx(0.75 * 640) and widths["decode"] == pytest.approx(0.25 * 640)
    assert widths["limit of denoise"] == pytest.approx(0.5 * 640)
    assert starts["as fast as it plays"] + 0.5 == pytest.approx(640 * 0.04 / 0.2)
