"""A worker leaves after the task that took it over a limit; options stay, and a limit that cannot be is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import ray
import ray._private.worker as _worker

import outlive
from outlive.errors import BadSetting
from outlive.workers import inspect, recycle, recycling
from tests.conftest import eventually
from tests.workers.conftest import kinds, local_ray, row, worker_when


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    """One task at a time, so that all of them go to the same worker until it leaves."""
    with local_ray(1, kill_idle_workers_interval_ms=0):
        yield


def leak(size):
    import builtins

    builtins.leak = [*getattr(builtins, "leak", []), np.ones(size >> 3)]


def test_the_worker_leaves_after_the_task_that_took_it_over_the_limit():
    @recycle(max_memory="200MiB")
    @ray.remote(max_retries=0)
    def leaky():
        leak(64 << 20)
        return os.getpid()

    pids = [ray.get(leaky.remote()) for _ in range(9)]
    changes = [pids.count(pid) for pid in dict.fromkeys(pids)]
    assert max(changes) <= 3
    assert changes[0] >= 2  # it did not leave before it had to
    eventually(lambda: not {pid for pid in pids if row(pid) is not None} - {pids[-1]})


def test_a_worker_leaves_when_it_is_old():
    @recycle(max_age="1ms", jitter=0)
    @ray.remote(max_retries=0)
    def young():
        return os.getpid()

    assert len({ray.get(young.remote()) for _ in range(3)}) == 3


def test_a_worker_that_has_not_reached_its_limits_stays():
    @recycle(max_memory="10GiB", max_age="1h")
    @ray.remote
    def calm():
        return os.getpid()

    assert len({ray.get(calm.remote()) for _ in range(5)}) == 1


def test_it_leaves_also_when_the_task_raises():
    @recycle(max_age="1ms", jitter=0)
    @ray.remote(max_retries=0)
    def fails():
        raise ValueError(os.getpid())

    pids = set()
    for _ in range(3):
        with pytest.raises(ValueError, match=r"\d+") as caught:
            ray.get(fails.remote())
        pids.add(str(caught.value.cause))
    assert len(pids) == 3


def test_generators():
    @recycle(max_age="1ms", jitter=0)
    @ray.remote(max_retries=0)
    def count(number):
        for i in range(number):
            yield i, os.getpid()

    runs = [[ray.get(ref) for ref in count.remote(3)] for _ in range(2)]
    assert [[i for i, _ in run] for run in runs] == [[0, 1, 2]] * 2
    assert len({pid for run in runs for _, pid in run}) == 2


def test_options_are_kept():
    @recycle(max_memory="10GiB")
    @ray.remote(num_returns=2, max_calls=1)
    def both(a, *, b=2):
        """Says so."""
        return a, os.getpid() if b else None

    one, pid = ray.get(both.remote(1))
    assert one == 1
    assert ray.get(both.remote(1))[1] != pid  # its own max_calls still holds
    assert both._function.__doc__ == "Says so."
    assert ray.get(both.options(name="x", num_returns=2).remote(a=3, b=0)) == [3, None]


def new_worker():
    """The next task is the first of its worker."""

    @ray.remote(max_calls=1)
    def last():
        return None

    ray.get(last.remote())


def test_a_limit_below_a_bare_worker_is_not_applied_and_fails_no_task():
    @recycle(max_memory="1MiB")
    @ray.remote(max_retries=0)
    def small():
        return os.getpid()

    new_worker()
    assert len({ray.get(small.remote()) for _ in range(3)}) == 1


def test_it_is_logged_with_what_a_bare_worker_has(caplog):
    limits = recycling.Limits(1 << 20, 3600, 0.1)
    for _ in range(2):
        assert recycling._that_can_hold(limits, recycling._AtFirst(50 << 20)).max_memory is None
    (message,) = caplog.messages
    assert message == (
        "recycle(max_memory='1.0 MiB') is not applied: it is below the 50.0 MiB that a worker has here before "
        "its first task. Set it to 100.0 MiB or more"
    )
    assert recycling._that_can_hold(limits, recycling._AtFirst()) is limits


def test_a_large_argument_of_the_first_task_is_no_bare_worker():
    @recycle(max_memory="200MiB")
    @ray.remote(max_retries=0)
    def length(rows):
        return len(rows)

    rows = ray.put([bytes(1000) + str(i).encode() for i in range(250_000)])  # a list: no view of Ray's memory
    for _ in range(3):
        new_worker()
        assert ray.get(length.remote(rows)) == 250_000


def test_a_gcs_that_stalls_neither_replaces_nor_delays_the_result(tmp_path):
    @recycle(max_age="1ms", jitter=0)
    @ray.remote(max_retries=0)
    def own(path):
        import builtins
        import time

        builtins.owned = ray.put(1)
        open(f"{path}/started", "w").close()
        while not os.path.exists(f"{path}/go"):
            time.sleep(0.01)
        return "result"

    task = own.remote(str(tmp_path))
    eventually(lambda: (tmp_path / "started").exists())
    (gcs,) = [one for one in psutil.Process().children(recursive=True) if one.name() == "gcs_server"]
    gcs.suspend()
    try:
        (tmp_path / "go").touch()
        assert ray.get(task, timeout=60) == "result"
    finally:
        gcs.resume()


@pytest.mark.parametrize("problem", [OSError("no /proc"), MemoryError(), RuntimeError("Ray did otherwise")])
def test_whatever_fails_in_recycling_is_logged_and_the_outcome_goes_out(problem, monkeypatch, caplog):
    def fail():
        raise problem

    def work(number):
        if number < 0:
            raise ValueError(number)
        return number

    def steps(number):
        yield number
        return work(number)

    monkeypatch.setattr(recycling.functions, "in_pooled_worker", lambda: True)
    monkeypatch.setattr(recycling, "_age", fail)
    limits = recycling.Limits(None, 1, 0)
    assert recycling._limited(work, limits)(1) == 1
    with pytest.raises(ValueError, match="-1"):
        recycling._limited(work, limits)(-1)
    assert list(recycling._limited(steps, limits)(1)) == [1]
    assert caplog.messages == ["this worker could not be recycled, and stays"] * 3


def test_a_worker_that_others_made_large_is_leaves():
    @ray.remote
    def large():
        leak(300 << 20)
        return os.getpid()

    @recycle(max_memory="200MiB")
    @ray.remote(max_retries=0)
    def small():
        return os.getpid()

    pid = ray.get(large.remote())
    assert ray.get(small.remote()) == pid
    assert ray.get(small.remote()) != pid


def test_one_that_owns_objects_takes_no_more_tasks_and_says_why_it_stays():
    @recycle(max_age="1ms", jitter=0)
    @ray.remote(max_retries=0)
    def own():
        return os.getpid(), [ray.put(np.ones(1 << 17))]

    pid, refs = ray.get(own.remote())
    assert ray.get(own.remote())[0] != pid
    worker = worker_when(pid, lambda worker: worker.state == "leaving")
    assert kinds(worker) == ["owns objects, max_calls spent"]
    assert "recycle(max_age=1 ms)" in worker.why
    assert _worker.global_worker.gcs_client.internal_kv_keys(b"leaving:", b"outlive-workers", timeout=10) == []
    assert ray.get(refs[0]).shape == (1 << 17,)
    del refs
    eventually(lambda: pid not in {worker.pid for worker in inspect().workers})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to recycle by"),
        ({"max_memory": "much"}, "not a size"),
        ({"max_age": "long"}, "no length"),
        ({"max_age": 1, "jitter": 2}, "0 to 1"),
    ],
)
def test_bad_limits(options, message):
    with pytest.raises(BadSetting, match=message):
        recycle(**options)


@pytest.mark.parametrize("thing", [len, 3, ray.remote(type("Actor", (), {}))])
def test_only_remote_functions(thing):
    with pytest.raises(TypeError, match="above @ray.remote"):
        outlive.workers.recycle(max_age=1)(thing)


def test_called_directly_in_the_driver_it_is_left_alone(monkeypatch):
    @recycle(max_age="1ms")
    @ray.remote
    def function():
        return os.getpid()

    assert function._function() == os.getpid()
