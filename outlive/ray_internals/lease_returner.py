"""A small process that returns the leases of the process that started it, if that one is killed.

It reads a line for each lease from standard input (`lease_guard` writes them). It learns that its parent has ended from
the end of that pipe, or, where another process has inherited the pipe, from having another parent. This file is run as
a script. It imports Ray only when there is something to return.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

_LOOKS = 1.0  # seconds between looks at who the parent is
_TRIES = 5
_PAUSE = 2.0  # seconds between tries to return a lease


def watch(parent: int) -> dict[str, dict[str, Any]]:
    """Listen until the parent has ended; returns the leases that it still held."""
    held: dict[str, dict[str, Any]] = {}
    unread = b""
    while True:
        if select.select([0], [], [], _LOOKS)[0]:
            if not (heard := os.read(0, 1 << 16)):
                return held
            *lines, unread = (unread + heard).split(b"\n")
            for entry in map(json.loads, lines):
                held[entry["lease"]] = entry
                if entry.get("returned"):
                    del held[entry["lease"]]
        elif os.getppid() != parent:
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
    if remaining := watch(int(sys.argv[2])):
        give_back(remaining)
