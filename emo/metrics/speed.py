"""Time the stages of a run and compare them with the machine's measured limits.

What each stage of a run takes: seconds by a clock, operations by a counter, whatever can be read before and after.

Stages lie within each other: what a stage within takes is not counted for the one around it, so the stages add up to
the whole.

What generation takes, as users feel it: what was asked for, what a run of it took, and what many runs say together.

Knows no torch: who starts the runs stays small, so that their memory is their own.

Where the time of a frame goes, as a picture (SVG): a bar of stages for each setting, the limit of each stage beneath
it, and the line at which video is made as fast as it plays.
"""

import html
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import wraps
from statistics import median

from emo.core.errors import InputError


class Meter:
    """read() grows: `time.perf_counter`, or a counter's total."""

    def __init__(self, read: Callable[[], float]):
        self.read, self.taken, self.open = read, {}, []  # open: what stages within have taken, of each stage around

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = self.read()
        self.open.append(0.0)
        try:
            yield
        finally:
            whole, within = self.read() - began, self.open.pop()
            self.taken[name] = self.taken.get(name, 0.0) + whole - within
            if self.open:
                self.open[-1] += whole

    def measured(self, name: str, function: Callable) -> Callable:
        """The function, as a stage."""

        @wraps(function)
        def within(*args, **kwargs):
            with self.stage(name):
                return function(*args, **kwargs)

        return within


@contextmanager
def watched(meter: Meter, stages: list[tuple[object, str, str]]) -> Iterator[None]:
    """While it lasts, a call of object.method is a stage of the meter: (object, method, stage) each."""
    for thing, method, stage in stages:
        setattr(thing, method, meter.measured(stage, getattr(thing, method)))
    try:
        yield
    finally:
        for thing, method, _ in stages:
            delattr(thing, method)  # what it was given above; its class has the method still


STAGES = ("face", "audio", "reference", "denoise", "decode", "paste", "encode")  # in the order in which they come


@dataclass(frozen=True)
class Setting:
    """What is asked of emo-infer; None: the model's own."""

    model: str = "mini"
    seconds: float = 4.0  # of sound
    size: int | None = None  # pixels of the animated square
    steps: int | None = None  # of denoising, for each window
    guidance: float | None = None
    fps: float = 25.0
    dtype: str = "float32"
    device: str | None = None
    face: tuple[float, float, float, float] | str | None = None  # where it is, pixels, or "full"; None: find it

    def __str__(self) -> str:
        """What differs from the defaults."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return " ".join([self.model, *(f"{name}={value}" for name, value in given.items() if name != "model")])

    def changed(self, text: str) -> "Setting":
        """By `name=value,name=value`. Raises InputError for another name or a value of another kind."""
        kinds, values = dict.fromkeys(("model", "dtype", "device", "face"), str) | {"size": int, "steps": int}, {}
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or name not in {f.name for f in fields(self)}:
                names = ", ".join(f.name for f in fields(self))
                raise InputError(f"--vs {text}: {part} is no NAME=VALUE with a name among {names}")
            try:
                values[name] = kinds.get(name, float)(value)
            except ValueError as error:
                raise InputError(f"--vs {text}: {value} is no number for {name}") from error
        return replace(self, **values)


@dataclass
class Run:
    """One run, in a process of its own."""

    frames: int
    seconds: float  # from the request, the model ready, until the video is whole
    first_frame_seconds: float  # from the request
    start_up_seconds: float  # from nothing until the model is ready
    peak_gb: float  # 10^9 bytes: of the process; on a GPU, of its memory
    stages: dict[str, float]  # seconds of each stage; together all of `seconds`
    flops: dict[str, float]  # of each stage; empty where they were not counted
    flops_per_second: float  # this machine's in matrix products; 0 where it was not measured


@dataclass
class Figures:
    """What the runs of one setting say: medians, of all but the operations, which are counted once."""

    setting: Setting
    runs: list[Run]

    def middle(self, name: str) -> float:
        return median(getattr(run, name) for run in self.runs)

    @property
    def frame_seconds(self) -> list[float]:
        """Of each run, per frame."""
        return [run.seconds / run.frames for run in self.runs]

    @property
    def frames_per_second(self) -> float:
        return 1 / median(self.frame_seconds)

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of video: below 1 it keeps up."""
        return median(self.frame_seconds) * self.setting.fps

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Per frame, of those stages that there were."""
        found = {name: median(run.stages.get(name, 0.0) / run.frames for run in self.runs) for name in STAGES}
        return {name: seconds for name, seconds in found.items() if seconds}

    @property
    def limit_seconds(self) -> dict[str, float]:
        """Per frame: what a stage's operations would take if all were as fast as the products of large matrices."""
        counted = next((run for run in self.runs if run.flops and run.flops_per_second), None)
        if counted is None:
            return {}
        return {name: flops / counted.frames / counted.flops_per_second for name, flops in counted.flops.items()}

    def lines(self) -> Iterable[str]:
        """For people."""
        low, high = min(self.frame_seconds), max(self.frame_seconds)
        yield (
            f"{self.setting}: real-time factor {self.real_time_factor:.2f}, {self.frames_per_second:.2f} frames/s "
            f"({1 / high:.2f} to {1 / low:.2f} of {len(self.runs)} runs), first frame after "
            f"{self.middle('first_frame_seconds'):.2f} s, start-up {self.middle('start_up_seconds'):.1f} s, "
            f"peak memory {self.middle('peak_gb'):.3f} GB"
        )
        stages, limits = self.stage_seconds, self.limit_seconds
        yield f"  {'stage':<10}{'s/frame':>10}{'share':>8}{'GFLOP/frame':>13}{'of the limit':>14}"
        rate = next((run.flops_per_second for run in self.runs if run.flops_per_second), 0.0)
        for name, seconds in stages.items():
            limit = limits.get(name, 0.0)
            counted = f"{limit * rate / 1e9:13.2f}{limit / seconds:14.1%}" if limit else ""
            yield f"  {name:<10}{seconds:10.4f}{seconds / sum(stages.values()):8.1%}{counted}"
        if rate:
            yield f"  limit: matrix products at {rate / 1e9:.0f} GFLOP/s on this machine, just now"


