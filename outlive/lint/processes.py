"""Several processes that lint one source at a time, until their parent has no more.

parent                                   child
  Job, pickled      --- its stdin --->   lint_one(job)
  Outcome, pickled  <--- its stdout ---
  end of file       --- its stdin --->   exits

A child that loses its parent reads the end of its stdin, and exits.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from outlive.lint.finding import Failure
from outlive.lint.job import Job, Outcome

# The child imports the parent's modules, and none from the current directory: plain `-c` and `-m` would do that.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from outlive.lint.processes import serve; serve()"
_WORTH_ONE = 150_000  # bytes of source: linting them takes as long as starting a process


def wanted(jobs: Sequence[Job]) -> int:
    """The number of processes that are worth their start, including this one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, len(jobs), sum(len(job.data) for job in jobs) // _WORTH_ONE)) if sys.executable else 1


def outcomes(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, Outcome]]:
    """Lint `jobs` in so many processes. Yields the number and the outcome of each job, in the order in which they end.

    A source that kills the process that lints it (LibCST's parser is native code) is a failure of that source alone.
    If the caller stops early, it waits until each process has finished its source: a file is fixed in full or not at
    all.
    """
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Outcome] | BaseException] = queue.SimpleQueue()
    for number in sorted(range(len(jobs)), key=lambda number: -len(jobs[number].data)):  # the longest first
        waiting.put(number)
    for _ in range(processes):
        waiting.put(None)
    stopped = threading.Event()
    threads = [threading.Thread(target=_drive, args=(jobs, waiting, done, stopped)) for _ in range(processes)]
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            one = done.get()
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _drive(
    jobs: Sequence[Job],
    waiting: queue.SimpleQueue[int | None],
    done: queue.SimpleQueue[tuple[int, Outcome] | BaseException],
    stopped: threading.Event,
) -> None:
    """Give one child job after job, and replace it when it dies."""
    child = None
    try:
        while not stopped.is_set() and (number := waiting.get()) is not None:
            child = child or _start()
            try:
                done.put((number, _ask(child, jobs[number])))
            except (OSError, EOFError, pickle.UnpicklingError):
                status, child = _end(child), None
                done.put((number, _died(jobs[number], status)))
    except BaseException as error:  # noqa: BLE001 - raised again, in the caller's thread
        done.put(error)
    finally:
        if child is not None:
            _end(child)


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-c", _START, json.dumps(sys.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ourselves


def _ask(child: subprocess.Popen[bytes], job: Job) -> Outcome:
    assert child.stdin is not None and child.stdout is not None
    pickle.dump(job, child.stdin)
    child.stdin.flush()
    answer: Outcome = pickle.load(child.stdout)  # noqa: S301 - from our own child
    return answer


def _end(child: subprocess.Popen[bytes]) -> int:
    with contextlib.suppress(OSError):
        child.communicate()
    return child.wait()


def _died(job: Job, status: int) -> Outcome:
    why = signal.Signals(-status).name if status < 0 else f"status {status}"
    return Outcome(job.data, failure=Failure(job.name, 0, 0, f"cannot be linted: the process died of it ({why})"))


def serve() -> None:
    """The child: lint jobs until no more come."""
    from outlive.lint.one import lint_one

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and lets this process finish its source
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
            pickle.dump(lint_one(job), sys.stdout.buffer)
            sys.stdout.buffer.flush()
