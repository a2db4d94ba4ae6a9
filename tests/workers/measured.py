"""Loads on a real raylet, recorded, and how far the model is from them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from outlive.ray_internals import node_workers
from outlive.workers import Trace, record, simulate
from outlive.workers.settings import Reaper
from tests.workers.conftest import local_ray

LOADS = {
    "poisson": [("poisson", 5)],
    "bursts": [("bursts", 5)],
    "nested": [("nested", 5)],
    "fractional": [("fractional", 5)],
    "actors": [("actors", 5)],
    "jobs": [("bursts", 1), ("poisson", 2)],
    "environments": [("environments", 5)],
}
"""By name: the drivers of the load, as kind and seed of `loads.py`."""
REAPERS = [Reaper(200, 1000, -1), Reaper(200, 500, 0), Reaper(1000, 3000, 2)]
FOLDER = Path(__file__).parent / "traces"
LATE = 0.6
"""Seconds. The machine did other work if a sample, or a worker's start beside the others, was later than this."""
_AFTER = 3.0  # seconds, in which the workers of a job that has ended leave


ATTEMPTS = 3  # to measure; what was measured is judged once


class NoMeasurement(Exception):
    """Ray gave none, or the machine was too busy for one."""


def attempted(measure: Callable[[], Trace]) -> Trace:
    """A measurement; asked for again if there was none. On a machine that is busy throughout nothing can be said."""
    missing = ""
    for _ in range(ATTEMPTS):
        try:
            return measure()
        except NoMeasurement as reason:
            missing = str(reason)
    pytest.skip(f"not measured in {ATTEMPTS} attempts: {missing}")


class Apart(NamedTuple):
    """The model beside the raylet."""

    seconds: float
    """Worker-seconds of the model, as a share of the raylet's, less 1."""
    area: float
    """Between the two curves, as a share of the raylet's worker-seconds."""


def path_of(kind: str, reaper: Reaper) -> Path:
    """Of the trace that is kept."""
    return FOLDER / f"{kind}-{reaper.interval_ms}-{reaper.threshold_ms}-{reaper.soft_limit}.parquet"


def measure(kind: str, reaper: Reaper) -> Trace:
    """Run a load on a real raylet with these settings."""
    with local_ray(
        4,
        kill_idle_workers_interval_ms=reaper.interval_ms,
        idle_worker_killing_time_threshold_ms=reaper.threshold_ms,
        num_workers_soft_limit=reaper.soft_limit,
    ) as address:
        import ray

        drivers = [_driver(address, name, seed) for name, seed in LOADS[kind]]
        ended: list[float] = []

        def watch(done: float, total: float) -> None:
            if done < 0.5:
                return
            for driver in drivers:
                if driver.stdin is not None and not driver.stdin.closed:
                    driver.stdin.write("go\n")
                    driver.stdin.close()
            if not ended and all(driver.poll() is not None for driver in drivers):
                ended.append(time.monotonic())

        def over() -> bool:
            return bool(ended) and time.monotonic() > ended[0] + _AFTER

        own = ray.get_runtime_context().get_job_id()
        trace = record(90, every=0.1, progress=watch, stopped=over, leave_out_job=own)
        starts = [seconds for _, seconds in node_workers.start_times().values() if seconds]
    moments = [sample.time for sample in trace.samples]
    late = max(max(np.diff(moments, prepend=0.0)), max(starts, default=0.0) - min(starts, default=0.0))
    if not ended or late > LATE:
        raise NoMeasurement(f"the machine was {late:.1f} s late, or the load did not end")
    return trace


def _driver(address: str, kind: str, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.workers.loads", address, kind, str(seed)]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert "ready" in driver.stdout.readline()
    return driver


def apart(trace: Trace, reaper: Reaper, show: bool = False) -> Apart:
    """How far the model is from what was sampled, by the moment of the reaper's first look that suits best.

    That is not known, and with an interval of a second it makes a difference of a second to each worker that leaves.
    """
    interval = reaper.interval_ms / 1000
    return min((_apart(trace, reaper, show, interval * i / 8) for i in range(1, 9)), key=lambda one: one.area)


def _apart(trace: Trace, reaper: Reaper, show: bool, first_pass: float) -> Apart:
    moments = np.array([sample.time for sample in trace.samples])
    real = np.array([sample.workers for sample in trace.samples])
    outcome = simulate(trace, reaper, first_pass)
    model = np.array([outcome.workers_at(moment) for moment in moments])
    steps = np.gradient(moments)
    whole = (real * steps).sum()
    if show:
        print(*(f"{t:5.1f} {r} {m}" for t, r, m in zip(moments, real, model, strict=True) if r != m), sep="\n")
    return Apart(float((model * steps).sum() / whole - 1), float((np.abs(real - model) * steps).sum() / whole))


def small(trace: Trace) -> Trace:
    """The same, in a file of a third of the size."""
    (facts,) = trace.nodes
    return replace(
        trace,
        nodes=(replace(facts, node="n"),),
        tasks=tuple(replace(task, node="n") for task in trace.tasks),
        samples=tuple(replace(one, node="n", time=round(one.time, 3), unique=0) for one in trace.samples),
    )


def main(limit: str = "900") -> None:
    """Measure what is not kept yet, for this many seconds. Delete a trace to have it measured anew."""
    FOLDER.mkdir(exist_ok=True)
    began = time.monotonic()
    for reaper in REAPERS:
        for kind in LOADS:
            path = path_of(kind, reaper)
            if path.exists() or time.monotonic() - began > float(limit):
                continue
            try:
                trace = measure(kind, reaper)
            except NoMeasurement as reason:
                print(kind, reaper, reason, flush=True)
                continue
            small(trace).write(path)
            print(kind, reaper, len(trace.tasks), "tasks", apart(trace, reaper), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
