"""A guard's processor time and memory beside 64 real workers of one node, each of which has leaked."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from benchmarks.cluster import MIB, environment
from benchmarks.line import Line, at_most
from benchmarks.rows.guard import ASKED, EVERY, SHARE
from outlive.workers import Policy, change_guard, guard, guard_state, stop_guard
from outlive.workers.guard_record import GuardState

NAME = "guard-real"
ABOUT = "processor time and memory of a guard beside 64 real workers that keep 100 MB each"
_LEAK = 60 * MIB  # beside what a worker has by its imports


def run(quick: bool) -> list[Line]:
    workers, looks, every = (4, 3, 1.0) if quick else (64, 9, EVERY)
    what, state = f"processor time of a guard, {workers} real workers", f"one node, a look every {every:g} s"
    with _cluster(workers), tempfile.TemporaryDirectory() as folder:
        _work(workers, Path(folder), _LEAK)
        other: Any = _Other.options(num_cpus=0).remote()
        pid = ray.get(other.pid.remote())
        guard(Policy(max_idle=workers, every=every))
        idle, idle_other, memory, memory_other = _measured(looks, pid)
        change_guard(max_memory="1GiB")
        working, working_other, *_ = _measured((looks + 1) // 2, pid, lambda: _work(workers, Path(folder)))
        done = _state()
        assert done.let_go == 0
        stop_guard()
    pause = f"{done.pause:.0f} s from look to look, so that it keeps its share"
    shares = {
        "a bound on their number": (idle, idle_other, ""),
        "a bound on their memory, a task in each before each look": (working, working_other, pause),
    }
    return [
        *(
            at_most(Line(NAME, f"{what}, {bound}", state, mine, others, unit="s per s", note=note), SHARE, ASKED)
            for bound, (mine, others, note) in shares.items()
        ),
        Line(NAME, "unique memory of a guard's process", state, memory, memory_other, unit="B"),
    ]


@contextlib.contextmanager
def _cluster(cpus: int) -> Iterator[None]:
    with environment():
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=100 * MIB,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={
                "kill_idle_workers_interval_ms": 0,  # Ray's own reaper is off
                "prestart_worker_first_driver": False,
                "worker_register_timeout_seconds": 900,  # so many that start at once take minutes on two cores
            },
        )
        try:
            yield
        finally:
            ray.shutdown()


@ray.remote
class _Other:
    """An actor that does nothing: what any actor costs."""

    def pid(self) -> int:
        return os.getpid()


@ray.remote(num_cpus=1, max_retries=0)
def _meet(folder: str, number: int, leak: int) -> None:
    """Ends when as many workers run it."""
    import builtins

    if leak:
        builtins.leaked = np.ones(leak // 8)  # type: ignore[attr-defined]
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < number:
        time.sleep(0.5)


def _work(workers: int, folder: Path, leak: int = 0) -> None:
    """A task in each of so many workers."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        ray.get([_meet.remote(place, workers, leak) for _ in range(workers)])


def _measured(looks: int, other: int, before: Callable[[], None] = lambda: None) -> list[list[float]]:
    """From look to look: the shares of a core that the guard and another process take, and their unique memory."""
    state = _when(_state().looks + 2)  # what it loads and looks at first; a change reports, too
    processes = [psutil.Process(pid) for pid in (state.pid, other)]
    taken, at = [_taken(one) for one in processes], state.reported
    rows = []
    for _ in range(looks):
        before()
        state = _when(state.looks + 1)
        now = [_taken(one) for one in processes]
        shares = [(later - sooner) / (state.reported - at) for later, sooner in zip(now, taken, strict=True)]
        rows.append([*shares, *(float(one.memory_full_info().uss) for one in processes)])
        taken, at = now, state.reported
    return [list(column) for column in zip(*rows, strict=True)]


def _when(looks: int) -> GuardState:
    """The guard's state once it has looked so often."""
    while (state := _state()).looks < looks:
        time.sleep(0.05)
    return state


def _state() -> GuardState:
    state = guard_state()
    assert state is not None
    return state


def _taken(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
