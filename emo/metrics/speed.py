"""Measure how long each stage of a generation takes and compare it with the speed of large matrix products.

- `StageMeter` attributes time, or counted operations, to named stages. Stages nest; a stage does not include the stages
  inside it, so all stages add up to the total.
- `BenchmarkSetting`, `BenchmarkRun` and `BenchmarkResult` hold the options and results of emo-bench; they are the
  contents of bench.json.
- `make_flop_counter` and `measure_matmul_flops` give the limit: the time that a stage's operations would take at the
  speed of large matrix products on this machine.
- `plot_svg` draws the stages of each setting as a bar, beside their limit.

torch is imported only where operations are counted: the process that starts the runs stays small.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import wraps
from statistics import median
from typing import TYPE_CHECKING, Any

from emo.core.errors import InputError
from emo.media.html import svg_bar, svg_document, svg_legend, svg_text

if TYPE_CHECKING:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

STAGES = ("face", "audio", "reference", "denoise", "decode", "paste", "encode")  # in the order in which they run


class StageMeter:
    """Adds up what each stage takes, by the readings of a clock or counter.

    Attributes:
        totals: Stage name -> what it has taken, without the stages inside it.
    """

    def __init__(self, read: Callable[[], float]):
        """read: returns a number that grows: `time.perf_counter`, or the total of an operation counter."""
        self.read = read
        self.totals: dict[str, float] = {}
        self._inner: list[float] = []  # for each open stage, what the stages inside it have taken

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the `with` block takes as stage `name`."""
        start = self.read()
        self._inner.append(0.0)
        try:
            yield
        finally:
            total, inner = self.read() - start, self._inner.pop()
            self.totals[name] = self.totals.get(name, 0.0) + total - inner
            if self._inner:
                self._inner[-1] += total

    def wrap(self, name: str, function: Callable) -> Callable:
        """Return a function that is counted as a stage.

        Args:
            name: Name of the stage.
            function: The function to call.

        Returns:
            A function with the same arguments and result.
        """

        @wraps(function)
        def measured(*args, **kwargs):
            with self.stage(name):
                return function(*args, **kwargs)

        return measured


@contextmanager
def measure_methods(meter: StageMeter, stages: list[tuple[Any, str, str]]) -> Iterator[None]:
    """Count calls as stages of the meter while the `with` block runs.

    Args:
        meter: Meter that adds up the stages.
        stages: (object, class or module; name of its method or function; stage) each.

    Yields:
        Nothing; the methods are restored after the block.
    """
    own = {}
    for owner, method, stage in stages:
        own[id(owner), method] = vars(owner).get(method)
        setattr(owner, method, meter.wrap(stage, getattr(owner, method)))
    try:
        yield
    finally:
        for owner, method, _ in stages:
            original = own[id(owner), method]
            if original is None:  # the class of the object has the method
                delattr(owner, method)
            else:
                setattr(owner, method, original)


