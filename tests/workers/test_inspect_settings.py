"""The reasons that Ray's settings make, each on a Ray that is set so."""

from __future__ import annotations

import os

import pytest
import ray

from outlive.workers import inspect, keep_trim
from tests.conftest import eventually
from tests.workers.conftest import kinds, local_ray, pid_of_worker, worker_when

SETTINGS = {
    "reaper off": {"kill_idle_workers_interval_ms": 0},
    "below threshold": {"idle_worker_killing_time_threshold_ms": 3_600_000},
    "due": {"kill_idle_workers_interval_ms": 3_600_000, "num_workers_soft_limit": 0},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_reasons_that_settings_make(kind):
    with local_ray(2, **SETTINGS[kind]):
        pid = ray.get(pid_of_worker.remote())
        worker = worker_when(pid, lambda worker: worker.state == "idle" and kinds(worker) == [kind])
        assert worker.retirable
        (node,) = inspect().nodes
        values = {setting.name: (setting.value, setting.source) for setting in node.settings}
        for name, value in SETTINGS[kind].items():
            assert values[name] == (value, "system-config")


def test_workers_that_ray_was_asked_to_keep_are_not_said_to_go():
    """`min_idle` starts them with a time for which the reaper leaves them alone: no soft limit counts them."""
    with local_ray(1), keep_trim(min_idle=3, max_idle=5, every="1s"):
        started = eventually(lambda: [one for one in inspect().workers if kinds(one) == ["started ahead"]])
        assert {(one.tasks, one.state, one.retirable) for one in started} == {(0, "idle", True)}
        assert "min_idle" in started[0].why


def test_two_functions_of_one_name_do_not_spend_a_worker_together():
    def made(tag):
        @ray.remote(max_calls=4)
        def process():
            return tag, os.getpid()

        return process

    with local_ray(1, kill_idle_workers_interval_ms=0):
        one, other = made("one"), made("other")
        pids = {ray.get(function.remote())[1] for function in (one, other, one, other)}
        (pid,) = pids
        worker = worker_when(pid, lambda worker: worker.idle_for is not None and worker.tasks == 4)
        assert (worker.state, kinds(worker)) == ("idle", ["reaper off"])
        assert ray.get(one.remote()) == ("one", pid)
