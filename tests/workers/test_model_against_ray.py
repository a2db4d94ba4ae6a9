"""The same trace, run on a real raylet and replayed by the model: the number of workers over time agrees."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import ray

from outlive.workers import Trace, record, simulate
from outlive.workers.settings import Reaper
from tests.workers.conftest import local_ray


@ray.remote
def work(seconds):
    time.sleep(seconds)


BURSTS = [(0.5, 3, 1.0), (7.0, 4, 1.0), (9.3, 2, 0.5), (14.0, 4, 1.0)]
"""Second at which it begins, tasks, seconds that each takes. None begins while the reaper may be at work."""
SECONDS = 18.0


LONG = os.environ.get("OUTLIVE_MODEL") == "long"
REAPERS = [Reaper(200, 2000, 1), *([Reaper(200, 1000, -1), Reaper(200, 500, 0), Reaper(1000, 3000, 2)] if LONG else [])]


ATTEMPTS = 3  # a busy machine starts workers later than the model can know


@pytest.mark.parametrize("reaper", REAPERS, ids=str)
def test_number_of_workers_over_time(tmp_path, reaper):
    for attempt in range(ATTEMPTS):
        real_seconds, model_seconds, apart = run_and_replay(tmp_path / f"trace{attempt}.parquet", reaper)
        if abs(model_seconds - real_seconds) <= 0.10 * real_seconds and apart <= 0.10:
            return
    pytest.fail(f"worker-seconds: real {real_seconds:.1f}, model {model_seconds:.1f}; apart {apart:.3f}")


def run_and_replay(path, reaper):
    """Worker-seconds of the real raylet and of the model, and the area between the two curves as a share."""
    with local_ray(
        4,
        kill_idle_workers_interval_ms=reaper.interval_ms,
        idle_worker_killing_time_threshold_ms=reaper.threshold_ms,
        num_workers_soft_limit=reaper.soft_limit,
    ):
        began = time.monotonic()
        plan, refs = list(BURSTS), []

        def submit(done, total):
            while plan and time.monotonic() - began >= plan[0][0]:
                _, tasks, seconds = plan.pop(0)
                refs.extend(work.remote(seconds) for _ in range(tasks))

        trace = record(SECONDS, every=0.1, progress=submit)
        ray.get(refs)
    trace.write(path)
    trace = Trace.read(path)
    if len(trace.tasks) != sum(tasks for _, tasks, _ in BURSTS):  # Ray drops task events when it is too busy
        return 0.0, 0.0, float(len(trace.tasks))
    outcome = simulate(trace, reaper)
    moments = np.array([sample.time for sample in trace.samples])
    real = np.array([sample.workers for sample in trace.samples])
    model = np.array([outcome.workers_at(moment) for moment in moments])
    steps = np.gradient(moments)
    real_seconds, model_seconds = (real * steps).sum(), (model * steps).sum()
    apart = (np.abs(real - model) * steps).sum() / real_seconds
    print(f"worker-seconds: real {real_seconds:.1f}, model {model_seconds:.1f}; apart {apart:.3f}")
    print(*(f"{t:5.1f} {r} {m}" for t, r, m in zip(moments, real, model, strict=True) if r != m), sep="\n")
    return real_seconds, model_seconds, apart
