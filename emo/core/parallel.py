"""Run the same function on many items: in this process, on the cores of this machine, or on a Ray cluster.

torch computes with OpenMP threads. While such a thread waits for the others it spins on its core by default; where
another program uses one of the cores, all wait for the thread that was put aside, and two threads on two cores ran 24
times slower. With OMP_WAIT_POLICY=PASSIVE a waiting thread sleeps. Commands call `set_passive_waiting` first. Users of
the library set the variable in their shell, or call it before they import torch:

    from emo.core.parallel import set_passive_waiting
    set_passive_waiting()
    import torch
"""

import logging
import os
import pickle
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from emo.core.errors import InputError

SECONDS_TO_ANSWER, SECONDS_TO_END = 10, 30
MAX_TRIES = 2  # of work whose process is killed
PROCESS_ENDED = "was killed or crashed twice (too little memory? then take fewer workers)"
Item = TypeVar("Item")
Result = TypeVar("Result")
# The OpenMP runtimes of torch's wheels: GNU's (Linux) reads the first, LLVM's and Intel's (macOS, Windows) both
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def compute_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items, and compute the next one in a thread while one is used.

    Args:
        items: None of them is None; it is used by one thread at a time.

    Yields:
        The items, in their order; their exceptions are raised here.
    """
    with ThreadPoolExecutor(1, "emo-ahead") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def map_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, address: str | None = None, gpus: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Yield every item with its result, in the order in which they are finished.

    Args:
        work: Function of one item; its exceptions are raised here.
        items: Arguments of the calls.
        workers: Number of processes, each on one core. With one, the work is done in this process.
        address: A running Ray cluster ("auto", "ray://HOST:10001") whose machines see the same folders; the cluster
            decides how many processes work at a time.
        gpus: Give each process its share of the GPUs, which Ray hides from them otherwise.

    Yields:
        (item, result).

    Raises:
        InputError: Ray is not installed, or no cluster answers.
        LostWorkError: Processes were killed or crashed over some items, each of which was tried twice; it comes after
            the results of all others.
    """
    if address is None and min(workers, len(items)) <= 1:
        yield from ((item, work(item)) for item in items)
        return
    ray, claims = start_ray(workers, address), TemporaryDirectory()
    try:
        numbers = ray.data.from_items(list(range(len(items))), override_num_blocks=len(items))
        share = gpus_per_worker(ray.cluster_resources()) if gpus else 0.0
        tries = ray.remote(num_cpus=0)(Tries).remote()
        numbered = NumberedWork(work, items, Path(claims.name) if address is None else None, tries)
        lost = []
        with closing(iter(numbers.map(numbered, num_cpus=1, num_gpus=share or None).iter_rows())) as rows:
            for row in rows:
                if not row["done"]:
                    lost.append(items[row["number"]])
                    continue
                result, error = pickle.loads(row["done"])
                if error is not None:
                    raise error
                yield items[row["number"]], result
        if lost:
            raise LostWorkError(lost)
    finally:
        join_threads("ray.data.")
        ray.shutdown()
        claims.cleanup()


def gpus_per_worker(resources: dict[str, float]) -> float:
    """Compute the part of a GPU for each process when there is one process a core; Ray counts in ten-thousandths.

    Args:
        resources: Ray's resources by name, with CPU and perhaps GPU.

    Returns:
        GPUs; 0 without any.
    """
    return min(1.0, int(1e4 * resources.get("GPU", 0) / resources["CPU"]) / 1e4)


class LostWorkError(InputError):
    """Processes ended while they worked.

    Args:
        items: What they worked on.
    """

    def __init__(self, items: list):
        super().__init__(f"a process {PROCESS_ENDED}, in {len(items)} of the tasks; the same command tries them again")
        self.items = items


class Tries:
    """Counts how often the work on each item was begun, as Ray does not: it begins killed work anew without end."""

    def __init__(self):
        self._counts = Counter()

    def begin(self, number: int) -> int:
        """Count one more try of an item; returns how many there are."""
        self._counts[number] += 1
        return self._counts[number]


class NumberedWork:
    """The work on an item given by its number; returns the result or the error in a form that Ray Data transports.

    It is done in the folder in which the command was called, so that relative paths name the same files; on a machine
    without this folder absolute ones alone do.
    """

    def __init__(self, work: Callable, items: Sequence, claims: Path | None, tries):
        self.work, self.items, self.claims, self.tries = work, items, claims, tries
        self.folder = Path.cwd()

    def __call__(self, row: dict) -> dict:
        import ray

        [count] = ray.get([self.tries.begin.remote(row["item"])])
        if count > MAX_TRIES:
            return {"number": row["item"], "done": b""}  # its process was killed each time
        with suppress(OSError):
            os.chdir(self.folder)
        if self.claims is not None and hasattr(os, "sched_setaffinity"):
            pin_to_free_core(self.claims)
        try:
            done = self.work(self.items[row["item"]]), None
        except Exception as error:  # is raised by `map_parallel`
            done = None, error
        return {"number": row["item"], "done": pickle.dumps(done)}


def pin_to_free_core(claims: Path) -> None:
    """Bind this process to a core that no other process has claimed in the folder; without a free core do nothing.

    Where the threads of several processes move between busy cores, a tenth of the time is spent waiting.
    """
    cores = sorted(os.sched_getaffinity(0))
    for core in cores if len(cores) > 1 else []:
        with suppress(FileExistsError):
            (claims / str(core)).touch(exist_ok=False)
            os.sched_setaffinity(0, {core})
            return


def join_threads(package: str) -> None:
    """Wait, at most SECONDS_TO_END, for each thread that runs code of a package.

    A thread that calls Ray after its shutdown ends the whole process without a message.
    """
    for thread in threading.enumerate():
        runs = getattr(thread, "_target", None) or type(thread)
        if runs.__module__.startswith(package):
            thread.join(SECONDS_TO_END)


def check_address(address: str) -> None:
    """Check that something listens at an address; Ray itself would retry for minutes.

    Raises:
        InputError: Nothing listens at HOST:PORT or ray://HOST:PORT.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:  # "auto" and others that Ray resolves
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{address}: no Ray cluster runs there ({error}); start one with `ray start`") from error


def start_ray(workers: int, address: str | None):
    """Import Ray and connect it, without progress bars and log lines.

    Args:
        workers: Number of processes on this machine, where `address` is None.
        address: Address of a running cluster; None: start Ray on this machine.

    Returns:
        The module `ray`.

    Raises:
        InputError: Ray is not installed, or no cluster runs at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
    try:
        import ray
        import ray.data
    except ImportError as error:
        fix = "pip install 'emo-portrait[prepare]', or give workers=1"
        raise InputError(f"several workers need Ray: {fix}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
    if address is not None:
        check_address(address)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except ConnectionError as error:
        raise InputError(f"{address}: no Ray cluster runs there ({error}); start one with `ray start`") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    return ray


def set_passive_waiting() -> bool:
    """Make OpenMP's threads sleep while they wait, in this process and in those it starts.

    What the user has set in the environment stays, also where it is another of the variables that say the same
    (GOMP_SPINCOUNT).

    Returns:
        Whether it takes effect in this process: False where torch has been imported already.
    """
    if not {"OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ.update(PASSIVE)
    return "torch" not in sys.modules
