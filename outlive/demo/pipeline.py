"""The pipeline that both sides run: leaky tasks make volumes and keep them; then processes are killed."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import ray

from outlive.demo.inputs import Volume
from outlive.demo.local_ray import local_ray
from outlive.demo.recipes import Job, make
from outlive.demo.results import Reading, Result, leftover
from outlive.demo.sides import Side
from outlive.demo.watch import Watch, gone, wait_for

Tell = Callable[[str], None]
LEAK = 48 << 20  # bytes that each call leaks, as a careless native library does
CALLS = 2  # calls that a worker may serve until Ray replaces it
STEPS = 7  # that are told, besides one for each job
_QUIET = 3.0  # seconds without a worker coming or going; Ray's reaper takes one second
_PATIENCE = 20.0
_NEWS = 2.0  # seconds for a death to become known; Ray takes about one

_leaked: list[Volume] = []


class Made(NamedTuple):
    """A producer's report of the array that it made."""

    kept: Any
    checksum: str
    nbytes: int
    seconds: float
    pid: int


def run(side: Side, jobs: list[Job], nbytes: int, tell: Tell) -> Result:
    """Run the pipeline on a Ray of its own, kill what there is to kill, and read everything back each time.

    Parameters
    ----------
    nbytes
        Bytes of the largest array.
    tell
        Called when a step begins.
    """
    result = Result(side.name)
    tell(f"{side.name}: starting a private Ray")
    with local_ray(2 * nbytes * (len(jobs) + 2), before_stop=side.stop):
        side.start()
        _warm_up(side)
        with Watch(side.shared) as watch:
            try:
                made = _produce(side, jobs, watch, tell)
                _observe(side, made, watch, result, tell)
                made += _kill_producer(side, made, jobs[0], watch, result, tell)
                _kill_actors(side, made, watch, result, tell)
            finally:
                result.samples, result.events = watch.samples, watch.events
        tell(f"{side.name}: stopping")
    return result


def checksum(volume: Volume) -> str:
    """The checksum of dtype, shape and bytes."""
    about = f"{volume.dtype.str}{volume.shape}".encode()
    return hashlib.sha256(about + b"\0" + np.ascontiguousarray(volume).data.cast("B")).hexdigest()


def produce(side: Side, job: Job) -> Made:
    """Load, derive, leak, keep. Runs as a task."""
    volume = make(job)
    _leaked.append(np.ones(LEAK // 8))
    expected = checksum(volume)
    began = time.perf_counter()
    kept = side.put(volume)
    return Made(kept, expected, volume.nbytes, time.perf_counter() - began, os.getpid())


def produce_and_stay(side: Side, job: Job) -> Iterator[Made]:
    """The same as `produce`, but it never ends. Runs as a task, to be killed."""
    yield produce(side, job)
    threading.Event().wait()


def read_all(side: Side, made: list[Made], watch: Watch) -> Reading:
    """Read each array once, timed, and compare its checksum with its producer's."""
    errors: Counter[str] = Counter()
    seconds = []
    for one in made:
        try:
            with watch.paused():
                began = time.perf_counter()
                volume = side.get(one.kept)
                took = time.perf_counter() - began
        except Exception as error:  # noqa: BLE001  whatever it is, this array cannot be read
            errors[type(error).__name__] += 1
            continue
        seconds.append(took)
        if checksum(volume) != one.checksum:
            errors["other content"] += 1
        del volume  # drop the view, so that the next reading maps the array anew
    return Reading(len(made), len(made) - errors.total(), dict(errors), seconds)


def _spent(made: list[Made]) -> list[int]:
    """The workers that served as many calls as they may."""
    return [pid for pid, calls in Counter(one.pid for one in made).items() if calls >= CALLS]


def _warm_up(side: Side) -> None:
    """Read once without measuring, so that first-time work such as connecting is in no measurement."""
    side.get(side.put(np.zeros(1 << 16)))


def _produce(side: Side, jobs: list[Job], watch: Watch, tell: Tell) -> list[Made]:
    watch.mark("work starts")
    task = ray.remote(max_calls=CALLS)(produce)
    order = [task.remote(side, job) for job in jobs]
    waiting = list(order)
    while waiting:
        tell(f"{side.name}: {len(jobs) - len(waiting)} of {len(jobs)} volumes made")
        _, waiting = ray.wait(waiting)
    made: list[Made] = ray.get(order)
    watch.mark("work done")
    return made


def _observe(side: Side, made: list[Made], watch: Watch, result: Result, tell: Tell) -> None:
    """Read each array for the first time, and count the processes when all is quiet."""
    tell(f"{side.name}: reading all arrays")
    result.readings["work"] = read_all(side, made, watch)
    tell(f"{side.name}: waiting until no worker comes or goes")
    sample, settled = watch.settle(_QUIET, _PATIENCE)
    watch.mark("all quiet")
    result.left = leftover(sample, settled)
    result.puts = [one.seconds for one in made]
    result.nbytes = sum(one.nbytes for one in made)
    spent = _spent(made)
    result.spent, result.spent_left = len(spent), sum(not gone(pid) for pid in spent)


def _kill_producer(side: Side, made: list[Made], job: Job, watch: Watch, result: Result, tell: Tell) -> list[Made]:
    """Kill a producer that is still there, a spent one if possible. If none is, run one more; returns its array."""
    tell(f"{side.name}: killing a producer")
    extra: list[Made] = []
    stream = None
    spent = _spent(made)
    pid = next((pid for pid in [*spent, *(one.pid for one in made)] if not gone(pid)), None)
    if pid is not None:
        result.killed = "a spent worker that had stayed" if pid in spent else "an idle worker that was not spent yet"
    else:
        result.killed = "one started for this, right after its put had returned"
        task: Any = ray.remote(num_returns="streaming", max_retries=0)(produce_and_stay)
        stream = task.remote(side, job)
        extra = [ray.get(next(stream))]
        pid = extra[0].pid
    _kill(pid, "producer", watch)
    time.sleep(_NEWS)
    del stream
    result.readings["producer"] = read_all(side, made + extra, watch)
    return extra


def _kill_actors(side: Side, made: list[Made], watch: Watch, result: Result, tell: Tell) -> None:
    """Kill keeper and catalog, where there are any; read while they are away, and once they are back."""
    keeper = side.keeper_pid()
    tell(f"{side.name}: no keeper to kill" if keeper is None else f"{side.name}: killing the keeper")
    if keeper is not None:
        _kill(keeper, "keeper", watch)
        result.readings["keeper"] = read_all(side, made, watch)
    catalog = next((process.pid for process in watch.look().processes if process.role == "catalog"), None)
    tell(f"{side.name}: no catalog to kill" if catalog is None else f"{side.name}: killing the catalog")
    if catalog is not None:
        _kill(catalog, "catalog", watch)
        result.readings["catalog"] = read_all(side, made, watch)
    if keeper is not None and catalog is not None:
        side.keeper_pid()  # the new keeper and the new catalog answer this
        watch.mark("both are back")
        result.readings["back"] = read_all(side, made, watch)


def _kill(pid: int, what: str, watch: Watch) -> None:
    """Kill a process of the Ray that this demo started, and no other."""
    assert pid in {process.pid for process in watch.look().processes}, f"{what} {pid} is no worker of this Ray"
    os.kill(pid, signal.SIGKILL)
    watch.mark(f"{what} killed")
    if not wait_for(lambda: gone(pid), _PATIENCE):
        raise RuntimeError(f"the {what} (pid {pid}) did not end on SIGKILL")