@dataclass(frozen=True)
class BenchmarkSetting:
    """Options of `emo.generate` in a benchmark; None: the model's default.

    Attributes:
        model: Name, folder or Hub id.
        seconds: Length of the sound.
        size: Side of the animated square in pixels.
        steps: Denoising steps per window.
        guidance: Guidance scale.
        fps: Frames per second.
        dtype: Name of a torch dtype.
        device: Name of a torch device.
        face: Box (x0, y0, x1, y1) in pixels, "full", or None: find it.
    """

    model: str = "mini"
    seconds: float = 4.0
    size: int | None = None
    steps: int | None = None
    guidance: float | None = None
    fps: float = 25.0
    dtype: str = "float32"
    device: str | None = None
    face: tuple[float, float, float, float] | str | None = None

    def __str__(self) -> str:
        """Return the model and what differs from the defaults."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return " ".join([self.model, *(f"{name}={value}" for name, value in given.items() if name != "model")])

    def changed(self, text: str) -> "BenchmarkSetting":
        """Return the setting with `name=value,name=value` applied. Raises InputError for an unknown name or a bad
        value."""
        kinds, values = dict.fromkeys(("model", "dtype", "device", "face"), str) | {"size": int, "steps": int}, {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or name not in {f.name for f in fields(self)}:
                names = ", ".join(f.name for f in fields(self))
                raise InputError(f"{part!r} is not NAME=VALUE with a name among {names}")
            try:
                values[name] = kinds.get(name, float)(value)
            except ValueError as error:
                raise InputError(f"{value!r} is not a number for {name}") from error
        return replace(self, **values)


@dataclass
class BenchmarkRun:
    """What one run took, in a process of its own.

    Attributes:
        frames: Frames of the video.
        seconds: From the request, with the model loaded, until the video is complete.
        first_frame_seconds: From the request to the first frame.
        start_up_seconds: From the start of the process until the model is loaded.
        peak_gb: Peak memory in 10^9 bytes: of the process, or of the GPU.
        stages: Seconds of each stage; together `seconds`.
        flops: Floating-point operations of each stage; empty where they were not counted.
        flops_per_second: Speed of large matrix products on this machine; 0 where it was not measured.
    """

    frames: int
    seconds: float
    first_frame_seconds: float
    start_up_seconds: float
    peak_gb: float
    stages: dict[str, float]
    flops: dict[str, float]
    flops_per_second: float


@dataclass
class BenchmarkResult:
    """The runs of one setting and their medians; operations are counted in one run only."""

    setting: BenchmarkSetting
    runs: list[BenchmarkRun]

    def median_of(self, name: str) -> float:
        """Return the median over the runs of the attribute `name`."""
        return median(getattr(run, name) for run in self.runs)

    @property
    def frame_seconds(self) -> list[float]:
        """Seconds per frame of each run."""
        return [run.seconds / run.frames for run in self.runs]

    @property
    def frames_per_second(self) -> float:
        """Frames per second of work, by the median run."""
        return 1 / median(self.frame_seconds)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for one second of video; below 1 it keeps up with playing."""
        return median(self.frame_seconds) * self.setting.fps

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds per frame of the stages that occurred, in the order of STAGES."""
        medians = {name: median(run.stages.get(name, 0.0) / run.frames for run in self.runs) for name in STAGES}
        return {name: seconds for name, seconds in medians.items() if seconds}

    @property
    def limit_seconds(self) -> dict[str, float]:
        """Seconds per frame that each stage's operations would take at the speed of large matrix products."""
        counted = next((run for run in self.runs if run.flops and run.flops_per_second), None)
        if counted is None:
            return {}
        return {name: flops / counted.frames / counted.flops_per_second for name, flops in counted.flops.items()}

    def format_lines(self) -> Iterable[str]:
        """Lines for the terminal."""
        low, high = min(self.frame_seconds), max(self.frame_seconds)
        yield (
            f"{self.setting}: real-time factor {self.real_time_factor:.2f}, {self.frames_per_second:.2f} frames/s "
            f"({1 / high:.2f} to {1 / low:.2f} of {len(self.runs)} runs), first frame after "
            f"{self.median_of('first_frame_seconds'):.2f} s, start-up {self.median_of('start_up_seconds'):.1f} s, "
            f"peak memory {self.median_of('peak_gb'):.3f} GB"
        )
        stages, limits = self.stage_seconds, self.limit_seconds
        yield f"  {'stage':<10}{'s/frame':>10}{'share':>8}{'GFLOP/frame':>13}{'of the limit':>14}"
        rate = next((run.flops_per_second for run in self.runs if run.flops_per_second), 0.0)
        for name, seconds in stages.items():
            limit = limits.get(name, 0.0)
            counted = f"{limit * rate / 1e9:13.2f}{limit / seconds:14.1%}" if limit else ""
            yield f"  {name:<10}{seconds:10.4f}{seconds / sum(stages.values()):8.1%}{counted}"
        if rate:
            yield f"  limit: matrix products at {rate / 1e9:.0f} GFLOP/s, measured on this machine in this run"


