"""The same work on many items: one after another, on all cores of this machine, or on a Ray cluster."""

import logging
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from emo.core.errors import InputError

SECONDS_TO_ANSWER, SECONDS_TO_END = 10, 30
Item, Result = TypeVar("Item"), TypeVar("Result")


def each(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, address: str | None = None, gpus: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Every item with what `work` made of it, as they get done. What `work` raises is raised here.

    workers: processes at a time, each on one core; one alone is this process. address: of a running Ray cluster
    ("auto", "ray://HOST:10001"), whose machines see the same folders; it decides how many work at a time. gpus: Ray
    hides the GPUs from its workers; show each its share of those there are. Raises InputError without Ray, or where no
    cluster answers.
    """
    if address is None and min(workers, len(items)) <= 1:
        yield from ((item, work(item)) for item in items)
        return
    ray, claims = started_ray(workers, address), TemporaryDirectory()
    try:
        numbers = ray.data.from_items(list(range(len(items))), override_num_blocks=len(items))
        share = gpu_share(ray.cluster_resources()) if gpus else 0.0
        numbered = Numbered(work, items, Path(claims.name) if address is None else None)
        with closing(iter(numbers.map(numbered, num_cpus=1, num_gpus=share or None).iter_rows())) as rows:
            for row in rows:
                result, error = pickle.loads(row["done"])
                if error is not None:
                    raise error
                yield items[row["number"]], result
    finally:
        wait_for_threads("ray.data.")
        ray.shutdown()
        claims.cleanup()


def gpu_share(resources: dict[str, float]) -> float:
    """Of a GPU, so that as many work as there are cores; Ray counts in ten-thousandths."""
    return min(1.0, int(1e4 * resources.get("GPU", 0) / resources["CPU"]) / 1e4)


class Numbered:
    """An item's number -> what became of it, or what was raised, in a form that Ray Data carries."""

    def __init__(self, work: Callable, items: Sequence, claims: Path | None):
        self.work, self.items, self.claims = work, items, claims

    def __call__(self, row: dict) -> dict:
        if self.claims is not None and hasattr(os, "sched_setaffinity"):
            keep_to_a_core(self.claims)
        try:
            done = self.work(self.items[row["item"]]), None
        except Exception as error:  # travels, and is raised where the results are read
            done = None, error
        return {"number": row["item"], "done": pickle.dumps(done)}


def keep_to_a_core(claims: Path) -> None:
    """Holds this process on a core that no other has claimed in the folder: where its threads roam over cores that are
    all at work, each waits for the others, a tenth of the time. Where all are claimed it may roam."""
    cores = sorted(os.sched_getaffinity(0))
    for core in cores if len(cores) > 1 else []:
        with suppress(FileExistsError):
            (claims / str(core)).touch(exist_ok=False)
            os.sched_setaffinity(0, {core})
            return


def wait_for_threads(package: str) -> None:
    """Waits, for a while, for the threads that run code of a package: one that speaks to Ray after its shutdown ends
    the whole process, without a word."""
    for thread in threading.enumerate():
        runs = getattr(thread, "_target", None) or type(thread)
        if runs.__module__.startswith(package):
            thread.join(SECONDS_TO_END)


def check_address(address: str) -> None:
    """Raises InputError where nothing listens at HOST:PORT or ray://HOST:PORT; Ray itself tries on for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:  # "auto" and the like: Ray knows
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{address}: no Ray cluster answers there ({error}); start one with `ray start`") from error


def started_ray(workers: int, address: str | None):
    """The module, connected and quiet."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told what is prepared here
    try:
        import ray
        import ray.data
    except ImportError as error:
        mend = "pip install 'emo-portrait[prepare]', or give --workers 1"
        raise InputError(f"several workers need Ray: {mend}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
    if address is not None:
        check_address(address)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except ConnectionError as error:
        raise InputError(f"{address}: no Ray cluster answers there ({error}); start one with `ray start`") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    return ray
