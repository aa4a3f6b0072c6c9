"""What each stage of a run takes: seconds by a clock, operations by a counter, whatever can be read before and after.

Stages lie within each other: what a stage within takes is not counted for the one around it, so the stages add up to
the whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps


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