def ratio(these: Figures, those: Figures) -> tuple[float, float, float]:
    """Time per frame of these over those, pair by pair as they ran one after the other: median, least, most."""
    pairs = [a / b for a, b in zip(these.frame_seconds, those.frame_seconds, strict=True)]
    return median(pairs), min(pairs), max(pairs)


COLOURS = dict(zip(STAGES, ("#888", "#c6a", "#47a", "#c63", "#393", "#a95", "#266"), strict=True))
SPEED_WIDTH, ROW, SPEED_TOP = 640, 46, 34


def bar(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    place = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{height}"'
    return f'<rect {place} fill="{colour}"><title>{html.escape(title)}</title></rect>'


def stacked(values: dict[str, float], scale: float, y: float, height: float, what: str) -> str:
    """Stages side by side; values in seconds, scale in points for a second."""
    x, bars = 0.0, []
    for name in STAGES:
        width = values.get(name, 0.0) * scale
        bars.append(bar(x, y, width, height, COLOURS[name], f"{what}{name}: {values.get(name, 0.0):.4g} s"))
        x += width
    return "".join(bars)


def plot(all_figures: list[Figures]) -> str:
    """A thick bar is what was measured, the thin one under it what the counted operations would take at the least."""
    longest = max(max(sum(f.stage_seconds.values()), 1 / f.setting.fps) for f in all_figures)
    scale, parts = SPEED_WIDTH / longest, []
    for k, figures in enumerate(all_figures):
        y, real_time = SPEED_TOP + ROW * k, scale / figures.setting.fps
        said = f"{figures.setting}: {figures.frames_per_second:.2f} frames/s"
        parts.append(f'<text x="0" y="{y + 10}">{html.escape(said)}</text>')
        parts.append(stacked(figures.stage_seconds, scale, y + 14, 16, ""))
        parts.append(stacked(figures.limit_seconds, scale, y + 31, 4, "limit of "))
        parts.append(f'<path d="M{real_time:.2f} {y + 12}v26" stroke="#000"/>')
    names = "".join(f'<tspan fill="{colour}">{name} </tspan>' for name, colour in COLOURS.items())
    legend = f'<text x="0" y="14">seconds per frame, to {longest:.3g}: {names}; black: as fast as it plays</text>'
    size = f'width="{SPEED_WIDTH}" height="{SPEED_TOP + ROW * len(all_figures)}"'
    style = "<style>text{font:12px sans-serif}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{legend}{"".join(parts)}</svg>\n'
