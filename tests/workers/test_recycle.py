"""A worker leaves after the task that took it over a limit; options stay, and a limit that cannot be is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
import ray

import outlive
from outlive.errors import BadSetting
from outlive.workers import inspect, recycle
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


def test_a_limit_below_a_bare_worker_is_refused_with_what_that_has():
    @recycle(max_memory="1MiB")
    @ray.remote(max_retries=0)
    def never():
        return "ran"

    @ray.remote(max_calls=1)
    def last():
        return None

    ray.get(last.remote())  # the next task is the first of a new worker
    with pytest.raises(BadSetting, match=r"below the \d+\.\d MiB that a worker has"):
        ray.get(never.remote())


def test_a_worker_that_others_made_large_is_not_refused_but_leaves():
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
    assert ray.get(refs[0]).shape == (1 << 17,)
    del refs
    eventually(lambda: pid not in {worker.pid for worker in inspect().workers})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to recycle by"),
        ({"max_memory": "much"}, "no size"),
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
