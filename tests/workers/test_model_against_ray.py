"""The same trace, run on a real raylet and replayed by the model: the number of workers over time agrees."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import ray

from outlive.ray_internals import node_workers
from outlive.workers import Trace, record, simulate
from outlive.workers.settings import Reaper
from outlive.workers.trace import NodeFacts, Sample, Task
from tests.workers.conftest import local_ray
from tests.workers.measured import NoMeasurement, attempted


@ray.remote
def work(seconds):
    time.sleep(seconds)


BURSTS = [(0.5, 3, 1.0), (7.0, 4, 1.0), (9.3, 2, 0.5), (14.0, 4, 1.0)]
"""Second at which it begins, tasks, seconds that each takes. None begins while the reaper may be at work."""
SECONDS = 18.0


LONG = os.environ.get("OUTLIVE_MODEL") == "long"
REAPERS = [Reaper(200, 2000, 1), *([Reaper(200, 1000, -1), Reaper(200, 500, 0), Reaper(1000, 3000, 2)] if LONG else [])]


LATE = 0.5
"""Seconds. The machine did other work if a sample, the end of a task, or a worker's start was later than this."""


@pytest.mark.alone  # beside other tests, the machine is too late at each attempt
@pytest.mark.parametrize("reaper", REAPERS, ids=str)
def test_number_of_workers_over_time(tmp_path, reaper):
    trace = attempted(lambda: run(tmp_path / "trace.parquet", reaper))
    real_seconds, model_seconds, apart = compared(trace, simulate(trace, reaper))
    assert model_seconds == pytest.approx(real_seconds, rel=0.10)
    assert apart <= 0.10


def run(path, reaper):
    """The bursts on a real raylet, recorded."""
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
        starts = [seconds for _, seconds in node_workers.start_times().values() if seconds]
    trace.write(path)
    check(Trace.read(path), starts)
    return Trace.read(path)


def check(trace, starts):
    """Refuse what is no measurement."""
    wanted = sorted(seconds for _, tasks, seconds in BURSTS for _ in range(tasks))
    if len(trace.tasks) != len(wanted):
        raise NoMeasurement(f"Ray told of {len(trace.tasks)} of {len(wanted)} tasks")
    took = sorted(task.end - task.start for task in trace.tasks)
    moments = [sample.time for sample in trace.samples]
    late = max(
        max(real - planned for real, planned in zip(took, wanted, strict=True)),
        max(np.diff(moments, prepend=0.0)),
        max(starts, default=0.0) - min(starts, default=0.0),
    )
    if late > LATE:
        raise NoMeasurement(f"the machine was {late:.1f} s late")


def compared(trace, outcome):
    """Worker-seconds of the real raylet and of the model, and the area between the two curves as a share."""
    moments = np.array([sample.time for sample in trace.samples])
    real = np.array([sample.workers for sample in trace.samples])
    model = np.array([outcome.workers_at(moment) for moment in moments])
    steps = np.gradient(moments)
    real_seconds, model_seconds = (real * steps).sum(), (model * steps).sum()
    apart = (np.abs(real - model) * steps).sum() / real_seconds
    print(f"worker-seconds: real {real_seconds:.1f}, model {model_seconds:.1f}; apart {apart:.3f}")
    print(*(f"{t:5.1f} {r} {m}" for t, r, m in zip(moments, real, model, strict=True) if r != m), sep="\n")
    return real_seconds, model_seconds, apart


def trace_of(tasks, moments=(0.0, 0.1, 0.2)):
    """A trace of these seconds of work."""
    return Trace(
        tuple(Task("n", "01", "", 1.0, 0.0, 0.0, seconds) for seconds in tasks),
        (NodeFacts("n", 4, 0.5, 4, 1 << 20),),
        SECONDS,
        tuple(Sample(moment, "n", 1, 0, 0) for moment in moments),
    )


PLANNED = [seconds for _, tasks, seconds in BURSTS for _ in range(tasks)]


@pytest.mark.parametrize(
    ("trace", "starts", "message"),
    [
        (trace_of([]), [], "told of 0 of"),
        (trace_of(PLANNED[1:]), [], "told of"),
        (trace_of([*PLANNED[:-1], 3.0]), [], "late"),
        (trace_of(PLANNED, (0.0, 0.1, 0.9)), [], "late"),
        (trace_of(PLANNED), [0.5, 1.2], "late"),
    ],
)
def test_what_is_no_measurement_is_neither_a_success_nor_a_failure(trace, starts, message):
    with pytest.raises(NoMeasurement, match=message):
        check(trace, starts)


def test_a_measurement_is_judged():
    trace = trace_of(PLANNED)
    check(trace, [0.5, 0.6])
    real_seconds, model_seconds, apart = compared(trace, simulate(trace, Reaper()))
    assert apart > 0.10
    assert model_seconds != pytest.approx(real_seconds, rel=0.10)