def time_ratio(these: BenchmarkResult, those: BenchmarkResult) -> tuple[float, float, float]:
    """Compare the time per frame of two settings, pair by pair as their runs alternated.

    Args:
        these: Runs of the first setting.
        those: As many runs of the second setting.

    Returns:
        Median, minimum and maximum of time of `these` over time of `those`.
    """
    pairs = [a / b for a, b in zip(these.frame_seconds, those.frame_seconds, strict=True)]
    return median(pairs), min(pairs), max(pairs)


def make_flop_counter() -> "FlopCounterMode":
    """Return a context manager that counts matrix products, convolutions and attention by their shapes, also on a CPU.

    A multiplication and its addition are two operations; `get_total_flops()` returns their number.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    attention = {  # torch's own table has only the kernels of GPUs; the arguments are shapes
        flash: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        flash_backward: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v),
    }
    return FlopCounterMode(display=False, custom_mapping=attention)


def measure_matmul_flops(device: "torch.device", dtype: "torch.dtype", side: int = 2048, repeats: int = 3) -> float:
    """Measure the speed of products of square matrices on this machine.

    Args:
        device: Where the matrices are.
        dtype: Their type.
        side: Rows and columns.
        repeats: Number of products, of which the fastest counts.

    Returns:
        Floating-point operations per second.
    """
    import torch

    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    shortest = float("inf")
    for _ in range(repeats + 1):  # the first also warms up
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits until the product is done
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * side**3 / shortest


STAGE_COLORS = dict(zip(STAGES, ("#888", "#c6a", "#47a", "#c63", "#393", "#a95", "#266"), strict=True))
PLOT_WIDTH, ROW_HEIGHT, TOP = 640, 46, 40  # pixels


def plot_svg(results: list[BenchmarkResult]) -> str:
    """Draw one bar per setting: seconds per frame of each stage, under it the limit of each stage, and a black line at
    the time at which a video is made as fast as it plays.

    Args:
        results: Results of the settings.

    Returns:
        Text of an SVG file.
    """
    longest = max(max(sum(r.stage_seconds.values()), 1 / r.setting.fps) for r in results)
    scale, parts = PLOT_WIDTH / longest, [svg_legend(0, 28, STAGE_COLORS)]
    parts.append(svg_text(0, 14, f"seconds per frame, up to {longest:.3g}; black line: as fast as it plays"))
    for k, result in enumerate(results):
        y, real_time = TOP + ROW_HEIGHT * k, scale / result.setting.fps
        parts += [
            svg_text(0, y + 10, f"{result.setting}: {result.frames_per_second:.2f} frames/s"),
            draw_stages(result.stage_seconds, scale, y + 14, 16, ""),
            draw_stages(result.limit_seconds, scale, y + 31, 4, "limit of "),
            svg_bar(real_time - 0.5, y + 12, 1, 26, "#000", "as fast as it plays"),
        ]
    return svg_document(PLOT_WIDTH, TOP + ROW_HEIGHT * len(results), parts, standalone=True)


def draw_stages(seconds: dict[str, float], pixels_per_second: float, y: float, height: float, prefix: str) -> str:
    """Draw the stages side by side.

    Args:
        seconds: Stage name -> seconds per frame.
        pixels_per_second: Scale of the widths.
        y: Top of the rectangles in pixels.
        height: Their height in pixels.
        prefix: Text before the stage names in the tooltips.

    Returns:
        SVG rectangles.
    """
    x, bars = 0.0, []
    for name in STAGES:
        width = seconds.get(name, 0.0) * pixels_per_second
        title = f"{prefix}{name}: {seconds.get(name, 0.0):.4g} s"
        bars.append(svg_bar(x, y, width, height, STAGE_COLORS[name], title))
        x += width
    return "".join(bars)
