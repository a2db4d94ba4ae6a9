"""The reasons that Ray's settings make, each on a Ray that is set so."""

from __future__ import annotations

import pytest
import ray

from outlive.workers import inspect
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
