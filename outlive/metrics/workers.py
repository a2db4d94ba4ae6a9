"""A look at the workers of this process's own node: how many are idle, what keeps them, and the memory they keep.

One call of the node's own raylet, which asks each of its workers, and for each idle worker a look at its memory
(`/proc/PID/smaps_rollup`). The GCS is asked once for the raylet's address, and again if the raylet is slow. No worker
is leased, and no task runs.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from outlive.errors import OutliveError
from outlive.memory import unique_memory
from outlive.metrics.table import IDLE, IDLE_BYTES, WORKERS, Value, short
from outlive.ray_internals import node_workers, processes
from outlive.ray_internals.node_workers import LiveNode
from outlive.ray_internals.processes import WorkerStats

STATES = ("running", "idle", "actor")
REASONS = ("owns", "borrows", "waits", "free")
_TITLE = b"ray::"


class Workers:
    """Looks again and again."""

    def __init__(self) -> None:
        self._node: LiveNode | None = None

    def look(self, node: str) -> list[Value] | None:
        """The values of this node; None if its raylet does not answer."""
        try:
            if self._node is None:
                self._node = next((one for one in node_workers.nodes() if one.node_id == node), None)
            if self._node is None:
                return None
            found = processes.worker_stats(processes.ask_one(self._node))
        except (OutliveError, ModuleNotFoundError):
            return None
        return values(node, [one for one in found if one.kind == "WORKER"])


def values(node: str, found: list[WorkerStats]) -> list[Value]:
    """The values of these workers, all of one node and visible in this process's /proc."""
    states, reasons, sizes = Counter[str](), Counter[str](), Counter[str]()
    for one in found:
        states[state := _state(one)] += 1
        if state == "idle":
            reasons[reason := _reason(one)] += 1
            sizes[reason] += _unique(one.pid)
    at = short(node)
    return [
        *(Value(WORKERS, states[state], {"node": at, "state": state}) for state in STATES),
        *(Value(IDLE, reasons[reason], {"node": at, "reason": reason}) for reason in REASONS),
        *(Value(IDLE_BYTES, sizes[reason], {"node": at, "reason": reason}) for reason in REASONS),
    ]


def _state(one: WorkerStats) -> str:
    return "actor" if one.actor is not None else "running" if one.running else "idle"


def _reason(one: WorkerStats) -> str:
    """The reason for which it would refuse to exit. See `outlive.workers.reasons`."""
    if one.owned:
        return "owns"
    if one.in_scope > one.owned:
        return "borrows"
    return "waits" if one.pending else "free"


def _unique(pid: int) -> int:
    """Bytes that come back when a worker ends; 0 if it has ended, or its number means another process here."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_TITLE):
            return unique_memory(pid)
    return 0
