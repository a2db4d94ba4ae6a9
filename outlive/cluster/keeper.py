"""The keeper: the actor that tends one node's shelf.

It is not between anyone and their arrays: processes read and write segments by themselves, and go on while it is away.
It clears away what dead writers leave, computes checksums when the machine has nothing better to do, and answers for
the shelf: to the catalog, to `stats()` and to `check()`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import ray

from outlive.arrays.check import Finding, check_step_by_step, clear_orphans, compute_checksums
from outlive.arrays.info import ArrayInfo
from outlive.arrays.root import default_root, shelf_folder
from outlive.arrays.shelf import Shelf
from outlive.cluster import actors

PROTOCOL = 1  # raised when a keeper or catalog of one version cannot serve programs of another
_ROUNDS_EVERY = 1.0  # seconds
_TELL_EVERY = 0.2  # seconds
_SETTLED_AFTER = 2.0  # seconds until a new array is worth a checksum

_log = logging.getLogger(__name__)


class ShelfStats(NamedTuple):
    """One node's shelf in numbers."""

    node: str
    path: str
    arrays: int  # sealed, with and without key, of all stores
    used: int  # bytes, in whole pages, drafts included
    budget: int  # bytes
    keeper_pid: int
    on_disk: str | None  # why the shelf is a folder on disk, if it is


class Keeper:
    """Runs as the actor `keeper-<node>` in namespace `outlive`."""

    def __init__(self, cluster: str, node: str) -> None:
        self._node = node
        self._root, self._on_disk = default_root()
        self._shelf = Shelf(shelf_folder(self._root, cluster, node))
        self._lock = _lock_file(f"{self._shelf.path}/keeper", actors.START_SECONDS)
        self._shelf.recount()
        self._stop = threading.Event()
        self._rounds = threading.Thread(target=self._make_rounds, name="rounds", daemon=True)
        self._rounds.start()

    def about(self) -> dict[str, Any]:
        """What a process that joins has to agree on."""
        return {"protocol": PROTOCOL, "root": self._root, "pid": os.getpid()}

    def listing(self) -> tuple[int, list[ArrayInfo]]:
        """For a catalog that starts: a new epoch, and then all arrays that have a key."""
        epoch = self._shelf.raise_epoch()
        return epoch, self.listed_here()[1]

    def listed_here(self) -> tuple[str, list[ArrayInfo]]:
        """This node, and the sealed arrays on it that have a key."""
        return self._node, [info for info in self._shelf.scan() if info.key is not None]

    def finish(self, array_ids: list[str], epoch: int) -> list[bool]:
        """Seal drafts that the catalog of `epoch` listed; says of each whether it is sealed now."""
        return [self._shelf.has(array_id) or self._shelf.finish(array_id, epoch) for array_id in array_ids]

    def drop(self, array_ids: list[str]) -> None:
        """Delete arrays. Open views stay valid."""
        for array_id in array_ids:
            self._shelf.delete(array_id)

    def stats(self) -> ShelfStats:
        ledger, arrays = self._shelf.ledger, len(self._shelf.ids())
        return ShelfStats(self._node, self._shelf.path, arrays, ledger.used, ledger.budget, os.getpid(), self._on_disk)

    @ray.method(concurrency_group="check", num_returns="streaming")
    def check(self) -> Iterator[Finding | tuple[int, int]]:
        """Go through the shelf: yields findings, and in between (bytes verified, bytes in all)."""
        told = time.monotonic()
        for item in check_step_by_step(self._shelf, _listed):
            if isinstance(item, Finding) or time.monotonic() > told + _TELL_EVERY:
                told = time.monotonic()
                yield item

    def close(self) -> int:
        """End the rounds and delete every array of this shelf; returns the bytes that were in use."""
        self._stop.set()
        self._rounds.join()
        used = self._shelf.ledger.used
        self._shelf.remove()
        return used

    def _make_rounds(self) -> None:
        if hasattr(os, "SCHED_IDLE"):  # this thread only: it runs when a core has nothing else to do
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        settled = 0
        while not self._stop.wait(_ROUNDS_EVERY):
            try:
                for finding in clear_orphans(self._shelf, _listed):
                    _log.info("%s %s: %s", finding.problem, finding.subject, finding.action)
                changed = os.stat(self._shelf.mem).st_mtime_ns
                if changed != settled:
                    settled = changed if changed < time.time_ns() - _SETTLED_AFTER * 1e9 else 0
                    compute_checksums(self._shelf, older_than=_SETTLED_AFTER, stop=self._stop.is_set)
            except Exception:  # noqa: BLE001 - the rounds go on, whatever one of them met
                if os.path.isdir(self._shelf.path):
                    _log.exception("the rounds on %s failed; they go on", self._shelf.path)
                else:
                    self._stop.set()  # the shelf was removed: its cluster is being shut down


def _listed(array_ids: list[str]) -> set[str]:
    if not array_ids:
        return set()
    result: set[str] = ray.get(actors.catalog().listed.remote(array_ids))
    return result


def _lock_file(path: str, patience: float) -> int:
    """Hold the lock of `path` from now on. One who died but has not quite gone may hold it a moment longer."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"another keeper tends this shelf: it holds {path}") from None
            time.sleep(0.05)
