"""Work that is spread over processes ends as if one had done it."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from emo.core.errors import InputError, OutputError
from emo.core.parallel import LostWorkError, check_address, compute_ahead, gpus_per_worker, join_threads, map_parallel


@pytest.fixture(autouse=True)
def alone(tmp_path_factory):
    """One of these at a time, whatever process runs it: a cluster on this machine is seen by all who ask for one."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        yield


def squared(number: int) -> tuple[int, int]:
    if number < 0:
        raise OutputError(f"{number} is below nothing")
    return number**2, os.getpid()


def test_one_worker_is_this_process():
    assert list(map_parallel(squared, [1, 2, 3], 1)) == [(n, (n * n, os.getpid())) for n in (1, 2, 3)]


def test_several_workers_do_each_item_once_and_errors_come_through():
    found = sorted(map_parallel(squared, list(range(6)), 2))
    assert [(n, result[0]) for n, result in found] == [(n, n * n) for n in range(6)]
    assert os.getpid() not in {result[1] for _, result in found}
    with pytest.raises(OutputError, match="-3 is below nothing"):
        list(map_parallel(squared, [1, -3], 2))


def killed_at(number: int) -> int:
    """Once with 1, always with 2."""
    first = Path(os.environ["EMO_TEST_KILLED"])
    if number == 2 or number == 1 and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.skipif(os.name == "nt", reason="has no SIGKILL")
def test_killed_processes_cost_their_own_items_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("EMO_TEST_KILLED", str(tmp_path / "killed"))
    found = []
    with pytest.raises(LostWorkError, match="^a process was killed or crashed twice .* in 1 of the tasks") as caught:
        for item, _ in map_parallel(killed_at, [0, 1, 2, 3], 2):
            found.append(item)
    assert sorted(found) == [0, 1, 3] and caught.value.items == [2]


def test_threads_of_a_package_are_waited_for_and_no_others():
    asked, may_end = [], threading.Event()

    def start(module: str) -> threading.Thread:
        def run():
            may_end.wait()

        def join(timeout):
            asked.append(module)
            may_end.set()
            threading.Thread.join(thread, timeout)

        run.__module__ = module
        thread = threading.Thread(target=run, daemon=True)
        thread.join = join
        thread.start()
        return thread

    start("ray_other.one")
    ours = start("ray.data.one")
    join_threads("ray.data.")
    assert asked == ["ray.data.one"] and not ours.is_alive()


def cores_of(number: int) -> tuple[int, set[int]]:
    return os.getpid(), os.sched_getaffinity(0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no cores can be chosen on this system")
def test_each_worker_keeps_to_a_core_of_its_own():
    cores = dict(result for _, result in map_parallel(cores_of, list(range(6)), 2))
    assert all(len(those) == 1 for those in cores.values())
    assert len(set.union(*cores.values())) == min(len(cores), len(os.sched_getaffinity(0)))


def test_all_cores_share_the_gpus():
    assert gpus_per_worker({"CPU": 16.0}) == 0 and gpus_per_worker({"CPU": 16.0, "GPU": 1.0}) == 0.0625
    assert gpus_per_worker({"CPU": 3.0, "GPU": 1.0}) * 3 <= 1 and gpus_per_worker({"CPU": 2.0, "GPU": 8.0}) == 1


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_named_at_once(scheme):
    with socket.socket() as taken:  # bound, not listening: nobody else's port
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"^{address}: no Ray cluster runs there"):
            list(map_parallel(squared, [1], 1, address))
    with pytest.raises(InputError, match="no Ray cluster runs there"):
        check_address(f"{scheme}localhost:six")


def test_no_cluster_and_no_ray_are_said_in_one_line(monkeypatch):
    with pytest.raises(InputError, match="auto: no Ray cluster runs there"):
        list(map_parallel(squared, [1], 1, "auto"))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match="several workers need Ray: pip install"):
        list(map_parallel(squared, [1, 2], 2))


def wait_policy(number: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_WAIT_POLICY")


def test_workers_inherit_how_threads_wait(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    found = [result for _, result in map_parallel(wait_policy, list(range(2)), 2)]
    assert {policy for _, policy in found} == {"PASSIVE"} and os.getpid() not in {pid for pid, _ in found}


def test_the_next_item_is_computed_while_one_is_used():
    used, computed = threading.Event(), []

    def items():
        for number in range(3):
            computed.append(number)
            if number == 1:
                used.set()
            yield number
        raise ValueError("the end")

    made = compute_ahead(items())
    assert next(made) == 0 and used.wait(30)  # the second one comes though nobody asked for it
    assert next(made) == 1 and next(made) == 2 and computed == [0, 1, 2]
    with pytest.raises(ValueError, match="the end"):
        next(made)
    assert list(compute_ahead(iter("abc"))) == ["a", "b", "c"] and list(compute_ahead(iter(()))) == []
