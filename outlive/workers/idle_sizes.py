"""The memory of idle workers, for a bound on it, where a look at them did not tell it.

Only a process of the same machine can see it. On other machines that takes a task, which makes its node busy for a
moment. So a node is not asked if it has no idle worker to let go, and not again before other tasks have run there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from outlive.ray_internals import node_workers
from outlive.ray_internals.node_workers import LiveNode
from outlive.workers import probe
from outlive.workers.rows import Report, Worker

_log = logging.getLogger(__name__)
_AGAIN = 600.0  # seconds until a node whose look failed is asked again: each look makes it busy
_LOOKS = 16  # other machines that are asked at the same time: one that does not answer takes 20 s


class IdleSizes:
    """The sizes seen so far."""

    def __init__(self) -> None:
        self._unique: dict[str, tuple[int, int]] = {}
        self._ran: dict[str, dict[str, int]] = {}
        self._looked: dict[str, int | None] = {}
        """By node id: the pid of the worker that looked last. It ran one task, and is about to end."""
        self._again: dict[str, float] = {}
        """By node id, after a look that failed: when it may be asked again (`time.monotonic`)."""

    def filled(self, report: Report, spare: int = 0) -> Report:
        """The report, with the memory of idle workers on each node where more than `spare` of them could leave.

        Raises
        ------
        StoreUnavailable
            The GCS does not answer. The entry of a node that does not answer stays as it is.
        """
        unknown: dict[str, list[Worker]] = {}
        for worker in report.workers:
            if worker.state == "idle" and worker.unique is None and worker.pid != self._looked.get(worker.node_id, 0):
                unknown.setdefault(worker.node_id, []).append(worker)
        due = {
            node_id: workers
            for node_id, workers in unknown.items()
            if sum(worker.retirable for worker in workers) > spare
            and self._changed(node_id, workers)
            and time.monotonic() >= self._again.get(node_id, 0.0)
        }
        if due:
            self._look(due)
        self._forget(report)
        return replace(report, workers=tuple(self._with_size(worker) for worker in report.workers))

    def _look(self, due: Mapping[str, list[Worker]]) -> None:
        here = probe.look({node_id: [worker.pid for worker in workers] for node_id, workers in due.items()})
        nodes = {node.node_id: node for node in node_workers.nodes()}
        there = [nodes[node_id] for node_id in due.keys() & nodes.keys() if node_id not in here.raylets]

        def ask(node: LiveNode) -> probe.Seen:
            return probe.look_there(node, [worker.pid for worker in due[node.node_id]])

        with ThreadPoolExecutor(min(_LOOKS, len(there) or 1)) as pool:
            seen = {node.node_id: look for node, look in zip(there, pool.map(ask, there), strict=True)}
        for node_id, workers in due.items():
            look = seen.get(node_id, here)
            if look.error is not None:  # nothing was seen: it is asked again, though no task runs there meanwhile
                _log.warning("the memory of workers on node %s is not known: %s", node_id[:8], look.error)
                self._again[node_id] = time.monotonic() + _AGAIN
                continue
            self._unique |= {one.worker_id: look.memory[one.pid] for one in workers if one.pid in look.memory}
            self._ran[node_id] = {worker.worker_id: worker.tasks for worker in workers}
            self._looked[node_id] = look.by if node_id in seen else None

    def _changed(self, node_id: str, workers: Iterable[Worker]) -> bool:
        """Whether a task ran there since the last look, other than that of the look itself."""
        before = self._ran.get(node_id, {})
        return any(worker.tasks != before.get(worker.worker_id) for worker in workers)

    def _forget(self, report: Report) -> None:
        """Forget workers and nodes that are no more. Those of a node that does not answer are not in the report."""
        silent = {node.node_id for node in report.nodes if node.error}
        here = {worker.worker_id for worker in report.workers}
        nodes = {node.node_id for node in report.nodes}
        if not silent:
            self._unique = {one: size for one, size in self._unique.items() if one in here}
        self._ran = {node_id: ran for node_id, ran in self._ran.items() if node_id in nodes}
        self._again = {node_id: at for node_id, at in self._again.items() if node_id in nodes}
        self._looked = {node_id: pid for node_id, pid in self._looked.items() if node_id in nodes}

    def _with_size(self, worker: Worker) -> Worker:
        if worker.unique is not None or worker.worker_id not in self._unique:
            return worker
        unique, shared = self._unique[worker.worker_id]
        return replace(worker, unique=unique, shared=shared)
