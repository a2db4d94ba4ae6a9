"""A small process beside the one that takes leases: it returns those that are left when that one is killed.

A lease is in the name of its job's driver, which lives on, so that its raylet waits for ever: the worker looks idle, no
task gets it, and it keeps its node. So each lease is told to this process before it is asked for, and again when it has
been returned. It hears of its parent's end by the end of their pipe, or, where another process has inherited that, by
having another parent. This file is run as a script, so that it imports Ray only when there is something to return.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""What is known of one lease: `lease` (its id, in hex), `raylet`, `worker`, `worker_id`, `port`, `asked`."""

_LOOKS = 1.0  # seconds between looks at who the parent is
_TRIES = 5
_PAUSE = 2.0  # seconds between tries to return a lease


class LeaseGuard:
    """The parent's side. The process starts with the first lease, and ends with this process."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self._end)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Entry] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def _after_fork(self) -> None:
        """What its parent holds is none of a child's, and the pipe is to end with the parent."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.returncode = 0  # it is no child of this process
        self._reset()

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.0 if self._held else _LOOKS)

    def about_to_take(self, lease: bytes, raylet: str) -> None:
        """This lease will be asked for at that raylet, in the name of a driver that lives on.

        Raises
        ------
        OSError
            The process beside this one cannot be started.
        """
        with self._lock:
            self._held[lease.hex()] = entry = {"lease": lease.hex(), "raylet": raylet}
            self._send(entry)

    def learn(self, lease: bytes, **known: Any) -> None:
        """More is known of a lease that was told."""
        with self._lock, contextlib.suppress(OSError):  # it is known well enough to return it
            if (entry := self._held.get(lease.hex())) is not None:
                entry.update(known)
                self._send(entry)

    def returned(self, lease: bytes) -> None:
        """This lease holds nothing any more."""
        with self._lock, contextlib.suppress(OSError):
            if self._held.pop(lease.hex(), None) is not None:
                self._send({"lease": lease.hex(), "returned": True})

    def _send(self, entry: Entry) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._write(entry)
                return
        command = [sys.executable, str(Path(__file__)), json.dumps(sys.path), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        for one in self._held.values():
            self._write(one)

    def _write(self, entry: Entry) -> None:
        """A line is shorter than PIPE_BUF: it is written as a whole, or not at all."""
        assert self._process is not None and self._process.stdin is not None
        os.write(self._process.stdin.fileno(), json.dumps(entry).encode() + b"\n")


def watch(parent: int) -> dict[str, Entry]:
    """Listen until the parent has ended. What it still held then."""
    held: dict[str, Entry] = {}
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


def give_back(held: dict[str, Entry]) -> None:
    """Return these leases; a raylet that does not answer is tried again some times."""
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
    if left := watch(int(sys.argv[2])):
        give_back(left)
