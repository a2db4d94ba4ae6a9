"""Run as a program: `make test` again and again beside busy processes, which no promise of outlive may depend on.

`python -m tests.busy --help` says how often, and beside how many.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.busy")
    parser.add_argument("--runs", type=int, default=10, help="how often (10)")
    parser.add_argument("--busy", type=int, default=4, help="processes that compute all the time (4)")
    parser.add_argument("--logs", type=Path, default=Path("busy"), help="the folder for what each run printed (busy)")
    parser.add_argument("pytest", nargs="*", help="more options for pytest")
    options = parser.parse_args()
    options.logs.mkdir(parents=True, exist_ok=True)
    asked = [os.environ.get("PYTEST_ADDOPTS", ""), shlex.join(options.pytest)]
    env = {**os.environ, "PYTEST_ADDOPTS": " ".join(filter(None, asked))}
    failed = 0
    with busy_processes(options.busy):
        for number in range(1, options.runs + 1):
            log = options.logs / f"{number}.log"
            began = time.monotonic()
            with log.open("w") as file:
                done = subprocess.run(["make", "test"], stdout=file, stderr=subprocess.STDOUT, check=False, env=env)
            code = done.returncode
            results = [line for line in log.read_text().splitlines() if line.startswith("=")]
            last = (results or ["pytest printed no result"])[-1].strip("= ")
            load = os.getloadavg()[0]
            print(f"run {number}: exit {code}, {last}; {time.monotonic() - began:.0f} s, load {load:.0f}", flush=True)
            failed += code != 0
    print(f"{failed} of {options.runs} runs failed beside {options.busy} busy processes; see {options.logs}")
    return 1 if failed else 0


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes compute until the block ends. They end with this process, however it ends.

    They are a session of their own, as what another user runs in another terminal: Linux shares the processors first
    between sessions, then between their processes (`/proc/sys/kernel/sched_autogroup_enabled`).
    """
    first = multiprocessing.Process(target=_another_session, args=(os.getpid(), count))
    first.start()
    try:
        yield
    finally:
        first.kill()  # the others see it
        first.join()


def _another_session(parent: int, count: int) -> None:
    os.setsid()
    others = [multiprocessing.Process(target=_compute, args=(os.getpid(),), daemon=True) for _ in range(count - 1)]
    for process in others:
        process.start()
    _compute(parent)
    for process in others:  # which see only whether this one is there
        process.kill()


def _compute(parent: int) -> None:
    while os.getppid() == parent:
        sum(number * number for number in range(1_000_000))


if __name__ == "__main__":
    sys.exit(main())
