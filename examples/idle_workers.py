"""Idle workers are let go after a burst of tasks: first a look, then a trim.

The tasks of a burst leave their workers idle, each with the memory that its last task left there. Ray keeps as many of
them as there are CPUs. `trim` lets them go without harm: none that runs a task or owns an object. It needs no store.

    pip install outlive
    python examples/idle_workers.py
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray

import outlive.workers

KEPT: list[np.ndarray] = []


@ray.remote(num_cpus=0.5)
def leaky(number: int) -> float:
    """Leaves 50 MB in its process, as a cache does that nobody bounds."""
    KEPT.append(np.ones(50_000_000 // 8))
    time.sleep(0.5)
    return float(KEPT[-1][number])


def idle(job: str) -> list[Any]:
    """The idle workers of a job that ran a task and hold nothing."""
    workers = outlive.workers.inspect().workers
    return [worker for worker in workers if worker.job == job and worker.function and worker.retirable]


def main() -> None:
    if not ray.is_initialized():
        ray.init()
    job = ray.get_runtime_context().get_job_id()
    ray.get([leaky.remote(number) for number in range(4)])

    patience = time.monotonic() + 30  # Ray takes a moment to say so; or a guard has let them go already
    while not (found := idle(job)) and time.monotonic() < patience:
        time.sleep(0.1)
    for worker in found:
        print(f"pid {worker.pid}: {(worker.unique or 0) / 1e6:.0f} MB, after {worker.function}: {worker.why}")
    planned = outlive.workers.trim(max_idle=0, job=job, dry_run=True)
    print(f"a trim would let {len(planned.chosen)} go, and free {planned.freed / 1e6:.0f} MB")

    done = outlive.workers.trim(max_idle=0, job=job)
    for choice in done.chosen:
        print(f"pid {choice.worker.pid}: {choice.outcome}")
    print(f"{sum(choice.left for choice in done.chosen)} have left, {done.freed / 1e6:.0f} MB came back")


if __name__ == "__main__":
    main()
