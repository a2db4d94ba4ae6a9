"""A small process that returns the leases of the process that started it, if that one is killed.

It reads a line for each lease from standard input (`lease_guard` writes them). It learns that its parent has ended from
the end of that pipe, or, where another process has inherited the pipe, from a look at the parent. This file is run as
a script. It imports Ray only when there is something to return.

The work is done in a child of it. When an actor is ended by `ray.kill`, Ray kills the children of its process too
(`CoreWorker::KillChildProcs`), but not their children.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from typing import Any

_LOOKS = 1.0  # seconds between looks at the parent
_TRIES = 5
_PAUSE = 2.0  # seconds between tries to return a lease
_DYING = 10.0  # seconds that a parent may take to end once its pipe has ended


def go_beside() -> None:
    """Go on in a child. This process waits for it, as its parent asks whether it is there."""
    child = os.fork()
    if child:
        os.close(0)
        os.close(1)
        os.waitpid(child, 0)
        os._exit(0)
    with contextlib.suppress(BrokenPipeError):
        os.write(1, b"\n")  # its parent waits for that
    os.dup2(2, 1)


def begun(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; None if it has ended. See proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in {"Z", "X"} else fields[18]


def watch(parent: int, start: str | None) -> dict[str, dict[str, Any]]:
    """Listen until the parent, which was begun at `start`, has ended; returns the leases that it still held.

    It returns none if the parent lives on and only this pipe has ended: then the parent has started another process.
    """
    held: dict[str, dict[str, Any]] = {}
    unread = b""
    while True:
        if select.select([0], [], [], _LOOKS)[0]:
            if not (heard := os.read(0, 1 << 16)):
                break
            *lines, unread = (unread + heard).split(b"\n")
            for entry in map(json.loads, lines):
                held[entry["lease"]] = entry
                if entry.get("returned"):
                    del held[entry["lease"]]
        elif begun(parent) != start:
            return held
    deadline = time.monotonic() + _DYING
    while held and start is not None and begun(parent) == start:
        if time.monotonic() > deadline:
            return {}
        time.sleep(0.05)
    return held


def give_back(held: dict[str, dict[str, Any]]) -> None:
    """Return these leases. A raylet that does not answer is tried again a few times."""
    from outlive.errors import OutliveError
    from outlive.ray_internals import leases

    for _ in range(_TRIES):
        for entry in [*held.values()]:
            try:
                leases.settle(entry)
                del held[entry["lease"]]
            except OutliveError:
                continue
        if not held:
            return
        time.sleep(_PAUSE)


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    number = int(sys.argv[2])
    moment = begun(number) if os.getppid() == number else ""  # "": it has ended already
    go_beside()
    if remaining := watch(number, moment):
        give_back(remaining)
