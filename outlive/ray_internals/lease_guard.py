"""The leases that this process holds, told to a small process that returns them if this one is killed.

A lease is in the name of its job's driver, which lives on, so its raylet would wait for ever: the worker looks idle, no
task gets it, and it keeps its node. So the small process (`lease_returner`) is told of each lease before it is asked
for, and again when it has been returned.
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
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""The facts of one lease: `lease` (its id, in hex), `raylet`, `worker`, `worker_id`, `port`, `asked`."""

_RETURNER = Path(__file__).with_name("lease_returner.py")
_LONGEST_START = 30.0  # seconds; it takes 0.1 s, longer on a loaded machine
_LONGEST_END = 1.0  # seconds that the small process may take to end


class LeaseGuard:
    """The parent's side. The process starts with the first lease, and ends with this process."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self._end)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Entry] = {}
        self._left: dict[str, Entry] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def _after_fork(self) -> None:
        """In a forked child: it holds none of its parent's leases, and must not keep the parent's pipe open."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.returncode = 0  # the small process is the parent's child, not this one's
        self._reset()

    def _end(self) -> None:
        if self._held:
            return  # the pipe ends with this process, which may take long; they are returned then
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LONGEST_END)

    def about_to_take(self, lease: bytes, raylet: str) -> None:
        """Note a lease before that raylet is asked for it, in the name of a driver that lives on.

        Raises
        ------
        OSError
            The process beside this one cannot be started.
        """
        with self._lock:
            self._held[lease.hex()] = entry = {"lease": lease.hex(), "raylet": raylet}
            try:
                self._send(entry)
            except BaseException:
                del self._held[lease.hex()]  # it is not asked for
                raise

    def learn(self, lease: bytes, **known: Any) -> None:
        """Note more facts of a lease."""
        with self._lock, contextlib.suppress(OSError):  # the first facts are enough to return it
            if (entry := self._held.get(lease.hex())) is not None:
                entry.update(known)
                self._send(entry)

    def returned(self, lease: bytes) -> None:
        """Note that a lease is returned."""
        with self._lock, contextlib.suppress(OSError):
            if self._held.pop(lease.hex(), None) is not None:
                self._send({"lease": lease.hex(), "returned": True})

    def leave(self, entry: Entry) -> None:
        """Note a lease that could not be returned, or that may be granted late, for whoever calls `claim_left`.

        The process beside this one need not know of it, if it ends with this process.
        """
        with self._lock:
            known = self._left.get(entry["lease"]) or self._held.get(entry["lease"]) or {}
            self._left[entry["lease"]] = {**known, **entry}

    def claim_left(self) -> list[Entry]:
        """The facts of the leases that were left. Each is given to one caller, who returns it or leaves it again."""
        with self._lock:
            entries, self._left = list(self._left.values()), {}
        return entries

    def _send(self, entry: Entry) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._write(entry)
                return
        command = [sys.executable, str(_RETURNER), json.dumps(sys.path), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - a file of this package
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach it
        )
        self._wait_until_beside(self._process)
        for one in self._held.values():
            self._write(one)

    def _wait_until_beside(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it is out of reach of `ray.kill`, which it tells by one byte: no lease is asked for before."""
        assert process.stdout is not None
        with process.stdout as told:
            poll = select.poll()
            poll.register(told, select.POLLIN)
            poll.poll(1000 * _LONGEST_START)

    def _write(self, entry: Entry) -> None:
        """Write one line. It is shorter than PIPE_BUF, so it is written as a whole or not at all."""
        assert self._process is not None and self._process.stdin is not None
        os.write(self._process.stdin.fileno(), json.dumps(entry).encode() + b"\n")
