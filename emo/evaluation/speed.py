"""What generation takes, as users feel it: what was asked for, what a run of it took, and what many runs say together.

Knows no torch: who starts the runs stays small, so that their memory is their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from statistics import median

from emo.errors import InputError

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
